from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch
from PIL import Image

from accord.data.columns import Columns
from accord.data.corpus import corpus_from_items
from accord.encoders import build_encoder
from accord.encoders.generation import Decoding
from accord.errors import ConfigError
from accord.functional import caption_loss, info_nce
from accord.methods import DataInfo, Step, get_method
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward

WORDS = ["a red ball", "a blue cup", "the green tree rustles", "one yellow star"]
SMALL = {"dim": 8, "queries": 5, "pooler_heads": 2}
GREEDY = Decoding(method="greedy")


@pytest.fixture
def towers():
    torch.manual_seed(0)
    image = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    options = {"name": "tiny_text", "width": 24, "depth": 2, "heads": 2, "pool": "class", "length": 20}
    return {"image": image, "text": build_encoder("text", options, texts=WORDS)}


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, WORDS)}


def built(towers, **settings):
    torch.manual_seed(2)
    return get_method("coca")({**SMALL, **settings}, towers, DataInfo())


def predicted(coca, batch):
    """Logits of the next token (B, L, V)."""
    return coca.logits(coca.read(batch), coca.look(batch)[0])


def test_the_loss_is_two_parts_captioning_and_one_part_contrast(towers, batch):
    coca = built(towers)
    terms = coca.loss(batch, Step())
    embedded = coca.embed(batch)
    contrastive = info_nce(embedded["image"], embedded["text"], coca.logit_scale())
    pad = towers["text"].input.tokenizer.special.pad
    captioning = caption_loss(predicted(coca, batch), batch["text"], pad_id=pad)
    torch.testing.assert_close(terms["captioning"], captioning)
    torch.testing.assert_close(terms["contrastive"], contrastive)
    torch.testing.assert_close(terms["total"], 2 * captioning + contrastive)


def test_captioning_is_one_mean_over_words_and_padding_is_known_by_the_mask(towers, batch):
    coca = built(towers)
    # With another word in the place of padding, only the mask tells that it is none.
    other = {**batch, "text": batch["text"].masked_fill(~batch["text_mask"], 7)}
    torch.testing.assert_close(coca.loss(other, Step())["total"], coca.loss(batch, Step())["total"])
    log_p = predicted(coca, batch).log_softmax(dim=-1)
    each = [
        -log_p[row, place - 1, batch["text"][row, place]]
        for row in range(4)
        for place in range(1, int(batch["text_mask"][row].sum()))
    ]
    torch.testing.assert_close(coca.loss(batch, Step())["captioning"], torch.stack(each).mean())


@pytest.mark.parametrize("choice", ["positives", "ignored", "dropped"])
def test_rows_with_the_same_caption_need_not_be_negatives_of_each_other(towers, choice):
    torch.manual_seed(1)
    batch = {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, [WORDS[0], WORDS[1], WORDS[0], WORDS[2]])}
    coca, plain = built(towers, duplicates=choice).eval(), built(towers).eval()
    found, usual = coca.loss(batch, Step()), plain.loss(batch, Step())
    towers_ = coca.towers(batch)
    ids = torch.tensor([0, 1, 0, 2])
    expected = info_nce(towers_["image"], towers_["text"], coca.logit_scale(), ids=ids, duplicates=choice)
    torch.testing.assert_close(found["contrastive"], expected)
    assert found["captioning"] == usual["captioning"]  # each picture still learns its caption
    assert found["contrastive"] != usual["contrastive"]


def test_smoothing_spreads_a_share_of_each_target(towers, batch):
    smooth = built(towers, label_smoothing=0.2)
    log_p = predicted(smooth, batch).log_softmax(dim=-1)[:, :-1]
    target = 0.8 * F.one_hot(batch["text"][:, 1:], log_p.shape[-1]) + 0.2 / log_p.shape[-1]
    expected = -(target * log_p).sum(dim=-1)[batch["text_mask"][:, 1:]].mean()
    torch.testing.assert_close(smooth.loss(batch, Step())["captioning"], expected)


@pytest.mark.parametrize("pooler", ["cascade", "parallel", "shared"])
def test_micro_batches_give_exactly_the_gradient_of_the_whole_batch(towers, batch, pooler):
    whole = built(towers, pooler=pooler)
    cached = copy.deepcopy(whole)
    whole.loss(batch, Step())["total"].backward()
    cached_backward(cached, batch, Step(), 3, lambda scalar, _: scalar.backward())
    for (name, one), (_, other) in zip(whole.named_parameters(), cached.named_parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad, other.grad, atol=3e-5, rtol=1e-3, msg=name)


