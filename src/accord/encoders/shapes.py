"""One checker for the shapes that encoders are fed, so that every encoder complains in the same words."""

from __future__ import annotations

from torch import Tensor

from accord.errors import ShapeError


def check_shape(name: str, x: Tensor, *expected: int | str) -> None:
    """Compare a shape with what is expected; a letter stands for any size.

    Args:
        name: what the message calls the tensor.
        x: the tensor.
        expected: one entry per axis: an int for a fixed size, a letter such as ``"B"`` for any.

    Raises:
        ShapeError: the number of axes or a fixed size differs.

    Example:
        >>> import torch
        >>> check_shape("image", torch.zeros(2, 3, 8, 8), "B", 3, "H", "W")
        >>> check_shape("image", torch.zeros(2, 1, 8, 8), "B", 3, "H", "W")
        Traceback (most recent call last):
        accord.errors.ShapeError: image has shape (2, 1, 8, 8): expected (B, 3, H, W)
    """
    fits = isinstance(x, Tensor) and x.ndim == len(expected)
    if not fits or any(isinstance(e, int) and e != n for e, n in zip(expected, x.shape, strict=True)):
        came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"type {type(x).__name__}"
        raise ShapeError(f"{name} has {came}: expected ({', '.join(str(e) for e in expected)})")


def check_mask(name: str, mask: Tensor | None, *expected: int) -> None:
    """Check a mask against the positions it covers.

    Raises:
        ShapeError: the mask is there and has another shape, or is not bool.

    Example:
        >>> import torch
        >>> check_mask("text_mask", torch.ones(2, 5), 2, 5)
        Traceback (most recent call last):
        accord.errors.ShapeError: text_mask has dtype torch.float32: expected bool, True where real
    """
    if mask is None:
        return
    check_shape(name, mask, *expected)
    if str(mask.dtype) != "torch.bool":
        raise ShapeError(f"{name} has dtype {mask.dtype}: expected bool, True where real")
