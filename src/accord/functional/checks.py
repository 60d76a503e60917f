"""One-line validators, so that the mathematics can check its input without hiding behind the checks.

Every message names the argument, what came and what was expected.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from accord.errors import ShapeError


def check_ndim(ndim: int, **tensors: Tensor) -> None:
    """Every tensor has ``ndim`` dimensions.

    Raises:
        ShapeError: one has another number of dimensions.

    Example:
        >>> check_ndim(2, image=torch.zeros(3))
        Traceback (most recent call last):
        accord.errors.ShapeError: image has shape (3,): expected 2 dimensions
    """
    for name, tensor in tensors.items():
        if tensor.ndim != ndim:
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}: expected {ndim} dimension{'s' * (ndim != 1)}")


def check_shape(shape: tuple[int | None, ...], **tensors: Tensor) -> None:
    """Every tensor has ``shape``, where None stands for any size.

    Raises:
        ShapeError: one differs.

    Example:
        >>> check_shape((4, None), text=torch.zeros(3, 2))
        Traceback (most recent call last):
        accord.errors.ShapeError: text has shape (3, 2): expected (4, any)
    """
    for name, tensor in tensors.items():
        fits = tensor.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            wanted += "," * (len(shape) == 1)
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}: expected ({wanted})")


def check_trailing_shape(shape: tuple[int | None, ...], **tensors: Tensor) -> None:
    """The last dimensions of every tensor are ``shape``, where None stands for any size.

    Raises:
        ShapeError: one differs.

    Example:
        >>> check_trailing_shape((4, 2), targets=torch.zeros(3, 2, 2))
        Traceback (most recent call last):
        accord.errors.ShapeError: targets has shape (3, 2, 2): expected (..., 4, 2)
    """
    for name, tensor in tensors.items():
        last = tensor.shape[-len(shape) :]
        if len(last) < len(shape) or any(want not in (None, got) for want, got in zip(shape, last, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}: expected (..., {wanted})")


def check_same_shape(**tensors: Tensor) -> None:
    """Every tensor is a matrix of the shape of the first.

    Raises:
        ShapeError: one is not a matrix, or differs from the first.

    Example:
        >>> check_same_shape(image=torch.zeros(3, 2), text=torch.zeros(2, 2))
        Traceback (most recent call last):
        accord.errors.ShapeError: text has shape (2, 2): expected (3, 2), the shape of image
    """
    check_ndim(2, **tensors)
    first, *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first[1].shape:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}: expected {tuple(first[1].shape)}, the shape of {first[0]}"
            )


def check_same_width(**tensors: Tensor) -> None:
    """Every tensor is a matrix with as many columns as the first, and of double precision where the first is.

    Raises:
        ShapeError: one is not a matrix, or is wider or narrower than the first.
        ValueError: one is float64, another is not.

    Example:
        >>> check_same_width(query=torch.zeros(3, 2), queue=torch.zeros(5, 4))
        Traceback (most recent call last):
        accord.errors.ShapeError: queue has shape (5, 4): expected 2 columns, as query has
        >>> check_same_width(z=torch.zeros(3, 2).double(), prototypes=torch.zeros(5, 2))
        Traceback (most recent call last):
        ValueError: prototypes is float32: expected float64, as z is
    """
    check_ndim(2, **tensors)
    first, *others = tensors.items()
    for name, tensor in others:
        if tensor.shape[1] != first[1].shape[1]:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}: expected {first[1].shape[1]} columns, as {first[0]} has"
            )
        if (tensor.dtype == torch.float64) != (first[1].dtype == torch.float64):
            own, wanted = (str(x.dtype).removeprefix("torch.") for x in (tensor, first[1]))
            raise ValueError(f"{name} is {own}: expected {wanted}, as {first[0]} is")


def check_positive(**values: float | Tensor) -> None:
    """Every number is finite and greater than zero; every tensor is a scalar.

    The value of a tensor is not read, which would stall an accelerator.

    Raises:
        ValueError: a number is not finite or not positive.
        ShapeError: a tensor has more than one element.

    Example:
        >>> check_positive(temperature=0.0)
        Traceback (most recent call last):
        ValueError: temperature = 0.0: expected a finite number > 0
    """
    for name, value in values.items():
        if isinstance(value, Tensor):
            if value.numel() != 1:
                raise ShapeError(f"{name} has shape {tuple(value.shape)}: expected a scalar")
        elif not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value}: expected a finite number > 0")


def check_share(**values: float) -> None:
    """Every number lies in [0, 1].

    Raises:
        ValueError: one does not.

    Example:
        >>> check_share(momentum=1.5)
        Traceback (most recent call last):
        ValueError: momentum = 1.5: expected a number in [0, 1]
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} = {value}: expected a number in [0, 1]")


