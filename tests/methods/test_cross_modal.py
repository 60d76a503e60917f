from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.encoders.base import Encoder
from accord.methods.base import DataInfo, Step
from accord.methods.image_text.cross_modal import CrossModalBarlow, ImageContrast, swapped_views
from accord.methods.image_text.improved_vlp_baselines import ImprovedVLP
from two_processes import run_two_processes


class Given(Encoder):
    """Stands for an encoder whose features are given."""

    modality = "any"
    dim = 6


def features() -> dict[str, Tensor]:
    """What towers would give for the four rows of a batch: the weak embeddings, and features of three views."""
    torch.manual_seed(0)
    made = {f"{side} {place}": torch.randn(4, 6) for side in ("image", "text") for place in range(3)}
    return {**made, **{side: F.normalize(made[f"{side} 0"], dim=1) for side in ("image", "text")}}


def gradients(rows: slice) -> dict[str, Tensor]:
    """Of the loss of these rows with respect to the projections and to the features."""
    torch.manual_seed(1)
    settings = {"objective": "swalip", "dim": 5, "separate_heads": False}
    method = ImprovedVLP(settings, {"image": Given(), "text": Given()}, DataInfo())
    leaves = {name: value[rows].clone().requires_grad_() for name, value in features().items()}
    method.objective(leaves, {}, Step())["total"].backward()
    found = {name: parameter.grad for name, parameter in method.named_parameters()}
    return {name: grad for name, grad in found.items() if grad is not None} | {
        f"feature {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None
    }


def of_one_process(rank: int) -> dict[str, Tensor]:
    return gradients(slice(2 * rank, 2 * rank + 2))


def test_two_processes_have_the_gradient_of_one_with_the_whole_batch() -> None:
    whole = gradients(slice(0, 4))
    shares = run_two_processes(of_one_process)
    for name, expected in whole.items():
        if name.startswith("feature"):  # of its own rows; the processes' losses are averaged, not summed
            found = torch.cat([share[name] for share in shares]) / 2
        else:
            found = (shares[0][name] + shares[1][name]) / 2
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4, msg=name)


def test_swapped_views_do_not_depend_on_the_order_of_rows() -> None:
    views = [F.normalize(features()[f"image {place}"], dim=1) for place in (1, 2)]
    others = [F.normalize(features()[f"text {place}"], dim=1) for place in (1, 2)]
    order = torch.tensor([2, 0, 3, 1])
    turned = swapped_views([view[order] for view in views], [view[order] for view in others], torch.tensor(10.0))
    torch.testing.assert_close(turned, swapped_views(views, others, torch.tensor(10.0)))


def test_the_contrast_of_pictures_leaves_weak_views_and_texts_alone() -> None:
    contrast = ImageContrast({"image": 6}, hidden=8, dim=5)
    views = [torch.randn(4, 6, requires_grad=True) for _ in range(4)]
    contrast({"image": views}).backward()
    assert views[0].grad is None
    assert all(view.grad is not None for view in views[1:])


@pytest.mark.parametrize("rows", [3, 40])
def test_barlip_sees_features_that_agree_as_better_than_features_that_do_not(rows: int) -> None:
    torch.manual_seed(0)
    barlow = CrossModalBarlow({"image": 6, "text": 6}, hidden=16, dim=8)
    barlow.heads["text"].load_state_dict(barlow.heads["image"].state_dict())
    x = torch.randn(rows, 6)
    assert barlow({"image": [x], "text": [x]}) < barlow({"image": [x], "text": [x.flip(0)]})
