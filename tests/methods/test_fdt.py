from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from method_parts import FixedLoader, text_batch
from PIL import Image

from accord.data.columns import Columns
from accord.data.corpus import corpus_from_items
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.explaining import explain_concepts
from accord.functional import codebook_orthogonality, ground, info_nce
from accord.methods import DataInfo, Stage, Step, get_method
from accord.methods.abilities import SpeaksInConcepts
from accord.training.artifact import Model, load_model, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward

WORDS = ["a red ball", "a blue cup", "the green tree by a red ball", "one yellow star"]
SMALL = {"num_tokens": 64, "dim": 8}


def built(towers, **settings):
    torch.manual_seed(0)
    return get_method("fdt")({**SMALL, **settings}, towers, DataInfo())


@pytest.fixture
def fdt(towers):
    return built(towers)


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, WORDS)}


def share_active(fdt, batch):
    return torch.stack([(found.weights > 0).float().mean() for found in fdt.concepts(batch).values()]).mean()


# --- the loss ---


def test_embeddings_are_the_grounded_tokens_at_unit_norm(fdt, batch):
    expected = {}
    for modality, encoder in fdt.encoders.items():
        features = encoder(batch[modality], batch.get(f"{modality}_mask"))
        query_map = fdt.head.queries[modality]
        tokens = features.stream("prenorm").values if modality == "image" else features.tokens
        _, e = ground(tokens, fdt.head.codebook, query_map, features.mask, fdt.head.temperature)
        expected[modality] = F.normalize(e, dim=-1)
        torch.testing.assert_close(fdt.embed(batch)[modality], expected[modality])
    loss = fdt.loss(batch, Step())
    torch.testing.assert_close(
        loss["total"], info_nce(expected["image"], expected["text"], fdt.logit_scale()), atol=1e-5, rtol=1e-5
    )


def test_both_modalities_share_one_codebook_and_have_a_query_map_each(fdt):
    shapes = {name: tuple(value.shape) for name, value in fdt.head.named_parameters()}
    assert shapes["codebook"] == (64, 8)
    assert sum(name.startswith("queries.image.") for name in shapes) == 8
    assert sum(name.startswith("queries.text.") for name in shapes) == 8


def test_the_gradient_reaches_the_codebook_only_where_something_is_active(towers, batch):
    fdt = built(towers, temperature=0.3)
    fdt.loss(batch, Step())["total"].backward()
    active = torch.cat([found.weights > 0 for found in fdt.concepts(batch).values()]).any(dim=0)
    touched = fdt.head.codebook.grad.abs().sum(dim=1) > 0
    assert 0 < active.sum() < 32
    assert torch.equal(touched, active)


def test_both_encoders_and_both_query_maps_learn(fdt, batch):
    fdt.loss(batch, Step())["total"].backward()
    for modality, encoder in fdt.encoders.items():
        assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())
        assert all(weight.grad is not None for weight in fdt.head.queries[modality].parameters())


def test_patches_come_before_a_vits_last_norm_or_behind_it(towers, batch):
    found, behind = built(copy.deepcopy(towers)), built(copy.deepcopy(towers), last_norm=True)
    tokens = found._tokens(batch)["image"].values
    torch.testing.assert_close(found.encoders["image"].model.norm(tokens), behind._tokens(batch)["image"].values)
    assert not torch.allclose(tokens, behind._tokens(batch)["image"].values)
    assert torch.equal(found._tokens(batch)["text"].values, behind._tokens(batch)["text"].values)
    net = build_encoder("image", "tiny_convnet")  # what it gives has no norm behind it
    assert built({**towers, "image": net}).needs["image"] == {"tokens"}


def test_the_patch_convolution_is_held_unless_that_is_switched_off(towers):
    held = built(copy.deepcopy(towers)).encoders["image"]
    norm = ["model.norm.weight", "model.norm.bias"]  # patches come before it
    still = [name for name, p in held.named_parameters() if not p.requires_grad]
    assert still == ["model.patch_embed.proj.weight", *norm]
    free = built(copy.deepcopy(towers), freeze_patches=False).encoders["image"]
    assert [name for name, p in free.named_parameters() if not p.requires_grad] == norm
    free = built(towers, freeze_patches=False, last_norm=True).encoders["image"]
    assert all(p.requires_grad for p in free.parameters())
    net = built({**towers, "image": build_encoder("image", "tiny_convnet")}).encoders["image"]
    assert all(p.requires_grad for p in net.parameters())


