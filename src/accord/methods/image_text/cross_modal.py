"""Losses of self-supervised learning across modalities, with heads of their own (Fini et al. 2023, TMLR, section 3).

Each takes the encoders' features of both modalities as lists of views, the weak one first, and is averaged over the
weak pair and all n² pairs of strong views. They run over the whole batch, since batch norm stands in their heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.encoders.heads import MLPHead
from accord.functional import (
    barlow_cross,
    contrastive_logits,
    gather_features,
    negative_cosine,
    pairwise_nt_xent,
    swap_assignment_loss,
    swapped_prediction_loss,
)
from accord.state import MomentumEncoder, Prototypes

ViewFeatures = Mapping[str, Sequence[Tensor]]  # modality -> features (B, D) of each view


def view_pairs(views: int) -> list[tuple[int, int]]:
    """The weak pair, then every strong view of an image with every strong view of a text.

    >>> view_pairs(3)
    [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    """
    return [(0, 0), *((image, text) for image in range(1, views) for text in range(1, views))]


class CrossModalLoss(nn.Module):
    """A loss of several views, with heads of its own."""

    def forward(self, views: ViewFeatures, step: int = 0) -> Tensor:
        """The loss of the views at an optimiser step, a scalar."""
        raise NotImplementedError

    def update(self) -> None:
        """What has to be done after an optimiser step."""


class CrossModalBarlow(CrossModalLoss):
    """BarLIP: the features of a picture and of its text agree one by one and repeat nothing.

    Args:
        widths: modality -> width of its encoder's features.
        hidden: width of the hidden layers.
        dim: number of features that are compared; the cheaper of dim² and rows² is held.
        lam: weight of the redundancy.
        scale: factor on everything.

    Example:
        >>> views = {"image": [torch.randn(4, 8)], "text": [torch.randn(4, 6)]}
        >>> CrossModalBarlow({"image": 8, "text": 6}, hidden=16, dim=32)(views).shape
        torch.Size([])
    """

    def __init__(
        self, widths: Mapping[str, int], hidden: int = 3000, dim: int = 8192, lam: float = 5e-3, scale: float = 0.025
    ) -> None:
        super().__init__()
        self.lam, self.scale = lam, scale
        self.heads = _heads(widths, lambda width: MLPHead(width, dim, hidden, layers=2, norm_last="affine"))

    def forward(self, views: ViewFeatures, step: int = 0) -> Tensor:
        """The mean over the pairs of views, a scalar."""
        image, text = _through(self.heads, views)
        pairs = view_pairs(len(image))
        return _mean(barlow_cross(image[a], text[b], self.lam, self.scale) for a, b in pairs)


class CrossModalRegression(CrossModalLoss):
    """SiamLIP and BYOLIP: from a picture predict the projection of its text, and the other way round.

    The target carries no gradient. It comes from the heads themselves (SimSiam), or with ``momentum`` from their slow
    copy over features of slow encoders (BYOL).

    Args:
        widths: modality -> width of its encoder's features.
        hidden: width of the hidden layers.
        dim: width of projections and predictions.
        momentum: of the slow heads; None for SiamLIP.

    Example:
        >>> views = {"image": [torch.randn(4, 8)], "text": [torch.randn(4, 6)]}
        >>> CrossModalRegression({"image": 8, "text": 6}, hidden=16, dim=4)(views).shape
        torch.Size([])
    """

    def __init__(
        self, widths: Mapping[str, int], hidden: int = 2048, dim: int = 128, momentum: float | None = None
    ) -> None:
        super().__init__()
        self.heads = _heads(widths, lambda width: MLPHead(width, dim, hidden, bias=False, norm_last="plain"))
        self.predictors = _heads(widths, lambda _: MLPHead(dim, dim, hidden, bias=False, last_bias=True))
        self.slow = None if momentum is None else MomentumEncoder(self.heads, momentum)

    def forward(self, views: ViewFeatures, step: int = 0) -> Tensor:
        """The mean over the pairs of views, a scalar; BYOLIP wants ``slow image`` and ``slow text`` among them."""
        image, text = _through(self.heads, views)
        predicted = {"image": image, "text": text}
        if self.slow is not None:
            with torch.no_grad():
                image, text = _through(self.slow.module, {name: views[f"slow {name}"] for name in predicted})
        from_image, from_text = _through(self.predictors, predicted)
        return _mean(
            (negative_cosine(from_image[a], text[b]) + negative_cosine(from_text[b], image[a])) / 2
            for a, b in view_pairs(len(image))
        )

    def update(self) -> None:
        """Move the slow heads after an optimiser step."""
        if self.slow is not None:
            self.slow.update(self.heads)


class CrossModalSwap(CrossModalLoss):
    """SwALIP with prototypes: a picture predicts the balanced assignment of its text, and the other way round.

    Args:
        widths: modality -> width of its encoder's features.
        prototypes: number of prototypes, which the modalities share.
        hidden: width of the hidden layers.
        dim: width of a prototype.
        temperature: of the predictions.
        eps: entropic regularisation of the assignments.
        n_iters: Sinkhorn rounds.
        freeze_steps: first steps in which the prototypes stay as they are.

    Example:
        >>> views = {"image": [torch.randn(4, 8)], "text": [torch.randn(4, 6)]}
        >>> CrossModalSwap({"image": 8, "text": 6}, prototypes=5, hidden=16, dim=4)(views).shape
        torch.Size([])
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        prototypes: int = 3000,
        hidden: int = 2048,
        dim: int = 128,
        temperature: float = 0.1,
        eps: float = 0.05,
        n_iters: int = 3,
        freeze_steps: int = 100,
    ) -> None:
        super().__init__()
        self.temperature, self.eps, self.n_iters, self.freeze_steps = temperature, eps, n_iters, freeze_steps
        self.heads = _heads(widths, lambda width: MLPHead(width, dim, hidden))
        self.prototypes = Prototypes(dim, prototypes)

    def forward(self, views: ViewFeatures, step: int = 0) -> Tensor:
        """The mean over the pairs of views, a scalar."""
        self.prototypes.requires_grad_(step >= self.freeze_steps)  # without a gradient the optimiser leaves them alone
        image, text = (
            [self.prototypes(F.normalize(z.float(), dim=1)) for z in column] for column in _through(self.heads, views)
        )
        return _mean(
            swapped_prediction_loss(
                [image[a], text[b]], temperature=self.temperature, eps=self.eps, n_iters=self.n_iters
            )
            for a, b in view_pairs(len(image))
        )

    def update(self) -> None:
        """Bring the prototypes back to unit length after an optimiser step."""
        self.prototypes.normalize_()


