from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filip_share import CHOICES, ROWS, share_of, small
from method_parts import text_batch
from PIL import Image
from torch import nn

from accord.data.columns import Columns
from accord.data.corpus import corpus_from_items
from accord.data.loading.features import Features
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import info_nce_from_similarity, late_interaction_pair, select_tokens
from accord.methods import DataInfo, Objective, Step, get_method
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward
from accord.training.optimiser import parameter_groups
from two_processes import run_two_processes

WORDS = ["a red ball", "a blue cup", "the green tree by the house", "one star"]


def built(towers, **settings):
    torch.manual_seed(0)
    return get_method("filip")({"dim": 8, "keep": 1.0, **settings}, towers, DataInfo())


def of_tokens(image, text, mask, **settings):
    """FILIP without towers and projections, and a batch of these tokens."""
    words = build_encoder("text", {"name": "tiny_text", "width": 8, "heads": 2, "depth": 1}, texts=WORDS)
    picture = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 8, "heads": 2, "depth": 1})
    filip = built({"image": picture, "text": words}, **settings)
    filip.projections = nn.ModuleDict({"image": nn.Identity(), "text": nn.Identity()})
    features = {"image": Features(image[:, 0], image), "text": Features(text[:, 0], text, mask)}
    return filip, features


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, WORDS)}


# --- the loss ---


def test_a_step_on_the_reference_tokens_has_the_papers_direction_of_the_softmax(golden):
    arrays = golden("filip")
    image, text = (arrays[f"{name}_tokens"].float() for name in ("img", "txt"))
    mask = torch.arange(text.shape[1]) < arrays["lengths"][:, None]
    filip, batch = of_tokens(image, text, mask, temperature=0.07)
    assert filip.loss(batch, Step())["total"].item() == pytest.approx(1.6374, abs=1e-4)
    local, scale = filip.token_features(batch), filip.logit_scale()
    i2t = filip.rescore(local["image"], local["text"], "image")
    t2i = filip.rescore(local["text"], local["image"], "text")
    torch.testing.assert_close(scale * i2t, arrays["sim_i2t"].float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scale * t2i, arrays["sim_t2i"].float(), atol=1e-4, rtol=1e-4)


def test_the_loss_is_the_mean_of_two_cross_entropies_of_two_matrices(towers, batch):
    filip = built(towers)
    local = filip.token_features(batch)
    s_i2t, s_t2i = late_interaction_pair(local["image"].tokens, local["text"].tokens, local["text"].mask)
    assert not torch.allclose(s_i2t, s_t2i.T)
    expected = info_nce_from_similarity(s_i2t, s_t2i, filip.logit_scale())
    torch.testing.assert_close(filip.loss(batch, Step())["total"], expected)