def test_a_run_of_before_these_choices_is_what_it_was(towers, batch, tmp_path):
    old = built(towers, last_norm=True, freeze_patches=False).eval()
    save_model(tmp_path, old, {})
    record = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del record["method"]["last_norm"], record["method"]["freeze_patches"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    loaded = load_model(tmp_path).method
    torch.testing.assert_close(loaded.embed(batch)["image"], old.embed(batch)["image"])
    assert get_method("fdt").Config.parse({"dim": 8}).last_norm is False


def test_padding_changes_nothing(fdt, batch):
    more = {**batch, "text": F.pad(batch["text"], (0, 5), value=7), "text_mask": F.pad(batch["text_mask"], (0, 5))}
    found, padded = fdt.concepts(batch)["text"], fdt.concepts(more)["text"]
    torch.testing.assert_close(padded.weights, found.weights, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(fdt.embed(more)["text"], fdt.embed(batch)["text"], atol=1e-6, rtol=1e-5)


def test_padding_as_a_word_of_relevance_zero_can_be_asked_for(towers, batch):
    excluded, counted = built(towers, pool="mean"), built(towers, pool="mean", pad_mode="zero")
    weights = [fdt.concepts(batch)["text"].weights for fdt in (excluded, counted)]
    longest = batch["text_mask"].all(dim=1)
    torch.testing.assert_close(weights[0][longest], weights[1][longest])
    assert not torch.allclose(weights[0][~longest], weights[1][~longest])


def test_orthogonality_is_off_and_is_added_with_its_weight(towers, batch):
    plain = built(towers).loss(batch, Step())
    assert "orthogonality" not in plain
    fdt = built(towers, orthogonality=0.5)
    penalised = fdt.loss(batch, Step())
    penalty = codebook_orthogonality(fdt.head.codebook)
    torch.testing.assert_close(penalised["total"], plain["total"] + 0.5 * penalty)
    torch.testing.assert_close(penalised["orthogonality"], penalty)


def test_the_terms_say_how_much_of_the_codebook_is_in_use(towers, batch):
    fdt = built(towers, temperature=0.3)
    terms, found = fdt.loss(batch, Step()), fdt.concepts(batch)
    for modality in ("image", "text"):
        expected = (found[modality].weights > 0).float().mean()
        torch.testing.assert_close(terms[f"active_{modality}"], expected)
        assert 1 / 64 <= expected < 0.5
    idle = ~torch.cat([found[modality].weights > 0 for modality in found]).any(dim=0)
    torch.testing.assert_close(terms["unused"], idle.float().mean())


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_only_sparsemax_has_exact_zeros(towers, batch, activation):
    dense = built(towers, activation=activation, temperature=0.3)
    assert dense.loss(batch, Step())["active_text"] == 1
    for vectors in dense.embed(batch).values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


# --- temperature ---


@pytest.mark.parametrize("support", [0.1, 0.4])
def test_the_temperature_is_set_by_how_much_is_to_be_active(towers, batch, support):
    fdt = built(towers, initial_support=support)
    fdt.before_stage(Stage(), FixedLoader(batch))
    assert share_active(fdt, batch) == pytest.approx(support, abs=1 / 64)
    first = fdt.head.temperature.clone()
    fdt.before_stage(Stage(), FixedLoader(batch))
    assert torch.equal(fdt.head.temperature, first)


def test_before_it_is_set_the_temperature_goes_with_the_codebook(towers, batch):
    for tokens in (64, 1024):
        assert 0.1 < share_active(built(towers, num_tokens=tokens), batch) < 0.5


def test_a_temperature_of_ones_own_stays(towers, batch):
    fdt = built(towers, temperature=1000.0)
    fdt.before_stage(Stage(), FixedLoader(batch))
    assert fdt.head.temperature == 1000


def test_the_temperature_decays_in_steps_down_to_its_end(towers):
    fdt = built(towers, temperature=8.0, temperature_decay=0.5, decay_steps=3, min_temperature=1.5)
    course = []
    for index in range(12):
        fdt.after_step(Step(index=index))
        course.append(fdt.head.temperature.item())
    assert course == [8, 8, 4, 4, 4, 2, 2, 2, 1.5, 1.5, 1.5, 1.5]


def test_the_temperature_is_part_of_the_model(towers, batch):
    fdt, other = built(towers, temperature=0.3), built(copy.deepcopy(towers), temperature=5.0)
    other.load_state_dict(fdt.state_dict())
    torch.testing.assert_close(other.embed(batch)["image"], fdt.embed(batch)["image"])


def test_the_logit_scale_stays_between_its_clamps(fdt):
    assert fdt.logit_scale().item() == pytest.approx(math.exp(3))  # CLIP's 1 / 0.07 lies below
    for value, clamped in ((9.0, 100.0), (0.0, math.exp(3))):
        fdt.logit_scale.log_scale.data.fill_(value)
        fdt.after_step(Step())
        assert fdt.logit_scale().item() == pytest.approx(clamped)


# --- concepts ---


@torch.no_grad()
def test_concepts_are_the_weights_and_what_max_pooling_made_them_of(fdt, batch):
    for modality, found in fdt.concepts(batch).items():
        relevance = found.relevance
        if found.mask is not None:
            relevance = relevance.masked_fill(~found.mask[:, :, None], -torch.inf)
        torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(4))
        pooled, active = relevance.amax(dim=1), found.weights > 0
        threshold = (pooled - found.weights)[active]  # the same for all active entries of a row
        rows = active.nonzero()[:, 0]
        torch.testing.assert_close(threshold, threshold.new_tensor([threshold[rows == row][0] for row in rows]))
        torch.testing.assert_close(
            found.weights @ fdt.head.codebook, fdt.head(modality, *inputs(fdt, batch, modality))[1]
        )


def inputs(fdt, batch, modality):
    features = fdt.encoders[modality](batch[modality], batch.get(f"{modality}_mask"))
    return features.tokens, features.mask


def test_only_the_modalities_of_the_batch_are_embedded(fdt, batch):
    assert set(fdt.embed({"image": batch["image"]})) == {"image"} == set(fdt.concepts({"image": batch["image"]}))


def test_a_method_without_concepts_says_so(towers, batch):
    clip = get_method("clip")({"dim": 8}, towers, DataInfo())
    assert SpeaksInConcepts.of(clip) is None
    with pytest.raises(ConfigError, match=r"clip does not express its inputs in concepts .* methods that do: fdt"):
        explain_concepts(Model(clip), "a.png", "a red square", None)


# --- wrong settings ---


def test_the_temperature_of_a_dense_activation_has_to_be_given(towers):
    with pytest.raises(ConfigError, match=r"softmax leaves all: give method\.temperature a number"):
        built(towers, activation="softmax")


def test_an_encoder_without_tokens_is_refused(towers):
    towers["text"].gives = frozenset({"pooled"})
    with pytest.raises(ConfigError, match="fdt needs tokens from the text encoder"):
        built(towers)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"initial_support": 1.0}, {"pool": "median"}])