def test_no_prediction_sees_the_word_it_predicts_and_every_one_sees_the_picture(towers, batch):
    coca = built(towers).eval()
    before = predicted(coca, batch)
    other = {**batch, "text": batch["text"].clone()}
    other["text"][:, 3] = 9
    after = predicted(coca, other)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert (after[:, 3:] - before[:, 3:]).abs().amax(dim=-1).min() > 1e-4
    seen = predicted(coca, {**batch, "image": batch["image"].roll(1, dims=0)})
    assert (seen - before).abs().amax(dim=-1).min() > 1e-5


def test_the_class_token_sees_the_whole_caption_and_no_picture(towers, batch):
    coca = built(towers).eval()
    before = coca.embed(batch)["text"]
    last = batch["text_mask"].sum(dim=1) - 1
    other = {**batch, "text": batch["text"].scatter(1, last[:, None], 9)}
    assert (coca.embed(other)["text"] - before).abs().amax(dim=1).min() > 1e-4
    torch.testing.assert_close(coca.towers({**batch, "image": batch["image"].flip(0)})["text"], before)


@pytest.mark.parametrize(("pooler", "memory"), [("cascade", 5), ("parallel", 5), ("shared", 4)])
def test_what_the_decoder_reads_and_where_the_image_vector_comes_from(towers, batch, pooler, memory):
    coca = built(towers, pooler=pooler).eval()
    tokens, summary = coca.look(batch)
    assert tokens.shape == (4, memory, 24)
    assert summary.shape == (4, 24)
    with torch.no_grad():
        coca.generative.attention.out_proj.weight.zero_()
        coca.generative.attention.out_proj.bias.zero_()
    silent = coca.look(batch)[1]
    assert torch.allclose(silent, silent[:1].expand_as(silent)) == (pooler != "parallel")


def test_contrast_teaches_no_decoder_and_captioning_no_projection(towers, batch):
    coca = built(towers, caption_weight=0.0)
    coca.loss(batch, Step())["total"].backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in coca.decoder.parameters())
    assert coca.projections["image"].weight.grad.abs().sum() > 0
    assert coca.generative.query.grad.abs().sum() > 0
    coca.zero_grad()
    alone = built(towers, contrastive_weight=0.0)
    alone.loss(batch, Step())["total"].backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in alone.projections.parameters())
    assert towers["text"].class_embedding.grad.abs().max() == 0
    assert alone.generative.query.grad.abs().sum() > 0
    assert alone.decoder.own.layers[0].self_attn.in_proj_weight.grad.abs().sum() > 0
    assert next(towers["image"].parameters()).grad.abs().sum() > 0


def test_the_decoder_is_as_deep_as_the_text_encoder_unless_said_otherwise(towers):
    assert len(built(towers).decoder.cross) == 2
    assert len(built(towers, decoder_depth=1).decoder.cross) == 1
    assert built(towers, decoder_heads=3).decoder.cross[0].attention.num_heads == 3


def test_its_vocabulary_is_initialised_by_width(towers):
    coca = built(towers)
    assert coca.vocabulary.weight.std().item() == pytest.approx(24**-0.5, rel=0.05)
    assert coca.vocabulary.out_features == towers["text"].input.tokenizer.vocabulary


def test_the_text_encoder_it_takes_by_itself_has_a_class_token():
    wish = get_method("coca").default_encoders(get_method("coca").Config())
    assert wish == {"text": {"name": "tiny_text", "options": {"pool": "class"}}}


def test_a_text_encoder_that_reads_both_ways_is_refused(towers):
    both = build_encoder("text", {"name": "tiny_text", "width": 16, "heads": 2, "pool": "mean"}, texts=WORDS)
    with pytest.raises(ConfigError, match=r"tiny_text words see those that come later.* pool = class"):
        built({**towers, "text": both})


def test_a_text_encoder_that_pools_at_the_end_will_do(towers, batch):
    end = build_encoder("text", {"name": "tiny_text", "width": 16, "heads": 2, "pool": "end"}, texts=WORDS)
    coca = built({**towers, "text": end})
    coca.loss(batch, Step())["total"].backward()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooler_heads": 5}, "pooler_heads = 5: must divide the text encoder's width, 24"),
        ({"decoder_heads": 5}, "decoder_heads = 5: must divide the text encoder's width, 24"),
        ({"pooler": "shared", "queries": 1}, "the shared pooler needs one query for contrast"),
        ({"pooler": "serial"}, r"pooler = 'serial'"),
        ({"caption_weight": -1}, r"caption_weight = -1"),
    ],
)
def test_a_wrong_setting_is_named(towers, settings, message):
    with pytest.raises(ConfigError, match=message):
        built(towers, **settings)


