from __future__ import annotations

import pytest
import torch
from method_parts import text_batch

from accord.errors import ConfigError
from accord.functional import info_nce
from accord.methods import DataInfo, Step, get_method

WORDS = ["a red ball", "a blue cup", "the green tree", "a red ball"]


@pytest.fixture
def clip(towers):
    torch.manual_seed(0)
    return get_method("clip")({"dim": 8}, towers, DataInfo())


@pytest.fixture
def batch(towers):
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, WORDS)}


def test_loss_is_symmetric_info_nce_of_the_embeddings(clip, batch):
    embedded = clip.embed(batch)
    expected = info_nce(embedded["image"], embedded["text"], clip.logit_scale())
    torch.testing.assert_close(clip.loss(batch, Step())["total"], expected)


@pytest.mark.parametrize("choice", ["positives", "ignored", "dropped"])
def test_rows_with_the_same_caption_need_not_be_negatives(towers, batch, choice):
    torch.manual_seed(0)
    clip = get_method("clip")({"dim": 8, "duplicates": choice}, towers, DataInfo())
    embedded = clip.embed(batch)  # rows 0 and 3 have the same caption
    ids = torch.tensor([0, 1, 2, 0])
    expected = info_nce(embedded["image"], embedded["text"], clip.logit_scale(), ids=ids, duplicates=choice)
    torch.testing.assert_close(clip.loss(batch, Step())["total"], expected)
    cached = {"image": batch["image"], "text": towers["text"](batch["text"], batch["text_mask"])}
    torch.testing.assert_close(clip.loss(cached, Step())["total"], expected)


def test_embeddings_have_unit_norm_and_follow_the_batch(clip, batch):
    assert set(clip.embed({"image": batch["image"]})) == {"image"}
    for vectors in clip.embed(batch).values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


def test_the_scale_parameter_itself_is_clamped_after_a_step(clip):
    with torch.no_grad():
        clip.logit_scale.log_scale.fill_(9.0)
    clip.after_step(Step())
    torch.testing.assert_close(clip.logit_scale(), torch.tensor(100.0))


def test_temperature_can_be_fixed(towers, batch):
    clip = get_method("clip")({"dim": 8, "learn_temperature": False, "temperature": 1.0}, towers, DataInfo())
    clip.loss(batch, Step())["total"].backward()
    assert clip.logit_scale.log_scale.grad is None
    assert clip.logit_scale() == 1


def test_local_loss_without_gathered_gradient_is_refused(towers):
    with pytest.raises(ValueError, match="gather_with_grad"):
        get_method("clip")({"local_loss": True, "gather_with_grad": False}, towers, DataInfo())


def test_a_missing_encoder_is_named(towers):
    with pytest.raises(ConfigError, match="needs an encoder for text"):
        get_method("clip")({}, {"image": towers["image"]}, DataInfo())


def test_a_wrong_setting_names_the_field_and_what_is_allowed(towers):
    with pytest.raises(ConfigError, match=r"^temperature = -1: input should be greater than 0"):
        get_method("clip")({"temperature": -1}, towers, DataInfo())


def test_training_pulls_pairs_together(clip, batch, towers):
    distinct = {**batch, **text_batch(towers, ["a red ball", "a blue cup", "the green tree", "one yellow star"])}
    optimiser = torch.optim.AdamW(clip.parameters(), lr=1e-2)
    first = clip.loss(distinct, Step())["total"].item()
    for index in range(30):
        optimiser.zero_grad()
        clip.loss(distinct, Step(index=index))["total"].backward()
        optimiser.step()
        clip.after_step(Step(index=index))
    assert clip.loss(distinct, Step())["total"].item() < 0.2 * first
