import pytest
import torch
from torch import nn

from accord.functional.distributed import gather_features
from accord.training.batch_norm import share_batch_norm
from two_processes import run_two_processes


def norm(kind):
    from timm.layers import BatchNormAct2d

    torch.manual_seed(0)
    made = {
        "1d": lambda: nn.BatchNorm1d(3),
        "2d": lambda: nn.BatchNorm2d(3, momentum=None),
        "plain": lambda: nn.BatchNorm1d(3, affine=False),
        "without statistics": lambda: nn.BatchNorm1d(3, track_running_stats=False).eval(),
        "timm": lambda: BatchNormAct2d(3),
    }[kind]()
    for parameter in made.parameters():
        nn.init.uniform_(parameter)
    return made.double()


def rows(kind):
    shape = (6, 3, 2, 2) if kind in ("2d", "timm") else (6, 3)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()


def outcome(module, x):
    """Two batches through the norm: what comes out, the gradients, and what it remembers."""
    x = x.clone().requires_grad_()
    weight = torch.linspace(1, 2, 36).double()
    module(x.detach() * 2)
    y = module(x)
    every = gather_features(y, with_grad=True)
    (every.flatten() * weight.repeat(2)[: every.numel()]).square().sum().backward()
    learnt = {f"grad {name}": parameter.grad for name, parameter in module.named_parameters()}
    return {"y": y.detach(), "grad": x.grad, **learnt, **dict(module.named_buffers())}


def half(rank, kind):
    module = norm(kind)
    share_batch_norm(module)
    return outcome(module, rows(kind).chunk(2)[rank])


@pytest.mark.parametrize("kind", ["1d", "2d", "plain", "without statistics", "timm"])
def test_two_processes_normalise_as_one_with_all_rows(kind):
    expected = outcome(norm(kind), rows(kind))
    first, second = run_two_processes(half, kind)
    for name in ("y", "grad"):
        both = torch.cat([first[name], second[name]])
        torch.testing.assert_close(both / (2 if name == "grad" else 1), expected[name])
    for name, value in expected.items():
        if name.startswith("grad "):
            torch.testing.assert_close((first[name] + second[name]) / 2, value)
        elif name not in ("y", "grad"):
            torch.testing.assert_close(first[name], value)


def test_one_process_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x = torch.randn(5, 2)
    before, names = module(x), list(module.state_dict())
    share_batch_norm(module)
    share_batch_norm(module)
    assert torch.equal(module(x), before)
    assert list(module.state_dict()) == names
    assert type(module[1]).__mro__[2] is nn.BatchNorm1d
