"""Where the cells of a crop's feature map lie in the picture, and which cells of two crops show the same place.

PixPro (Xie et al. 2021, CVPR, section 3.1) compares cells by the distance of their centres; a crop is
``(x1, y1, x2, y2)`` in the picture, where x1 > x2 says that it was mirrored, so its corners must never be sorted.
SlotCon (Wen et al. 2022, NeurIPS, section 3.1) resamples both maps to the common region instead; its boxes are ordered
and lie in the frame of their own view. Cells are counted row by row. Nothing here but :func:`inverse_augment` carries
gradient.
"""
# ruff: noqa: N803 - H and W are what everybody calls the sides of a map

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_shape, check_trailing_shape


def crop_cell_centers(coord: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    """Centres of the ``H × W`` cells of each crop in the picture, and the diagonal of a cell.

    A mirrored crop (x1 > x2) has cells of negative width, so that its first column lies at the right.

    Args:
        coord: ``(N, 4)`` as x1, y1, x2, y2 of the crop in the picture.
        H: rows of the map.
        W: columns of the map.

    Returns:
        ``(N, H·W, 2)`` centres as x, y, and ``(N,)`` diagonals.

    Raises:
        ShapeError: ``coord`` is not ``(N, 4)``.
        ValueError: H or W below 1.

    Example:
        >>> centers, diagonal = crop_cell_centers(torch.tensor([[1.0, 0.0, 0.0, 1.0]]), 1, 2)
        >>> centers
        tensor([[[0.7500, 0.5000],
                 [0.2500, 0.5000]]])
    """
    check_shape((None, 4), coord=coord)
    check_range(1, max(H, 1), H=H)
    check_range(1, max(W, 1), W=W)
    coord = as_float(coord)
    x1, y1, x2, y2 = coord.unsqueeze(-1).unbind(1)  # each (N, 1)
    width, height = (x2 - x1) / W, (y2 - y1) / H
    x = x1 + (torch.arange(W, device=coord.device) + 0.5) * width  # (N, W)
    y = y1 + (torch.arange(H, device=coord.device) + 0.5) * height  # (N, H)
    grid = torch.stack([x[:, None, :].expand(-1, H, -1), y[:, :, None].expand(-1, -1, W)], dim=-1)
    return grid.flatten(1, 2), torch.hypot(width, height).squeeze(1)


def cell_distance(centers_q: Tensor, centers_k: Tensor, diagonal: Tensor) -> Tensor:
    """Distance of every cell to every other, in units of a diagonal.

    Computed from differences: by inner products the distance of equal cells would not be zero.

    Args:
        centers_q: ``(N, A, 2)``.
        centers_k: ``(N, B, 2)``.
        diagonal: ``(N,)``.

    Returns:
        ``(N, A, B)``.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> cell_distance(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 4.0]]]), torch.tensor([2.0]))
        tensor([[[2.5000]]])
    """
    check_shape((len(diagonal), None, 2), centers_q=centers_q, centers_k=centers_k)
    x = centers_q[:, :, None, 0] - centers_k[:, None, :, 0]
    y = centers_q[:, :, None, 1] - centers_k[:, None, :, 1]
    return torch.hypot(x, y) / diagonal.clamp(min=torch.finfo(diagonal.dtype).tiny)[:, None, None]


def pixel_distance(coord_q: Tensor, coord_k: Tensor, H: int, W: int) -> Tensor:
    """Distance of the cell centres of two crops over the larger of their cell diagonals (PixPro, section 3.1).

    Args:
        coord_q: ``(N, 4)`` as x1, y1, x2, y2, with x1 > x2 when mirrored.
        coord_k: ``(N, 4)`` of the other crop.
        H: rows of both maps.
        W: columns of both maps.

    Returns:
        ``(N, H·W, H·W)``, rows are the cells of the first crop. Memory is quadratic in H·W;
        :func:`accord.functional.dense.losses.pixpro_loss` does without it on large maps.

    Raises:
        ShapeError: coordinates that are not ``(N, 4)`` both.
        ValueError: H or W below 1.

    Example:
        >>> pixel_distance(torch.tensor([[0.0, 0.0, 4.0, 3.0]]), torch.tensor([[4.0, 0.0, 0.0, 3.0]]), 1, 1)
        tensor([[[0.]]])
    """
    centers_q, centers_k, diagonal = crop_pair_centers(coord_q, coord_k, H, W)
    return cell_distance(centers_q, centers_k, diagonal)


def crop_pair_centers(coord_q: Tensor, coord_k: Tensor, H: int, W: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cell centres of two crops of each picture, and the larger of their cell diagonals.

    Args:
        coord_q: ``(N, 4)``.
        coord_k: ``(N, 4)``.
        H: rows of both maps.
        W: columns of both maps.

    Returns:
        ``(N, H·W, 2)``, ``(N, H·W, 2)`` and ``(N,)``.

    Raises:
        ShapeError: coordinates that are not ``(N, 4)`` both.
        ValueError: H or W below 1.

    Example:
        >>> crop_pair_centers(torch.tensor([[0.0, 0.0, 4.0, 3.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 1, 1)[2]
        tensor([5.])
    """
    check_shape((len(coord_q), 4), coord_q=coord_q, coord_k=coord_k)
    centers_q, diagonal_q = crop_cell_centers(coord_q, H, W)
    centers_k, diagonal_k = crop_cell_centers(coord_k, H, W)
    return centers_q, centers_k, torch.maximum(diagonal_q, diagonal_k)


def pixel_positive_mask(coord_q: Tensor, coord_k: Tensor, H: int, W: int, threshold: float = 0.7) -> Tensor:
    """Pairs of cells of two crops that show the same place: closer than ``threshold`` cell diagonals.

    Args:
        coord_q: ``(N, 4)`` as x1, y1, x2, y2, with x1 > x2 when mirrored.
        coord_k: ``(N, 4)`` of the other crop.
        H: rows of both maps.
        W: columns of both maps.
        threshold: T of PixPro, eq. 1.

    Returns:
        ``(N, H·W, H·W)`` bool; all False for crops that do not meet.

    Raises:
        ShapeError: coordinates that are not ``(N, 4)`` both.
        ValueError: H or W below 1.

    Example:
        >>> crop = torch.tensor([[0.0, 0.0, 1.0, 0.5]])
        >>> pixel_positive_mask(crop, crop[:, [2, 1, 0, 3]], 1, 2)  # mirrored
        tensor([[[False,  True],
                 [ True, False]]])
    """
    return pixel_distance(coord_q, coord_k, H, W) < threshold


def flipped_coord(boxes: Tensor, flips: Tensor) -> Tensor:
    """PixPro's coordinates of a crop: mirroring swaps x1 and x2.

    Args:
        boxes: ``(..., 4)`` as x0, y0, x1, y1, ordered (``view_boxes`` of a batch).
        flips: ``(...)`` bool, whether the view was mirrored (``view_flips`` of a batch).

    Returns:
        ``(..., 4)``.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> flipped_coord(torch.tensor([[0.1, 0.2, 0.5, 0.6]]), torch.tensor([True]))
        tensor([[0.5000, 0.2000, 0.1000, 0.6000]])
    """
    check_trailing_shape((4,), boxes=boxes)
    check_shape(tuple(boxes.shape[:-1]), flips=flips)
    return torch.where(flips.bool().unsqueeze(-1), boxes[..., [2, 1, 0, 3]], boxes)


def crop_params(boxes: Tensor) -> Tensor:
    """Top, left, height and width of boxes, as :func:`overlap_boxes` takes them.

    Args:
        boxes: ``(..., 4)`` as x0, y0, x1, y1, ordered (``view_boxes`` of a batch).

    Returns:
        ``(..., 4)``.

    Raises:
        ShapeError: the last dimension is not 4.

    Example:
        >>> crop_params(torch.tensor([1.0, 2.0, 5.0, 8.0]))
        tensor([2., 1., 6., 4.])
    """
    check_trailing_shape((4,), boxes=boxes)
    return torch.cat([boxes[..., [1, 0]], boxes[..., [3, 2]] - boxes[..., [1, 0]]], dim=-1)


def overlap_boxes(params1: Tensor, params2: Tensor) -> tuple[Tensor, Tensor]:
    """The common region of two crops, in the frame of each (SlotCon, section 3.1).

    Args:
        params1: ``(..., 4)`` top, left, height and width of a crop in any unit, before mirroring.
        params2: ``(..., 4)`` of the other crop.

    Returns:
        Two ``(..., 4)`` as x1, y1, x2, y2 in [0, 1] of the first and of the second crop. Of crops that do not meet
        the box is empty (see :func:`nonempty_boxes`). Mirror the box of a mirrored view by :func:`hflip_box`.

    Raises:
        ShapeError: shapes that differ, or whose last dimension is not 4.

    Example:
        >>> overlap_boxes(torch.tensor([0.0, 0.0, 4.0, 4.0]), torch.tensor([2.0, 1.0, 2.0, 8.0]))
        (tensor([0.2500, 0.5000, 1.0000, 1.0000]), tensor([0.0000, 0.0000, 0.3750, 1.0000]))
    """
    check_trailing_shape((4,), params1=params1)
    check_shape(tuple(params1.shape), params2=params2)
    (start1, size1), (start2, size2) = (_corner_and_size(as_float(params)) for params in (params1, params2))
    low = torch.maximum(start1, start2)
    high = torch.minimum(start1 + size1, start2 + size2)
    box1, box2 = (
        torch.cat([(low - start) / size, (high - start) / size], dim=-1)
        for start, size in ((start1, size1), (start2, size2))
    )
    return box1, box2


def nonempty_boxes(boxes: Tensor) -> Tensor:
    """Whether each box has an inside; the maps that :func:`inverse_augment` makes of the others mean nothing.

    Args:
        boxes: ``(..., 4)`` as x1, y1, x2, y2.

    Returns:
        ``(...)`` bool.

    Raises:
        ShapeError: the last dimension is not 4.

    Example:
        >>> nonempty_boxes(torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.4, 0.0, 0.3, 1.0]]))
        tensor([ True, False])
    """
    check_trailing_shape((4,), boxes=boxes)
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def hflip_box(box: Tensor) -> Tensor:
    """A box in the mirrored view; it stays ordered.

    Args:
        box: ``(..., 4)`` as x1, y1, x2, y2 in [0, 1].

    Returns:
        ``(..., 4)``.

    Raises:
        ShapeError: the last dimension is not 4.

    Example:
        >>> hflip_box(torch.tensor([0.0, 0.5, 0.25, 1.0]))
        tensor([0.7500, 0.5000, 1.0000, 1.0000])
    """
    check_trailing_shape((4,), box=box)
    x1, y1, x2, y2 = box.unbind(-1)
    return torch.stack([1 - x2, y1, 1 - x1, y2], dim=-1)


def inverse_augment(maps: Tensor, boxes: Tensor, flipped: Tensor) -> Tensor:
    """Undo crop and mirroring of a map inside a box, so that two views align cell by cell (SlotCon, section 3.1).

    One bilinear sample at the centre of each of ``H × W`` bins of the box, at ``W (x1 + (c + ½)/W (x2 - x1)) - ½`` in
    units of cells and clamped to the map, then mirrored where the view was: RoIAlign for boxes inside the map.

    Args:
        maps: ``(B, C, H, W)``; carries gradient.
        boxes: ``(B, 4)`` as x1, y1, x2, y2 in [0, 1] of the view as it is fed, that is after mirroring.
        flipped: ``(B,)`` bool, whether the view was mirrored.

    Returns:
        ``(B, C, H, W)``. An empty box gives values that mean nothing: leave such images out by
        :func:`nonempty_boxes`.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> inverse_augment(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([True]))
        tensor([[[[2., 1.]]]])
    """
    check_ndim(4, maps=maps)
    check_shape((len(maps), 4), boxes=boxes)
    check_shape((len(maps),), flipped=flipped)
    with torch.autocast(maps.device.type, enabled=False):
        maps = as_float(maps)
        centers, _ = crop_cell_centers(flipped_coord(boxes.to(maps), flipped), *maps.shape[-2:])
        grid = 2 * centers.unflatten(1, maps.shape[-2:]) - 1  # (B, H, W, 2): -1 and 1 are the outer edges
        return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _corner_and_size(params: Tensor) -> tuple[Tensor, Tensor]:
    """Left and top, width and height."""
    return params[..., [1, 0]], params[..., [3, 2]]