def test_the_scale_is_clamped_after_a_step(towers):
    coca = built(towers)
    with torch.no_grad():
        coca.logit_scale.log_scale.fill_(9.0)
    coca.after_step(Step())
    torch.testing.assert_close(coca.logit_scale(), torch.tensor(100.0))


def test_half_precision_keeps_embeddings_and_logits_in_full(towers, batch):
    coca = built(towers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        towers_ = coca.towers(batch)
        assert predicted(coca, batch).dtype == torch.float32
        coca.loss(batch, Step())["total"].backward()
    assert {value.dtype for value in towers_.values()} == {torch.float32}


@pytest.fixture
def learnt(towers, batch):
    """A model that knows its four pairs by heart."""
    coca = built(towers, temperature=0.2)
    optimiser = torch.optim.AdamW(coca.parameters(), lr=1e-2)
    for index in range(45):
        optimiser.zero_grad()
        coca.loss(batch, Step(index=index))["total"].backward()
        optimiser.step()
        coca.after_step(Step(index=index))
    return coca.eval()


def test_it_learns_to_match_and_to_caption_at_the_same_time(learnt, batch):
    embedded = learnt.embed(batch)
    assert (embedded["image"] @ embedded["text"].T).argmax(dim=1).tolist() == [0, 1, 2, 3]
    for decoding in (GREEDY, Decoding(beams=3), Decoding(method="nucleus", top_p=0.5)):
        assert learnt.caption({"image": batch["image"]}, decoding) == WORDS
    fit_ = learnt.read_captions(batch)
    assert torch.equal(fit_.right, fit_.tokens)
    assert torch.equal(fit_.tokens, batch["text_mask"].sum(dim=1) - 1)
    likely = learnt.caption_likelihood(batch, batch["text"], batch["text_mask"])
    assert likely.argmax(dim=1).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(likely.diagonal(), -fit_.nll / fit_.tokens, atol=1e-5, rtol=1e-4)


def test_a_caption_does_not_depend_on_its_neighbours_and_its_score_is_its_likelihood(towers, batch):
    coca = built(towers).eval()
    decoding = Decoding(method="beam", beams=3, max_tokens=6)
    together = coca.caption(batch, decoding)
    alone = [coca.caption({"image": image[None]}, decoding)[0] for image in batch["image"]]
    assert together == alone
    assert [caption.score for caption in together] == pytest.approx([caption.score for caption in alone], abs=1e-4)
    assert all(caption.score < 0 for caption in together)


def test_captions_keep_to_their_lengths(towers, batch):
    coca = built(towers).eval()
    for text in coca.caption(batch, Decoding(method="nucleus", min_tokens=4, max_tokens=4)):
        assert len(text.encode()) >= 3
    with pytest.raises(ConfigError, match="max_tokens = 20: the text encoder takes at most 19"):
        coca.caption(batch, Decoding(max_tokens=20))


# --- training ---


class Killed(Exception):
    """What a kill looks like from inside."""


def trained(towers, folder, *, kill_at=None, resume=False):
    towers = copy.deepcopy(towers)
    coca = built(towers)
    done = []
    plain = coca.after_step

    def after_step(step):
        plain(step)
        done.append(step)
        if len(done) == kill_at:
            raise Killed

    coca.after_step = after_step
    pictures = [Image.fromarray(np.full((16, 16, 3), 40 * row, dtype=np.uint8)) for row in range(6)]
    corpus = corpus_from_items("image", pictures)
    rows = corpus.rows.add_column("text", [WORDS[row % 4] for row in range(6)])
    corpus = type(corpus)("pictures", rows, Columns(image="image", text=("text",)), corpus.ids)
    config = TrainingConfig(epochs=3, batch_size=2, checkpoint_every=2, lr=0.01)
    fit(coca, corpus, config, folder, resume=resume, progress=False)
    return coca.state_dict()


def test_a_killed_run_resumes_to_the_same_bits(towers, tmp_path):
    whole = trained(towers, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(towers, tmp_path / "killed", kill_at=6)
    again = trained(towers, tmp_path / "killed", resume=True)
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert not torch.equal(whole["decoder_norm.weight"], torch.ones(24))