def check_range(low: float, high: float, **values: float) -> None:
    """Every number lies in [low, high]; bounds that are integers are those of integers.

    Raises:
        ValueError: one does not.

    Example:
        >>> check_range(1, 3, k=4)
        Traceback (most recent call last):
        ValueError: k = 4: expected an integer in [1, 3]
        >>> check_range(0.0, 1.5, margin=2)
        Traceback (most recent call last):
        ValueError: margin = 2: expected a number in [0.0, 1.5]
    """
    kind = "an integer" if isinstance(low, int) and isinstance(high, int) else "a number"
    for name, value in values.items():
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: expected {kind} in [{low}, {high}]")


def check_entries(limit: int, **indices: Tensor) -> None:
    """No entry of a tensor of integers is ``limit`` or more; negative ones stand for none.

    Looked at on a CPU alone: another device would have to be waited for, and refuses such an index itself.

    Raises:
        ValueError: one is.

    Example:
        >>> check_entries(3, **{"entry of y": torch.tensor([0, 3])})
        Traceback (most recent call last):
        ValueError: largest entry of y = 3: expected an integer in [-1, 2]
    """
    for name, index in indices.items():
        if index.device.type == "cpu" and index.numel():
            check_range(-1, limit - 1, **{f"largest {name}": max(-1, int(index.max()))})


def check_choice(allowed: tuple[str, ...], **values: str) -> None:
    """Every word is one of those allowed.

    Raises:
        ValueError: one is not.

    Example:
        >>> check_choice(("mean", "sum"), reduction="max")
        Traceback (most recent call last):
        ValueError: reduction = 'max': expected one of mean, sum
    """
    for name, value in values.items():
        if value not in allowed:
            raise ValueError(f"{name} = {value!r}: expected one of {', '.join(allowed)}")


def check_finite(**tensors: Tensor) -> None:
    """No row of any tensor holds NaN or infinity; it reads the values, so keep it out of training steps.

    Raises:
        ValueError: one does.

    Example:
        >>> check_finite(x=torch.tensor([[0.0], [float("nan")]]))
        Traceback (most recent call last):
        ValueError: x has 1 rows with NaN or infinity, the first is 1: expected finite rows
    """
    for name, tensor in tensors.items():
        bad = ~tensor.isfinite().flatten(1).all(dim=1) if tensor.ndim > 1 else ~tensor.isfinite()
        if bad.any():
            raise ValueError(
                f"{name} has {int(bad.sum())} rows with NaN or infinity, the first is {int(bad.nonzero()[0])}: "
                "expected finite rows"
            )


def as_float(x: Tensor) -> Tensor:
    """``x`` itself when it has at least single precision, else its float32 copy.

    Similarities at scale 100 reach ±100, where bfloat16 has steps of 0.5: softmax needs float32.

    Example:
        >>> as_float(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def logit_scale_of(temperature: Tensor | float) -> Tensor | float:
    """``1 / temperature``, in float32 at least: the inverse of 0.07 is 14.25 in bfloat16, not 14.29.

    Example:
        >>> logit_scale_of(0.5)
        2.0
    """
    return 1 / (as_float(temperature) if isinstance(temperature, Tensor) else temperature)
