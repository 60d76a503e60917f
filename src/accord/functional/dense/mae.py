"""Masked autoencoding: pictures and clips as tokens, what is hidden of them, and the error on what is.

He et al. 2022, CVPR (pictures); Feichtenhofer et al. 2022, NeurIPS (clips). Tokens lie in the order (slot of time, row,
column), the values inside one in the order (frame, row, column, colour).
"""

from __future__ import annotations

import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_ndim, check_shape


def patchify(x: Tensor, patch: int, tubelet: int = 1) -> Tensor:
    """Clips as tokens; a picture is a clip of one frame.

    Args:
        x: ``(N, C, T, H, W)``.
        patch: side p of a token in pixels; divides H and W.
        tubelet: frames u of a token; divides T.

    Returns:
        ``(N, L, u·p²·C)`` with L = T/u · H/p · W/p.

    Raises:
        ShapeError: not five dimensions, or sides that do not divide.

    Example:
        >>> patchify(torch.zeros(2, 3, 8, 16, 16), patch=8, tubelet=2).shape
        torch.Size([2, 16, 384])
    """
    check_ndim(5, x=x)
    frames, height, width = x.shape[2:]
    if frames % tubelet or height % patch or width % patch:
        raise ShapeError(
            f"x has {frames} frames of {height} × {width}: expected multiples of {tubelet} and {patch} × {patch}"
        )
    parts = x.unflatten(4, (-1, patch)).unflatten(3, (-1, patch)).unflatten(2, (-1, tubelet))
    return parts.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)  # (N, t·h·w, u·p·p·C)


def unpatchify(tokens: Tensor, patch: int, tubelet: int, grid: tuple[int, int, int]) -> Tensor:
    """The clips ``(N, C, T, H, W)`` of tokens ``(N, L, u·p²·C)``; undoes :func:`patchify`.

    Args:
        tokens: as :func:`patchify` makes them.
        patch: side p of a token.
        tubelet: frames u of a token.
        grid: slots, rows and columns of tokens.

    Raises:
        ShapeError: the tokens do not fill the grid, or their values the tubelet.

    Example:
        >>> x = torch.arange(2 * 3 * 4 * 8 * 8.0).view(2, 3, 4, 8, 8)
        >>> torch.equal(unpatchify(patchify(x, 4, 2), 4, 2, (2, 2, 2)), x)
        True
    """
    check_shape((None, grid[0] * grid[1] * grid[2], None), tokens=tokens)
    if tokens.shape[2] % (tubelet * patch * patch):
        raise ShapeError(f"tokens has {tokens.shape[2]} values each: expected a multiple of {tubelet} · {patch}²")
    parts = tokens.unflatten(2, (tubelet, patch, patch, -1)).unflatten(1, grid)  # (N, t, h, w, u, p, p, C)
    return parts.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def predicted_frames(frames: int, predicted: int) -> Tensor:
    """Which frames ``(predicted,)`` int64 are filled in where not all are: ``floor(linspace(0, T - 1, predicted))``.

    Args:
        frames: T.
        predicted: how many.

    Example:
        >>> predicted_frames(8, 4)
        tensor([0, 2, 4, 7])
    """
    return torch.linspace(0, frames - 1, predicted).long()


def random_masking(
    tokens: Tensor,
    ratio: float,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    tubes: int = 1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hide a share of the tokens of each row: ``int(L · (1 - ratio))`` with the smallest noise are kept, in its order.

    Args:
        tokens: ``(N, L, D)``.
        ratio: share that is hidden.
        noise: ``(N, L / tubes)`` of any distribution; None draws it evenly in [0, 1).
        generator: of the drawn noise; None for the global one.
        tubes: slots of time in which the same cells are hidden, L / tubes cells each (VideoMAE; Tong et al. 2022); 1
            hides tokens one by one.

    Returns:
        The kept tokens ``(N, n, D)``; a mask ``(N, L)``, 1 on what is hidden; ``(N, L)``, where each token stands when
        those that were kept come first; and ``(N, n)``, which were kept.

    Raises:
        ShapeError: noise of another shape, or tubes that do not divide L.
        ValueError: nothing would be kept.

    Example:
        >>> tokens, noise = torch.arange(4.0).view(1, 4, 1), torch.tensor([[3, 1, 2, 0]])
        >>> visible, mask, restore, kept = random_masking(tokens, 0.5, noise)
        >>> visible.flatten(), mask, kept
        (tensor([3., 1.]), tensor([[1., 0., 1., 0.]]), tensor([[3, 1]]))
    """
    check_ndim(3, tokens=tokens)
    rows, length = tokens.shape[:2]
    if length % tubes:
        raise ShapeError(f"tokens has {length} of them: expected a multiple of tubes = {tubes}")
    cells = length // tubes
    if noise is None:
        noise = torch.rand(rows, cells, generator=generator, device=tokens.device)
    check_shape((rows, cells), noise=noise)
    count = tubes * int(cells * (1 - ratio))
    if not 0 < count <= length:
        raise ValueError(f"ratio = {ratio}: keeps {count} of {length} tokens, expected one at least")
    order = noise.argsort(dim=1)  # (N, cells)
    if tubes > 1:
        order = (order[..., None] + cells * torch.arange(tubes, device=order.device)).flatten(1)  # (N, L)
    restore, kept = order.argsort(dim=1), order[:, :count]
    mask = torch.ones(rows, length, device=tokens.device).scatter(1, kept, 0.0)
    return _at(tokens, kept), mask, restore, kept


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens ``(N, n, D)`` of ``(N, L, D)`` at places ``(N, n)``.

    >>> _at(torch.arange(6.0).view(1, 3, 2), torch.tensor([[2, 0]]))
    tensor([[[4., 5.],
             [0., 1.]]])
    """
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))


