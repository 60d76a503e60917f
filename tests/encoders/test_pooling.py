"""Bringing tokens to a number of places."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from accord.encoders.pooling import pooled_onto, slot_means, to_length


def test_more_tokens_are_interpolated_as_torch_interpolates_them() -> None:
    tokens = torch.randn(2, 9, 3)
    want = F.interpolate(tokens.mT, size=4, mode="linear").mT
    torch.testing.assert_close(to_length(tokens, None, 4), want)


def test_each_row_is_brought_to_the_length_by_its_own_real_tokens() -> None:
    tokens = torch.randn(3, 9, 2)
    counts = torch.tensor([9, 3, 0])
    mask = torch.arange(9) < counts[:, None]
    found = to_length(tokens, mask, 5)
    torch.testing.assert_close(found[:1], to_length(tokens[:1], None, 5))
    torch.testing.assert_close(found[1, 1:4], tokens[1, :3])
    assert (found[1, [0, 4]] == 0).all()
    assert (found[2] == 0).all()


def test_what_is_masked_in_front_is_left_out_as_well() -> None:
    tokens = torch.arange(6.0).view(1, 6, 1)
    mask = torch.tensor([[False, True, True, True, True, False]])
    assert to_length(tokens, mask, 4).flatten().tolist() == [1, 2, 3, 4]


def test_streams_are_averaged_onto_the_places_of_another_whatever_the_padding() -> None:
    tokens, mask = torch.arange(24.0).view(2, 6, 2), torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    onto = torch.tensor([[True] * 3, [True] * 3])
    found = pooled_onto(tokens, mask, onto)
    torch.testing.assert_close(found[0], tokens[0].view(3, 2, 2).mean(dim=1))
    torch.testing.assert_close(found[1], tokens[1, :3])
    few = pooled_onto(tokens[:, :2], None, torch.tensor([[True] * 4, [True, True, False, False]]))
    assert few[0, :, 0].tolist() == [0, 0, 2, 2]
    assert few[1].tolist() == [[12, 13], [14, 15], [0, 0], [0, 0]]


def test_slots_are_adaptive_average_pooling_of_each_row_by_itself() -> None:
    tokens = torch.randn(3, 8, 4)
    counts = torch.tensor([8, 5, 2])
    mask = torch.arange(8) < counts[:, None]
    found = slot_means(tokens, mask, 4)
    for row, count in enumerate(counts.tolist()):
        expected = F.adaptive_avg_pool1d(tokens[row, :count].T, 4).T
        torch.testing.assert_close(found[row], expected)
    torch.testing.assert_close(slot_means(tokens, None, 2), F.avg_pool1d(tokens.mT, 4).mT)
    assert slot_means(tokens, None, 8) is tokens
    assert (slot_means(tokens, torch.zeros(3, 8, dtype=torch.bool), 2) == 0).all()
