"""The pooled map of moments and the convolutions over what is there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.encoders.heads import ProposalConv, SparseMomentMap
from accord.errors import ConfigError
from accord.functional import sparse_moment_mask


def test_the_map_is_that_of_the_released_code(golden) -> None:
    given = golden("g2l")
    pool = SparseMomentMap(8, [3, 2])
    assert torch.equal(pool(given["pool_in"]), given["pool_map2d"])
    assert torch.equal(pool.mask, given["pool_mask2d"])


@pytest.mark.parametrize(("clips", "counts"), [(16, [15]), (64, [15, 8, 8]), (16, [3, 2, 1]), (5, [15, 8])])
def test_every_cell_is_the_largest_of_its_clips(clips, counts) -> None:
    x = torch.randn(2, 3, clips)
    mask, found = sparse_moment_mask(clips, counts), SparseMomentMap(clips, counts)(x)
    expected = torch.zeros(2, 3, clips, clips)
    for i, j in mask.nonzero().tolist():
        expected[:, :, i, j] = x[:, :, i : j + 1].amax(dim=2)
    assert torch.equal(found, expected)


def test_a_cell_is_divided_by_the_cells_that_are_there_under_its_kernel() -> None:
    mask = sparse_moment_mask(6, [2])
    layer = ProposalConv(mask, 2, 3, kernel=3, layers=1).eval()
    x = torch.rand(1, 2, 6, 6) * mask
    count = F.conv2d(mask[None, None].float(), torch.ones(1, 1, 3, 3), padding=1)
    plain = F.conv2d(x, layer.convs[0].weight, padding=1) / (1 + layer.norms[0].eps) ** 0.5
    torch.testing.assert_close(layer(x), torch.where(count > 0, plain.relu() / count.clamp(min=1), 0.0))


def test_what_is_there_grows_with_every_layer_and_the_map_keeps_its_size() -> None:
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[3, 3] = True
    conv = ProposalConv(mask, 1, 1, kernel=3, layers=2)
    grown = [conv.get_buffer(f"share{number}")[0] > 0 for number in range(2)]
    assert [int(one.sum()) for one in grown] == [9, 25]
    assert grown[1].shape == (7, 7)
    assert conv(torch.randn(2, 1, 7, 7)).shape == (2, 1, 7, 7)


def test_an_even_kernel_has_no_middle() -> None:
    with pytest.raises(ConfigError, match="kernel = 4: expected an odd number"):
        ProposalConv(sparse_moment_mask(4, [3]), 1, 1, kernel=4)
