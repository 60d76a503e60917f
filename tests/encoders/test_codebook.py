from __future__ import annotations

import pytest
import torch

from accord.encoders.codebook import FDTHead
from accord.functional import ground, sequence_relevance


@pytest.fixture
def head() -> FDTHead:
    torch.manual_seed(0)
    return FDTHead({"image": 12, "text": 6, "audio": 5}, num_tokens=128, dim=16)


def test_any_number_of_modalities_is_grounded_in_the_same_codebook(head: FDTHead) -> None:
    for modality, width in (("image", 12), ("text", 6), ("audio", 5)):
        tokens = torch.randn(3, 4, width)
        w, e = head(modality, tokens)
        same = ground(tokens, head.codebook, head.queries[modality], None, head.temperature)
        torch.testing.assert_close((w, e), same)


@pytest.mark.parametrize("support", [0.05, 0.3])
def test_calibration_leaves_that_share_active_on_average_over_modalities(head: FDTHead, support: float) -> None:
    image, text = torch.randn(8, 9, 12), torch.randn(8, 5, 6)
    mask = torch.arange(5) < torch.randint(1, 6, (8, 1))
    head.calibrate_({"image": (image, None), "text": (text, mask)}, support)
    active = torch.cat([head("image", image)[0], head("text", text, mask)[0]]) > 0
    assert active.float().mean().item() == pytest.approx(support, abs=2e-3)


@pytest.mark.parametrize("num_tokens", [64, 512, 2048])
def test_the_starting_temperature_leaves_about_a_third_active_whatever_the_size(num_tokens: int) -> None:
    torch.manual_seed(0)
    head = FDTHead({"image": 24}, num_tokens=num_tokens, dim=32)
    share = (head("image", torch.randn(8, 49, 24))[0] > 0).float().mean().item()
    assert 0.15 < share < 0.5


def test_relevance_is_what_the_weights_are_made_of(head: FDTHead) -> None:
    tokens = torch.randn(2, 4, 6)
    pooled = head.relevance("text", tokens).amax(dim=1)
    expected = sequence_relevance(tokens, head.codebook, head.queries["text"]) / head.temperature
    torch.testing.assert_close(pooled, expected)


def test_the_temperature_decays_to_its_end_and_no_further(head: FDTHead) -> None:
    head.temperature.fill_(3.0)
    head.decay_(0.5, 1.0)
    assert head.temperature == 1.5
    head.decay_(0.5, 1.0)
    assert head.temperature == 1.0


def test_a_codebook_of_one_entry_and_a_temperature_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="num_tokens = 1"):
        FDTHead({"image": 4}, num_tokens=1, dim=2)
    with pytest.raises(ValueError, match=r"temperature = 0\.0"):
        FDTHead({"image": 4}, num_tokens=4, dim=2, temperature=0.0)