def test_two_tokens_by_hand():
    image = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    text = torch.tensor([[[0.0, 2.0], [9.0, 9.0]], [[3.0, 0.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, False], [True, False]])
    filip, batch = of_tokens(image, text, mask, temperature=1.0)
    # images ask: (½, ½) of the first, (0, 1) of the second; texts ask: (1, 0) and (1, 1)
    rows = torch.tensor([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    expected = F.cross_entropy(rows, torch.tensor([0, 1, 0, 1]))
    torch.testing.assert_close(filip.loss(batch, Step())["total"], expected)


def test_padded_words_change_nothing(towers, batch):
    filip = built(towers)
    longer = {
        **batch,
        "text": F.pad(batch["text"], (0, 3), value=7),
        "text_mask": F.pad(batch["text_mask"], (0, 3), value=False),
    }
    torch.testing.assert_close(filip.loss(longer, Step())["total"], filip.loss(batch, Step())["total"])
    torch.testing.assert_close(filip.embed(longer)["text"], filip.embed(batch)["text"])
    found, padded = filip.word_patch(batch), filip.word_patch(longer)
    torch.testing.assert_close(padded[:, : found.shape[1]], found)
    assert (padded[~longer["text_mask"]] == 0).all()


def test_an_empty_caption_scores_zero_and_leaves_the_gradient_finite(towers, batch):
    filip = built(towers)
    batch["text_mask"][1] = False
    filip.loss(batch, Step())["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in filip.parameters())
    local = filip.token_features(batch)
    assert (filip.rescore(local["text"], local["image"], "text")[1] == 0).all()


def test_label_smoothing_spreads_the_target(towers, batch):
    plain, smooth = built(copy.deepcopy(towers)), built(copy.deepcopy(towers), label_smoothing=0.2)
    local = plain.token_features(batch)
    scores = late_interaction_pair(local["image"].tokens, local["text"].tokens, local["text"].mask)
    logits = torch.cat(scores) * plain.logit_scale()
    expected = F.cross_entropy(logits, torch.arange(4).repeat(2), label_smoothing=0.2)
    torch.testing.assert_close(smooth.loss(batch, Step())["total"], expected)


def test_rows_with_the_same_caption_can_be_positives_or_ignored(towers):
    torch.manual_seed(1)
    batch = {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, [WORDS[0], WORDS[1], WORDS[0], WORDS[2]])}
    filip = built(towers)
    local = filip.token_features(batch)
    scores = late_interaction_pair(local["image"].tokens, local["text"].tokens, local["text"].mask)
    log_p = [(filip.logit_scale() * score).log_softmax(dim=1) for score in scores]
    both = [-(row[0, [0, 2]].mean() + row[1, 1] + row[2, [0, 2]].mean() + row[3, 3]) / 4 for row in log_p]
    found = built(towers, duplicates="positives").loss(batch, Step())["total"]
    torch.testing.assert_close(found, sum(both) / 2)
    alone = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    ignored = [F.cross_entropy((filip.logit_scale() * s).masked_fill(alone, -1e9), torch.arange(4)) for s in scores]
    found = built(towers, duplicates="ignored").loss(batch, Step())["total"]
    torch.testing.assert_close(found, sum(ignored) / 2)


# --- token selection ---


def test_selected_tokens_alone_vote_and_can_be_chosen(towers, batch):
    filip = built(towers, keep=0.5)
    local = filip.token_features(batch)
    image, text, mask = local["image"].tokens, local["text"].tokens, local["text"].mask
    kept_image, _ = select_tokens(image, text, 0.5, key_mask=mask)
    kept_text, kept_mask = select_tokens(text, image, 0.5, query_mask=mask)
    assert kept_image.shape == (4, 2)
    few = [tokens.take_along_dim(index[..., None], 1) for tokens, index in ((image, kept_image), (text, kept_text))]
    expected = info_nce_from_similarity(*late_interaction_pair(*few, kept_mask), filip.logit_scale())
    torch.testing.assert_close(filip.loss(batch, Step())["total"], expected)


def test_tokens_that_were_not_selected_get_no_gradient():
    torch.manual_seed(0)
    image, text = torch.randn(3, 4, 8, requires_grad=True), torch.randn(3, 4, 8, requires_grad=True)
    filip, batch = of_tokens(image, text, torch.ones(3, 4, dtype=torch.bool), keep=0.25)
    filip.loss(batch, Step())["total"].backward()
    for tokens in (image, text):
        assert ((tokens.grad.norm(dim=2) > 0).sum(dim=1) <= 1).all()


def test_embedding_and_scores_use_all_tokens_whatever_the_loss_keeps(towers, batch):
    few, all_tokens = built(copy.deepcopy(towers), keep=0.1), built(copy.deepcopy(towers))
    torch.testing.assert_close(few.embed(batch), all_tokens.embed(batch))
    assert few.token_features(batch)["image"].tokens.shape[1] == 4


def test_unless_it_is_told_otherwise_the_loss_sees_every_token(towers):
    torch.manual_seed(0)
    assert get_method("filip")({"dim": 8}, towers, DataInfo()).config.keep == 1


def test_padding_takes_no_part_of_the_share_that_is_kept(towers, batch):
    filip = built(towers, keep=0.5)
    longer = {
        **batch,
        "text": F.pad(batch["text"], (0, 9), value=7),
        "text_mask": F.pad(batch["text_mask"], (0, 9), value=False),
    }
    torch.testing.assert_close(filip.loss(longer, Step())["total"], filip.loss(batch, Step())["total"])


def test_a_short_caption_keeps_at_least_one_token(towers, batch):
    one = {**batch, "text": batch["text"][:, :1], "text_mask": batch["text_mask"][:, :1]}
    assert built(towers, keep=0.1).loss(one, Step())["total"].isfinite()


def test_pictures_are_augmented_as_in_the_paper_where_that_is_asked_for(towers):
    assert not built(towers).views[0].auto_augment
    assert built(towers, auto_augment=True).views[0].auto_augment


# --- gradients, scale, added objectives ---


def test_gradient_reaches_both_towers_both_projections_and_the_scale(towers, batch):
    filip = built(towers, keep=0.5)
    filip.loss(batch, Step())["total"].backward()
    for name in ("projections.image.weight", "projections.text.weight", "logit_scale.log_scale"):
        assert filip.get_parameter(name).grad.abs().sum() > 0
    for encoder in filip.encoders.values():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_the_scale_is_clamped_after_a_step_and_can_be_fixed(towers):
    filip = built(towers)
    with torch.no_grad():
        filip.logit_scale.log_scale.fill_(9.0)
    filip.after_step(Step())
    torch.testing.assert_close(filip.logit_scale(), torch.tensor(100.0))
    assert not built(towers, learn_temperature=False).logit_scale.log_scale.requires_grad


class Spread(Objective):
    """The mean cosine of the pairs."""

    name = "spread"
    Config = TrainingConfig

    def forward(self, embeddings, step):
        return {"total": (embeddings["image"] * embeddings["text"]).sum(dim=1).mean()}


def test_added_objectives_act_on_the_direction_of_the_mean_token(towers, batch):
    filip = built(towers)
    plain = filip.loss(batch, Step())["total"]
    filip.add(Spread({}))
    embedded = filip.embed(batch)
    local = filip.token_features(batch)
    for modality, features in local.items():
        real = [tokens[mask].mean(dim=0) for tokens, mask in zip(features.tokens, features.mask, strict=True)]
        torch.testing.assert_close(embedded[modality], F.normalize(torch.stack(real), dim=1))
        torch.testing.assert_close(features.pooled, embedded[modality])
    cosine = (embedded["image"] * embedded["text"]).sum(dim=1).mean()
    torch.testing.assert_close(filip.loss(batch, Step())["total"], plain + cosine)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_gradient_caching_gives_the_same_gradient_and_terms(towers, batch, micro_batch):
    whole, cached = (built(copy.deepcopy(towers), keep=0.5) for _ in range(2))
    terms = whole.loss(batch, Step())
    terms["total"].backward()
    found = cached_backward(cached, batch, Step(), micro_batch, lambda scalar, last: scalar.backward())
    for name, term in terms.items():
        torch.testing.assert_close(found[name], term.detach())
    for (name, one), other in zip(whole.named_parameters(), cached.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-6, rtol=1e-3, msg=name)


def test_two_processes_with_captions_of_different_length_equal_one():
    ranks = run_two_processes(share_of)
    for choice in CHOICES:
        filip, batch = small(choice)
        terms = filip.loss(batch, Step())
        terms["total"].backward()
        one, other = ranks[0][choice], ranks[1][choice]
        torch.testing.assert_close((one[0] + other[0]) / 2, terms["total"].detach())
        assert one[2] != other[2]  # lengths
        for name, parameter in filip.named_parameters():
            if parameter.grad is not None:
                mean = (one[1][name] + other[1][name]) / 2  # as DistributedDataParallel averages it
                torch.testing.assert_close(mean, parameter.grad, atol=1e-6, rtol=1e-3, msg=name)
        assert len(batch["text"]) == ROWS


def test_tokens_positions_norms_and_the_scale_go_without_decay(towers):
    filip = built(towers)
    groups = parameter_groups(list(filip.named_parameters()), 0.1, filip.group)
    spared = {id(parameter) for group in groups if not group["weight_decay"] for parameter in group["params"]}
    names = {name for name, parameter in filip.named_parameters() if id(parameter) in spared and parameter.ndim > 1}
    text, image = "encoders.text.", "encoders.image.model."
    assert names == {f"{text}embedding.weight", f"{text}positions", f"{image}cls_token", f"{image}pos_embed"}
    assert id(filip.logit_scale.log_scale) in spared


# --- what it gives ---


def test_scores_of_a_query_take_that_querys_direction_and_word_patch_its_own_picture(towers, batch):
    filip = built(towers)
    local = filip.token_features(batch)
    t2i = filip.rescore(local["text"], local["image"], "text")
    similarity = filip.word_patch(batch)  # (B, L, N)
    for row, mask in enumerate(batch["text_mask"]):
        torch.testing.assert_close(t2i[row, row], similarity[row, mask].amax(dim=1).mean())


def test_bf16_gives_tokens_and_scores_in_single_precision(towers, batch):
    filip = built(towers)
    with torch.autocast("cpu", torch.bfloat16):
        local, loss = filip.token_features(batch), filip.loss(batch, Step())["total"]
    assert loss.dtype == local["image"].tokens.dtype == torch.float32
    torch.testing.assert_close(local["text"].tokens.norm(dim=2), torch.ones(batch["text"].shape))


def test_patches_may_have_another_width_than_the_vector(towers):
    image = build_encoder("image", {"name": "mobilenetv3_small_050", "size": 64}, weights=False)
    assert image.token_dim != image.dim
    filip = built({"image": image, "text": towers["text"]})
    assert filip.eval().embed({"image": torch.randn(2, 3, 64, 64)})["image"].shape == (2, 8)


def test_an_encoder_without_tokens_is_refused(towers):
    image = towers["image"]
    image.gives = frozenset({"pooled"})
    with pytest.raises(ConfigError, match="filip needs tokens from the image encoder, which gives only pooled"):
        built(towers)


@pytest.mark.parametrize("keep", [0, 1.5])
def test_a_wrong_share_is_refused(towers, keep):
    with pytest.raises(ConfigError, match=rf"^keep = {keep}"):
        built(towers, keep=keep)


# --- training ---


class Killed(Exception):
    """What a kill looks like from inside."""


def trained(towers, folder, *, kill_at=None, resume=False):
    filip = built(copy.deepcopy(towers), keep=0.5)
    done, plain = [], filip.after_step

    def after_step(step):
        plain(step)
        done.append(step)
        if len(done) == kill_at:
            raise Killed

    filip.after_step = after_step
    pictures = [Image.fromarray(np.full((16, 16, 3), 40 * row, dtype=np.uint8)) for row in range(6)]
    corpus = corpus_from_items("image", pictures)
    rows = corpus.rows.add_column("text", [WORDS[row % 4] for row in range(6)])
    corpus = type(corpus)("pictures", rows, Columns(image="image", text=("text",)), corpus.ids)
    config = TrainingConfig(epochs=3, batch_size=3, checkpoint_every=2, lr=0.01, accelerator="cpu")
    fit(filip, corpus, config, folder, resume=resume, progress=False)
    return filip.state_dict()


def test_a_killed_run_resumes_to_the_same_bits(towers, tmp_path):
    whole = trained(towers, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(towers, tmp_path / "killed", kill_at=5)
    again = trained(towers, tmp_path / "killed", resume=True)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_training_pulls_pairs_together(towers, batch):
    filip = built(towers, keep=0.5)
    optimiser = torch.optim.AdamW(filip.parameters(), lr=1e-2)
    first = filip.loss(batch, Step())["total"].item()
    for index in range(80):
        optimiser.zero_grad()
        filip.loss(batch, Step(index=index))["total"].backward()
        optimiser.step()
        filip.after_step(Step(index=index))
    assert filip.loss(batch, Step())["total"].item() < 0.2 * first