def test_a_wrong_setting_names_the_field(towers, settings):
    with pytest.raises(ConfigError, match=rf"^{next(iter(settings))}"):
        built(towers, **settings)


# --- training ---


def test_training_pulls_pairs_together(fdt, batch, towers):
    fdt.before_stage(Stage(), FixedLoader(batch))
    optimiser = torch.optim.AdamW(fdt.parameters(), lr=1e-2)
    first = fdt.loss(batch, Step())["total"].item()
    for index in range(25):
        optimiser.zero_grad()
        fdt.loss(batch, Step(index=index))["total"].backward()
        optimiser.step()
        fdt.after_step(Step(index=index))
    assert fdt.loss(batch, Step())["total"].item() < 0.3 * first


def test_bf16_embeds_in_single_precision(fdt, batch):
    with torch.autocast("cpu", torch.bfloat16):
        low = fdt.embed(batch)
    for modality, vectors in fdt.embed(batch).items():
        assert low[modality].dtype == torch.float32
        assert (low[modality] * vectors).sum(dim=1).min() > 0.9


class Killed(Exception):
    """What a kill looks like from inside."""


def trained(towers, folder, *, kill_at=None, resume=False):
    fdt = built(copy.deepcopy(towers), temperature_decay=0.9, decay_steps=2)
    done, plain = [], fdt.after_step

    def after_step(step):
        plain(step)
        done.append(step)
        if len(done) == kill_at:
            raise Killed

    fdt.after_step = after_step
    pictures = [Image.fromarray(np.full((16, 16, 3), 40 * row, dtype=np.uint8)) for row in range(6)]
    corpus = corpus_from_items("image", pictures)
    rows = corpus.rows.add_column("text", [WORDS[row % 4] for row in range(6)])
    corpus = type(corpus)("pictures", rows, Columns(image="image", text=("text",)), corpus.ids)
    config = TrainingConfig(epochs=3, batch_size=3, checkpoint_every=2, lr=0.01, accelerator="cpu")
    fit(fdt, corpus, config, folder, resume=resume, progress=False)
    return fdt.state_dict()


def test_a_killed_run_resumes_to_the_same_bits(towers, tmp_path):
    whole = trained(towers, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(towers, tmp_path / "killed", kill_at=5)
    again = trained(towers, tmp_path / "killed", resume=True)
    assert whole.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert whole["head.temperature"] != 64 / 16  # calibrated, and decayed


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_gradient_caching_gives_the_same_gradient_and_terms(towers, batch, micro_batch):
    whole, cached = (built(copy.deepcopy(towers), orthogonality=0.1) for _ in range(2))
    terms = whole.loss(batch, Step())
    terms["total"].backward()
    found = cached_backward(cached, batch, Step(), micro_batch, lambda scalar, last: scalar.backward())
    assert found.keys() == terms.keys()
    for name, term in terms.items():
        torch.testing.assert_close(found[name], term.detach())
    for (name, one), other in zip(whole.named_parameters(), cached.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-6, rtol=1e-3, msg=name)