class ImageContrast(CrossModalLoss):
    """The image side of SLIP: every strong view of a picture must find the others (Mu et al. 2022, ECCV).

    Args:
        widths: modality -> width of its encoder's features; the text's is not used.
        hidden: width of the hidden layers.
        dim: width of the projections.
        temperature: of the softmax.

    Example:
        >>> views = {"image": [torch.randn(4, 8) for _ in range(3)]}
        >>> ImageContrast({"image": 8}, hidden=16, dim=4)(views).shape
        torch.Size([])
    """

    def __init__(self, widths: Mapping[str, int], hidden: int = 4096, dim: int = 256, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature
        self.head = MLPHead(widths["image"], dim, hidden, layers=2)

    def forward(self, views: ViewFeatures, step: int = 0) -> Tensor:
        """The mean over the pairs of the views after the first, a scalar."""
        strong = [gather_features(self.head(view).float(), with_grad=True) for view in views["image"][1:]]
        return pairwise_nt_xent(strong, self.temperature)


def swapped_views(
    images: Sequence[Tensor], texts: Sequence[Tensor], scale: Tensor, eps: float = 0.05, n_iters: int = 3
) -> Tensor:
    """SwALIP: the texts of the batch are the prototypes of its pictures, and the other way round.

    Args:
        images: n ≥ 2 strong views ``(B, D)``, unit norm, this process's rows.
        texts: likewise.
        scale: factor on the cosines, already exponentiated.
        eps: entropic regularisation of the assignments.
        n_iters: Sinkhorn rounds.

    Returns:
        :func:`~accord.functional.contrast.swap.swap_assignment_loss` against the rows of all processes.

    Example:
        >>> views = [F.normalize(torch.randn(4, 8), dim=1) for _ in range(2)]
        >>> swapped_views(views, views, torch.tensor(10.0)).shape
        torch.Size([])
    """

    def against(own: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        keys = [gather_features(other, with_grad=True) for other in others]
        return torch.stack([torch.stack([contrastive_logits(z, key, 1.0) for key in keys]) for z in own])

    return swap_assignment_loss(against(images, texts), scale, against(texts, images), eps, n_iters)


def _heads(widths: Mapping[str, int], build: Callable[[int], nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({modality: build(width) for modality, width in widths.items()})


def _through(heads: nn.Module, views: ViewFeatures) -> tuple[list[Tensor], list[Tensor]]:
    """Both modalities' views, each through its own head."""
    image, text = ([heads[modality](view) for view in views[modality]] for modality in ("image", "text"))  # type: ignore[index]
    return image, text


def _mean(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
