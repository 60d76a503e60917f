from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.encoders import build_encoder
from accord.encoders.pooling import masked_mean
from accord.errors import ConfigError
from accord.functional import (
    best_moments,
    geodesic_contrastive_loss,
    geodesic_similarity,
    interaction_alignment_loss,
    moment_iou_map,
    mutual_matching_loss,
    official_interaction_loss,
    pairwise_interaction,
    scaled_iou_bce,
    temporal_iou,
)
from accord.methods import DataInfo, Step, get_method

WORDS = ["a cat runs", "a dog sleeps", "a bird flies"]
SMALL = {"num_clips": 8, "pooling_counts": (7,), "hidden": 12, "dim": 8, "kernel": 3, "layers": 2}


def method(video=None, text=None, **config):
    torch.manual_seed(0)
    steps = {"name": "steps", "features": 6, "length": 16, "sampling": "slots", "unit_norm": True}
    sequence = build_encoder("sequence", {**steps, **(video or {})})
    small = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2, "pool": "mean"}
    text = build_encoder("text", small | (text or {}), texts=WORDS)
    return get_method("g2l")(SMALL | config, {"sequence": sequence, "text": text}, DataInfo(rows=4))


@pytest.fixture
def batch():
    """Three films, with two sentences, none, and one."""
    mask = torch.ones(3, 16, dtype=torch.bool)
    mask[2, 10:] = False
    return {
        "sequence": torch.randn(3, 16, 6, generator=torch.Generator().manual_seed(1)),
        "sequence_mask": mask,
        "moments": torch.tensor([[[0.0, 4.0], [5.0, 16.0]], [[0.0, 0.0]] * 2, [[2.0, 3.0], [0.0, 0.0]]]),
        "moment_present": torch.tensor([[True, True], [False, False], [True, False]]),
        "moment_text": [WORDS[:2], [], WORDS[2:]],
        "duration": torch.tensor([16.0, 9.0, 5.0]),
    }


def parts(g2l, batch):
    """What the terms are made of: the two spaces, owners, overlaps and spans."""
    owner = torch.tensor([0, 0, 2])
    spans = batch["moments"][owner, torch.tensor([0, 1, 0])]
    cells = g2l.cells
    iou = moment_iou_map(spans, 8, batch["duration"][owner])[:, cells[:, 0], cells[:, 1] - 1]
    return g2l.moments(batch), g2l.sentences(WORDS), owner, iou, spans


def test_the_loss_is_that_of_the_paper(batch):
    g2l = method(interaction_moments=3).eval()
    terms = g2l.loss(batch, Step())
    moments, sentences, owner, iou, spans = parts(g2l, batch)
    scores = (10 * F.cosine_similarity(sentences.overlap[:, :, None], moments.overlap[owner], dim=1)).sigmoid()
    overlap = scaled_iou_bce(scores, iou)
    unit, words = F.normalize(moments.contrast, dim=1), F.normalize(sentences.contrast, dim=1)
    of_moments, _ = mutual_matching_loss(unit, words, owner, iou, spans)
    of_sentences = geodesic_contrastive_loss(moments.contrast, words, owner, iou)
    near = geodesic_similarity(moments.contrast.mT, best_moments(iou)[:, 0], owner=owner)
    game = torch.zeros(())
    for film, rows in ((0, slice(0, 2)), (2, slice(2, 3))):
        cosine = words[rows] @ unit[film]
        taken = torch.cat([near[rows].topk(3).indices, cosine.topk(3).indices], dim=1).flatten()
        game = game + interaction_alignment_loss(cosine[:, taken], pairwise_interaction(cosine[:, taken]))
    torch.testing.assert_close(terms["game"], game)
    torch.testing.assert_close(terms["total"], overlap + 0.1 * (of_moments + of_sentences) + 5e-4 * game)


