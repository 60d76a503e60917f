"""Two gloo processes against one, and against the gradients that local and global losses ought to give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord import functional as AF
from accord.functional.distributed import gather_features, rank, world_size
from accord.state import FeatureQueue, PrototypeBank
from two_processes import run_two_processes


def features(seed: int) -> Tensor:
    return F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


IDS = torch.tensor([3, 1, 3, 2, 1, 4])
LABELS = torch.tensor([0, 1, 0, -1, 1, 1])


def mine(x: Tensor, process: int) -> Tensor:
    return x.chunk(2)[process]


def own_gradients(loss_of: Any, process: int, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Loss of this process and the gradients of its own rows."""
    image = mine(given["image"], process).clone().requires_grad_()
    text = mine(given["text"], process).clone().requires_grad_()
    scale = given["logit_scale"].clone().requires_grad_()
    loss = loss_of(image, text, scale)
    loss.backward()
    return {"loss": loss.detach(), "image": image.grad, "text": text.grad, "scale": scale.grad}


def query_side_only(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """The combination that ``ClipLoss`` refuses: keys without gradient."""
    keys = [gather_features(x.detach(), with_grad=False) for x in (image, text)]
    index = torch.arange(len(image)) + rank() * len(image)
    return (AF.indexed_nce(image, keys[1], index, scale) + AF.indexed_nce(text, keys[0], index, scale)) / 2


def everything(process: int, given: dict[str, Tensor]) -> dict[str, Any]:
    """All that is compared, in one start of two processes."""
    soft = {"image": features(0), "text": features(1), "logit_scale": torch.tensor(8.0).double()}
    queue = FeatureQueue(8, 4, generator=torch.Generator().manual_seed(0)).double()
    bank = PrototypeBank(2, 4, momentum=0.5).double()
    bank.init_from(mine(features(3), process)[: 2 + process], mine(LABELS, process)[: 2 + process])
    started = bank.prototypes
    for seed in (0, 1):
        queue.enqueue(mine(features(seed), process), mine(IDS, process))
        bank.update(mine(features(seed), process), mine(LABELS, process))
    return {
        "world": world_size(),
        "FF": own_gradients(AF.ClipLoss(False, False), process, given),
        "FT": own_gradients(AF.ClipLoss(False, True), process, given),
        "TT": own_gradients(AF.ClipLoss(), process, given),
        "TF": own_gradients(query_side_only, process, given),
        **{
            choice: own_gradients(lambda *x, c=choice: AF.ClipLoss()(*x, mine(IDS, process), c), process, soft)
            for choice in ("positives", "ignored", "dropped")
        },
        "queue": [queue.features, queue.ids, queue.pointer],
        "bank": [started, bank.prototypes],
    }


@pytest.fixture(scope="module")
def ranks(golden) -> list[dict[str, Any]]:
    return run_two_processes(everything, golden("clip"))


def joined(ranks: list[dict[str, Any]], mode: str, name: str) -> Tensor:
    parts = [result[mode][name] for result in ranks]
    return torch.cat(parts) if parts[0].ndim else torch.stack(parts)


def same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("mode", "case"), [("FF", "local0_gradgather0"), ("TF", "local1_gradgather0")])
def test_both_processes_give_the_golden_losses_and_gradients(golden, ranks, mode: str, case: str) -> None:
    given = golden("clip")
    same(joined(ranks, mode, "loss"), given[f"{case}_loss_per_rank"])
    same(joined(ranks, mode, "image"), given[f"{case}_grad_image"])
    same(joined(ranks, mode, "text"), given[f"{case}_grad_text"])
    same(joined(ranks, mode, "scale"), given[f"{case}_grad_scale_per_rank"])


@pytest.mark.parametrize(("mode", "factor"), [("FF", 1), ("FT", 2), ("TT", 2)])
def test_each_process_gets_the_multiple_of_the_single_process_gradient_in_the_table(
    golden, ranks, mode: str, factor: int
) -> None:
    given = golden("clip")
    for name in ("image", "text"):
        same(joined(ranks, mode, name), factor * given[f"grad_{name}"])
    same(joined(ranks, mode, "scale").mean(), given["grad_logit_scale"])
    same(joined(ranks, mode, "loss").mean(), given["loss"])


def test_gradients_of_keys_are_missing_without_the_differentiable_gather(golden, ranks) -> None:
    assert not torch.allclose(2 * golden("clip")["grad_image"], joined(ranks, "TF", "image"), rtol=1e-2)


@pytest.mark.parametrize("choice", ["positives", "ignored", "dropped"])
def test_duplicates_across_processes_count_as_in_a_single_process(ranks, choice: str) -> None:
    image, text = features(0).requires_grad_(), features(1).requires_grad_()
    loss = AF.info_nce(image, text, torch.tensor(8.0).double(), ids=IDS, duplicates=choice)
    loss.backward()
    torch.testing.assert_close(joined(ranks, choice, "loss").mean(), loss.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(joined(ranks, choice, "image"), 2 * image.grad, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(joined(ranks, choice, "text"), 2 * text.grad, rtol=1e-6, atol=1e-6)


def test_ids_are_the_targets_that_share_the_mass(ranks) -> None:
    loss = AF.info_nce(features(0), features(1), 8.0, targets=AF.targets_from_ids(IDS))
    torch.testing.assert_close(joined(ranks, "positives", "loss").mean(), loss, rtol=1e-6, atol=1e-6)


def test_both_processes_hold_the_queue_of_one_process(ranks) -> None:
    queue = FeatureQueue(8, 4, generator=torch.Generator().manual_seed(0)).double()
    for seed in (0, 1):
        queue.enqueue(features(seed), IDS)
    for result in ranks:
        for got, want in zip(result["queue"], (queue.features, queue.ids, queue.pointer), strict=True):
            torch.testing.assert_close(got, want)


def test_both_processes_hold_the_prototypes_of_one_process(ranks) -> None:
    bank = PrototypeBank(2, 4, momentum=0.5).double()
    rows = torch.tensor([0, 1, 3, 4, 5])  # rank 0 gave two rows to the start, rank 1 three
    bank.init_from(features(3)[rows], LABELS[rows])
    started = bank.prototypes
    for seed in (0, 1):
        bank.update(features(seed), LABELS)
    for result in ranks:
        same(result["bank"][0], started)
        same(result["bank"][1], bank.prototypes)


def fails_on_rank_one(process: int) -> int:
    if process == 1:
        raise ValueError("this is the reason")
    return process


def test_a_failing_process_shows_its_traceback() -> None:
    with pytest.raises(AssertionError, match=r"rank 1: [\s\S]*this is the reason"):
        run_two_processes(fails_on_rank_one)
