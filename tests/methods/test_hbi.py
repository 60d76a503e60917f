from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch

import tiny_bundles
from accord.encoders import build_encoder
from accord.encoders.bundles import load_bundle
from accord.errors import ConfigError
from accord.functional import (
    info_nce_from_similarity,
    kl_rows,
    paired_similarity,
    token_interaction,
    weighted_interaction,
)
from accord.methods import DataInfo, Step, get_method
from accord.training.gradcache import cached_backward
from accord.training.stages import trained_in

WORDS = ["a red ball and then a blue cup", "a cup", "the green tree by the house", "one star"]
IMAGE = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
TRAIN = Step(stage="train")


def built(image=IMAGE, **settings):
    torch.manual_seed(0)
    towers = {
        "video": build_encoder("video", {"name": "frames", "image": image, "frames": 6}, weights=False),
        "text": build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS),
    }
    torch.manual_seed(1)
    return get_method("hbi")({"dim": 16, "heads": 2, "head_width": 4, **settings}, towers, DataInfo())


@pytest.fixture
def batch():
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[3, 4:] = False
    video = torch.randn(4, 6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    return {"video": video, "video_mask": mask, **text_batch(built().encoders, WORDS)}


def levels_of(hbi, batch):
    """The levels of both sides."""
    sides = []
    for name in ("text", "video"):
        stream = hbi.encoders[name](batch[name], batch[f"{name}_mask"]).stream(
            {"text": "words", "video": "frames"}[name]
        )
        sides.append(hbi.levels[name](hbi.projections[name](stream.values), stream.real()))
    return list(zip(*sides, strict=True))


def scores_of(text, video):
    return weighted_interaction(text.values, video.values, text.votes, video.votes, text.mask, video.mask)


def cosines_of(text, video):
    return paired_similarity(text.values, video.values, text.mask, video.mask)


# --- the loss ---


def test_the_loss_is_contrast_at_three_levels_distilled_interactions_and_distilled_scores(batch):
    hbi = built()
    levels = levels_of(hbi, batch)
    scores = [scores_of(*level) for level in levels]
    scale = hbi.logit_scale()
    contrast = sum(info_nce_from_similarity(each, each.T, scale) for each in scores)
    game = 0
    for level, (text, video) in enumerate(levels):
        real = text.mask[:, :, None] & video.mask[:, None]
        wanted, found = hbi.teacher(cosines_of(text, video), real), hbi.readers[level](cosines_of(text, video), real)
        game = game + kl_rows(found, wanted, row_mask=text.mask, column_mask=video.mask)
        game = game + kl_rows(found.mT, wanted.mT, row_mask=video.mask, column_mask=text.mask)
    own = sum(kl_rows(each, scores[0]) + kl_rows(each.T, scores[0].T) for each in scores[1:])
    terms = hbi.loss(batch, TRAIN)
    torch.testing.assert_close(terms["contrastive"], contrast.detach())
    torch.testing.assert_close(terms["interaction"], game.detach())
    torch.testing.assert_close(terms["distillation"], own.detach())
    torch.testing.assert_close(terms["total"], contrast + game + 2 * own)


def test_as_released_a_transposed_table_is_a_softmax_over_pairs_and_terms_are_divided_by_all_elements(batch):
    hbi = built(distillation="released", padding="zero")
    level = levels_of(hbi, batch)[0]
    cosines = cosines_of(*level)
    real = level[0].mask[:, :, None] & level[1].mask[:, None]
    found, wanted = hbi.readers[0](cosines, real), hbi.teacher(cosines, real)
    first = (wanted.softmax(2) * (wanted.log_softmax(2) - found.log_softmax(2))).sum() / found.numel()
    second = (wanted.softmax(0) * (wanted.log_softmax(0) - found.log_softmax(0))).sum() / found.numel()
    torch.testing.assert_close(hbi._misread(0, *level), first + second)
    assert hbi.readers[0].last.bias.requires_grad  # padding is a logit of 0, so that it is seen


@pytest.mark.parametrize("detach", [False, True])
def test_the_first_level_is_pulled_towards_the_others_unless_it_is_detached(batch, detach):
    hbi = built(detach_first=detach)
    first, other = (scores_of(*level) for level in levels_of(hbi, batch)[:2])
    pulled = hbi.distilled(torch.stack([other, other.T]).detach(), torch.stack([first, first.T])).requires_grad
    assert pulled is not detach


def test_without_further_levels_and_game_it_is_weighted_interaction_alone(batch):
    hbi = built(merge_ratios=[], interaction_weight=0.0)
    terms = hbi.loss(batch, TRAIN)
    score = scores_of(*levels_of(hbi, batch)[0])
    torch.testing.assert_close(terms["total"], info_nce_from_similarity(score, score.T, hbi.logit_scale()))
    assert set(terms) == {"total", "contrastive", "logit_scale"}
    assert [stage.name for stage in hbi.stages] == ["train"]
    assert hbi.teacher is None


def test_how_far_a_batch_is_padded_changes_nothing(batch):
    hbi = built()
    longer = {
        **batch,
        "text": F.pad(batch["text"], (0, 3), value=7),
        "text_mask": F.pad(batch["text_mask"], (0, 3), value=False),
    }
    for step in (Step(stage="teacher"), TRAIN):
        torch.testing.assert_close(hbi.loss(longer, step)["total"], hbi.loss(batch, step)["total"])
    torch.testing.assert_close(hbi.embed(longer)["text"], hbi.embed(batch)["text"])


def test_rows_with_the_same_caption_may_be_left_out_of_the_contrast(batch):
    batch = {**batch, "text": batch["text"][[0, 1, 0, 3]], "text_mask": batch["text_mask"][[0, 1, 0, 3]]}
    usual, less = (built(duplicates=choice).loss(batch, TRAIN)["contrastive"] for choice in ("negatives", "ignored"))
    assert less < usual


# --- the stages ---


def test_the_teacher_alone_learns_sampled_interactions_first(batch):
    hbi = built(coalitions=30)
    teacher, train = hbi.stages
    assert (teacher.name, teacher.epochs, teacher.optimisers[0].lr) == ("teacher", 10, 0.01)
    step = Step(stage="teacher", seed=5)
    text, video = levels_of(hbi, batch)[0]
    cosines, real = cosines_of(text, video), text.mask[:, :, None] & video.mask[:, None]
    wanted = token_interaction(
        cosines, text.votes, video.votes, text.mask, video.mask, 30, generator=step.generator(cosines.device)
    )
    error = (hbi.teacher(cosines, real) - wanted).square()
    expected = torch.stack([each[kept].mean() for each, kept in zip(error, real, strict=True)]).mean()
    with trained_in(hbi, teacher) as parameters:
        loss = hbi.loss(batch, step)["total"]
        loss.backward()
    torch.testing.assert_close(loss, expected)
    assert {name.partition(".")[0] for name, _ in parameters} == {"teacher"}
    assert all(parameter.grad is None for name, parameter in hbi.named_parameters() if not name.startswith("teacher."))
    with trained_in(hbi, train) as parameters:
        assert not [name for name, _ in parameters if name.startswith("teacher.")]


def test_encoders_that_start_at_random_may_be_trained_by_the_first_level_before(batch):
    hbi = built(warm_epochs=3)
    warm = hbi.stages[0]
    assert [stage.name for stage in hbi.stages] == ["warm", "teacher", "train"]
    with trained_in(hbi, warm) as parameters:
        terms = hbi.loss(batch, Step(stage="warm"))
        assert not {"interaction", "distillation"} & set(terms)
        terms["total"].backward()
        assert all(parameter.grad is not None for _, parameter in parameters)  # two processes wait for none
        plain = built(merge_ratios=(), interaction_weight=0.0, distill_weight=0.0)
        plain.load_state_dict({name: hbi.state_dict()[name] for name in plain.state_dict()})
        torch.testing.assert_close(terms["total"], plain.loss(batch, TRAIN)["total"])


def test_gradients_of_a_batch_in_parts_are_those_of_the_whole(batch):
    whole, parts = built(), built()
    whole.loss(batch, TRAIN)["total"].backward()
    cached_backward(parts, batch, TRAIN, 2, lambda loss, last: loss.backward())
    for (name, one), (_, other) in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_pretrained_encoders_move_slowly_and_the_transformer_over_frames_does_not():
    hbi = built()
    hbi.encoders["video"].weights_from = "somewhere"
    assert hbi.group("encoders.video.image.blocks.0.weight").lr_scale == 1e-3
    assert hbi.group("encoders.video.temporal.layers.0.weight").lr_scale == 1
    assert hbi.group("encoders.text.blocks.0.weight").lr_scale == 1
    assert hbi.group("projections.video.weight").lr_scale == 1


# --- use ---


def test_a_search_scores_pairs_by_the_levels_that_have_weight(batch):
    hbi = built(level_weights=[1.0, 0.0, 3.0]).eval()
    levels = levels_of(hbi, batch)
    features = hbi.token_features(batch)
    expected = (scores_of(*levels[0]) + 3 * scores_of(*levels[2])) / 4
    torch.testing.assert_close(hbi.rescore(features["text"], features["video"], "text"), expected)
    torch.testing.assert_close(hbi.rescore(features["video"], features["text"], "video"), expected.T)
    plain = built().eval()
    torch.testing.assert_close(plain.rescore(features["text"], features["video"], "text"), scores_of(*levels[0]))


def test_the_map_of_words_and_frames_is_what_the_first_reader_sees(batch):
    hbi = built().eval()
    text, video = levels_of(hbi, batch)[0]
    real = text.mask[:, :, None] & video.mask[:, None]
    torch.testing.assert_close(hbi.word_times(batch).similarity, hbi.readers[0](cosines_of(text, video), real))
    without = built(interaction_weight=0.0).eval()
    torch.testing.assert_close(without.word_times(batch).similarity, cosines_of(*levels_of(without, batch)[0]))


def build_frames(bundle):
    wish = get_method("hbi").encoders_from(None, bundle.name)["video"]
    return build_encoder("video", {"name": wish["name"], **wish["options"]})


def test_a_clip_bundle_brings_its_projections_and_its_text_blocks_for_frames(tmp_path):
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip', dim=48, mlp=4)}")
    kind = get_method("hbi")
    decided = {**kind.settings_from(bundle), "heads": 2, "head_width": 4}
    assert decided["frame_layers"] == 4
    hbi = kind(decided, {"video": build_frames(bundle), "text": bundle.encoders["text"]}, DataInfo())
    taken = {"text projection", "video projection", "logit scale", "transformer over frames"}
    assert taken <= set(hbi.start_from(bundle))
    torch.testing.assert_close(hbi.projections["video"].weight, bundle.projections["image"])
    torch.testing.assert_close(hbi.projections["text"].weight, bundle.projections["text"])
    theirs = bundle.encoders["text"].model
    positions = theirs.embeddings.position_embedding.weight[: len(hbi.over_frames.positions)]
    torch.testing.assert_close(hbi.over_frames.positions, positions)
    x = torch.randn(2, 5, 48)
    for ours, block in zip(hbi.over_frames.transformer.layers, theirs.encoder.layers, strict=False):
        torch.testing.assert_close(ours.self_attn.in_proj_weight[:48], block.self_attn.q_proj.weight)
        found = block(x, attention_mask=None)  # without CLIP's causal mask
        torch.testing.assert_close(
            ours(x), found if isinstance(found, torch.Tensor) else found[0], atol=1e-5, rtol=1e-4
        )


def test_frames_are_read_in_order_after_their_projection(tmp_path):
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip', dim=48, mlp=4)}")
    settings = {**get_method("hbi").settings_from(bundle), "heads": 2, "head_width": 4}
    hbi = get_method("hbi")(settings, {"video": build_frames(bundle), "text": bundle.encoders["text"]}, DataInfo())
    hbi.start_from(bundle)
    video = torch.randn(1, 12, 3, 32, 32)
    mask = torch.arange(12)[None] < 7
    features = hbi.eval().token_features({"video": video, "video_mask": mask})["video"]
    pictures = bundle.encoders["image"](video[0, :7]).pooled @ bundle.projections["image"].T
    read = hbi.over_frames.transformer((pictures + hbi.over_frames.positions[:7])[None])[0]
    torch.testing.assert_close(features.sequence()[0][0, :7], pictures + read, atol=1e-4, rtol=1e-4)


def test_a_bundle_of_other_sizes_leaves_the_blocks_over_frames_as_they_are(tmp_path):
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip')}")
    settings = {**get_method("hbi").settings_from(bundle), "heads": 2, "head_width": 4}
    hbi = get_method("hbi")(settings, {"video": build_frames(bundle), "text": bundle.encoders["text"]}, DataInfo())
    before = hbi.over_frames.positions.detach().clone()
    taken = hbi.start_from(bundle)
    assert "video projection" in taken
    assert "transformer over frames" not in taken
    torch.testing.assert_close(hbi.over_frames.positions, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"merge_ratios": [0.5, 0.0]}, "shares in"),
        ({"heads": 3}, "must divide dim = 16"),
        ({"frame_layers": 1, "frame_heads": 3}, "frame_heads = 3: must divide dim = 16"),
        ({"level_weights": [1.0, 1.0, 1.0, 1.0]}, "at most one for each of 3 levels"),
        ({"level_weights": [0.0]}, "not all 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        built(**settings)