def test_the_released_game_is_taken_off_the_loss(batch):
    g2l = method(interaction="official", interaction_moments=3).eval()
    terms = g2l.loss(batch, Step())
    moments, sentences, owner, iou, _ = parts(g2l, batch)
    unit, words = F.normalize(moments.contrast, dim=1), F.normalize(sentences.contrast, dim=1)
    near = geodesic_similarity(moments.contrast.mT, best_moments(iou)[:, 0], owner=owner)
    game = torch.zeros(())
    for film, rows in ((0, slice(0, 2)), (2, slice(2, 3))):
        best = [one.topk(3).indices for one in (near[rows], words[rows] @ unit[film])]
        taken = torch.cat(best, dim=1).flatten()  # sentence by sentence, near ones first
        game = game - official_interaction_loss(words[rows], unit[film].T[taken])
    torch.testing.assert_close(terms["game"], game)
    others = terms["sentences of moments"] + terms["moments of sentences"]
    torch.testing.assert_close(terms["total"], terms["overlap"] + 0.1 * others + 5e-4 * game)


def test_a_sentence_may_be_the_mean_of_the_last_two_layers():
    g2l = method(text={"depth": 3}, sentence="last2avg").eval()
    encoder = g2l.encoders["text"]
    ids, mask = encoder.input.tokenizer(WORDS)
    features, (_, second_last, _) = encoder.encode_hidden(ids, mask)
    mean = masked_mean(features.stream("words").values + second_last, mask)
    expected = g2l.text_spaces[0](g2l.text_norm(mean))
    torch.testing.assert_close(g2l.sentences(WORDS).contrast, expected)
    assert g2l.needs["text"] == {"tokens", "layers"}


def test_a_sentence_as_released_hangs_on_the_longest_of_its_film():
    said = ["a cat", "a dog sleeps and a bird flies", "a dog sleeps"]
    g2l = method(text={"depth": 2}, sentence="official").eval()
    alone, among = g2l.sentences(said[:1]).contrast, g2l.sentences(said, [2, 1]).contrast
    assert not torch.allclose(alone[0], among[0])
    torch.testing.assert_close(g2l.sentences(said[2:]).contrast[0], among[2])  # a film of its own
    intended = method(text={"depth": 2}, sentence="last2avg").eval()
    torch.testing.assert_close(intended.sentences(said[:1]).contrast[0], intended.sentences(said, [2, 1]).contrast[0])
    torch.testing.assert_close(intended.sentences(said, [2, 1]).contrast[1], among[1])  # the longest has no padding


def test_one_layer_is_too_few_for_two():
    with pytest.raises(ConfigError, match="reads the last two layers of the text encoder, which has one"):
        method(sentence="last2avg")


def test_after_some_epochs_the_contrast_hardly_counts(batch):
    g2l = method(contrast_epochs=2).eval()
    early, late = (g2l.loss(batch, Step(epoch=epoch)) for epoch in (1, 2))
    torch.testing.assert_close(late["total"] - late["overlap"], 0.01 * (early["total"] - early["overlap"]))


def test_the_baseline_is_the_same_network_without_a_graph(batch, monkeypatch):
    g2l = method(contrast="mmn", top_k=2).eval()
    monkeypatch.setattr("accord.methods.video.g2l.geodesic_similarity", None)
    terms = g2l.loss(batch, Step())
    moments, sentences, owner, iou, spans = parts(g2l, batch)
    units = F.normalize(moments.contrast, dim=1), F.normalize(sentences.contrast, dim=1)
    both = mutual_matching_loss(*units, owner, iou, spans, top_k=2)
    torch.testing.assert_close(terms["total"], terms["overlap"] + 0.1 * sum(both))
    assert "game" not in terms


def test_the_released_form_is_another_loss(batch):
    assert (
        method(contrast="official").eval().loss(batch, Step())["total"]
        > 2 * method().eval().loss(batch, Step())["total"]
    )