def patch_statistics(target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and ``sqrt(variance + 1e-6)`` ``(..., 1)`` of each token, the variance unbiased, in float32 at least.

    Args:
        target: ``(..., V)`` values of tokens.

    Example:
        >>> patch_statistics(torch.tensor([[1.0, 3.0]]))
        (tensor([[2.]]), tensor([[1.4142]]))
    """
    target = as_float(target)
    return target.mean(dim=-1, keepdim=True), (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def masked_mse(pred: Tensor, target: Tensor, mask: Tensor, normalize: bool = True) -> Tensor:
    """Mean squared error of each token, averaged over those that were hidden (MAE; mae_st).

    Args:
        pred: ``(N, L, V)``.
        target: ``(N, L, V)``.
        mask: ``(N, L)``, 1 on what was hidden.
        normalize: bring each token of the target to mean 0 and variance 1 first. A token of one colour has hardly any
            variance, and its target is then its rounding errors: take False where backgrounds are plain.

    Returns:
        Scalar; 0 where nothing was hidden.

    Raises:
        ShapeError: shapes that differ.

    Example:
        >>> target = torch.tensor([[[2.0, 2.0], [9.0, 9.0]]])
        >>> masked_mse(torch.zeros(1, 2, 2), target, torch.tensor([[1.0, 0.0]]), normalize=False)
        tensor(4.)
    """
    check_ndim(3, pred=pred)
    check_shape(tuple(pred.shape), target=target)
    check_shape(tuple(pred.shape[:2]), mask=mask)
    with torch.autocast(pred.device.type, enabled=False):
        pred, target = as_float(pred), as_float(target)
        if normalize:
            mean, deviation = patch_statistics(target)
            target = (target - mean) / deviation
        error = (pred - target).square().mean(dim=2)  # (N, L)
        return (error * mask).sum() / mask.sum().clamp(min=1)


def slot_pool(visible: Tensor, ids_keep: Tensor, slots: int, length: int) -> tuple[Tensor, Tensor]:
    """The mean of the visible tokens of each slot of time.

    Args:
        visible: ``(N, n, D)``.
        ids_keep: ``(N, n)`` which of the L tokens each is; slots come one after the other.
        slots: S; divides ``length``.
        length: L, hidden tokens counted in.

    Returns:
        ``(N, S, D)``, zero for a slot without visible token, and ``(N, S)`` bool, False for such a slot.

    Raises:
        ShapeError: shapes that do not fit together, or slots that do not divide.

    Example:
        >>> slot_pool(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[0, 1]]), slots=2, length=4)
        (tensor([[[2.],
                 [0.]]]), tensor([[ True, False]]))
    """
    check_ndim(3, visible=visible)
    check_shape(tuple(visible.shape[:2]), ids_keep=ids_keep)
    if length % slots:
        raise ShapeError(f"length = {length}: expected a multiple of slots = {slots}")
    here = ids_keep[..., None] // (length // slots) == torch.arange(slots, device=ids_keep.device)  # (N, n, S)
    count = here.sum(dim=1)
    with torch.autocast(visible.device.type, enabled=False):
        visible = as_float(visible)
        total = torch.einsum("nks,nkd->nsd", here.to(visible), visible)
        return total / count.clamp(min=1)[..., None], count > 0