def test_a_batch_without_sentences_teaches_nothing_and_breaks_nothing(batch):
    g2l = method()
    silent = batch | {"moment_text": [[], [""], []]}
    g2l.loss(silent, Step())["total"].backward()
    gradients = [parameter.grad for parameter in g2l.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_sentences_that_say_nothing_are_left_out(batch):
    g2l = method().eval()
    with_empty = batch | {
        "moments": torch.cat([torch.full((3, 1, 2), 1.0), batch["moments"]], dim=1),
        "moment_text": [["", *row] for row in batch["moment_text"]],
    }
    torch.testing.assert_close(g2l.loss(with_empty, Step())["total"], g2l.loss(batch, Step())["total"])


def test_padding_of_a_short_film_does_not_count(batch):
    g2l = method().eval()
    changed = batch["sequence"].clone()
    changed[2, 10:] = 99.0
    torch.testing.assert_close(g2l.moments(batch | {"sequence": changed}).contrast, g2l.moments(batch).contrast)


def test_moments_are_found_by_both_scores_and_overlap_by_no_more_than_wanted(batch):
    g2l = method(answers=4, power=0.3).eval()
    found = g2l.find_moments(batch)
    assert [tuple(one.spans.shape) for one in found] == [(2, 4, 2), (0, 4, 2), (1, 4, 2)]
    moments, sentences, owner, *_ = parts(g2l, batch)
    closeness, overlap = (
        F.cosine_similarity(words[:, :, None], cells[owner], dim=1)
        for words, cells in zip(sentences, moments, strict=True)
    )
    best = ((closeness / 2 + 0.5) ** 0.3 * (10 * overlap).sigmoid()).max(dim=1)
    torch.testing.assert_close(torch.cat([one.scores[:, 0] for one in found]), best.values)
    seconds = g2l.cells[best.indices] * (batch["duration"][owner] / 8)[:, None]
    torch.testing.assert_close(torch.cat([one.spans[:, 0] for one in found]), seconds)
    for spans in (row for one in found for row in one.spans):
        real = spans[spans[:, 1] > 0]
        assert (temporal_iou(real, real).fill_diagonal_(0) <= 0.5).all()


def test_how_many_moments_and_how_much_overlap_can_be_asked_for(batch):
    g2l = method().eval()
    (all_, *_) = g2l.find_moments(batch, most=999, overlap=1.0)
    assert all_.spans.shape == (2, 36, 2)
    assert (all_.scores.diff(dim=1) <= 0).all()
    (few, *_) = g2l.find_moments(batch, most=2)
    assert few.scores.shape == (2, 2)


def test_a_pretrained_text_encoder_rests_at_first_and_learns_more_slowly():
    g2l = method()
    assert g2l.stages[0].freeze_epochs == 0
    assert g2l.group("encoders.text.x").lr_scale == 1
    g2l.encoders["text"].weights_from = "elsewhere"
    assert g2l.stages[0].freeze_epochs == 4
    assert g2l.group("encoders.text.x").lr_scale == 0.1
    assert g2l.group("enter.weight").lr_scale == 1
    assert method(freeze_epochs=7).stages[0].freeze_epochs == 7


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="top_k = 3: paths start from one moment"):
        method(top_k=3)
    with pytest.raises(ConfigError, match="are 3 moments, too few for geo_k = 5"):
        method(num_clips=2, pooling_counts=(1,))
    with pytest.raises(ConfigError, match=r"kernel = 4: odd"):
        method(kernel=4)
    with pytest.raises(ConfigError, match=r"sees a part with sampling = 'window': .*options.sampling=slots"):
        method({"sampling": "window"})


def test_frames_of_clips_are_its_clips_where_it_reads_clips():
    vit = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
    video = build_encoder("video", {"name": "frames", "frames": 5, "image": vit})
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    g2l = get_method("g2l")(SMALL | {"modality": "video"}, {"video": video, "text": text}, DataInfo()).eval()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    batch = {"video": torch.randn(2, 5, 3, 16, 16), "video_mask": mask, "duration": torch.tensor([5.0, 3.0])}
    found = g2l.find_moments(batch | {"moment_text": [WORDS[:1], WORDS[:2]]})
    assert [len(one.spans) for one in found] == [1, 2]
    assert found[1].spans.max() <= 3
