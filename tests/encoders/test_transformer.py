"""The transformer that reads a memory."""

import pytest
import torch

from accord.encoders.transformer import CrossTransformer


def network(causal: bool, context: int = 12) -> CrossTransformer:
    torch.manual_seed(0)
    return CrossTransformer(16, 2, 4, context, causal=causal).eval()


@pytest.mark.parametrize("context", [48, 64])
def test_it_is_initialised_by_width_and_depth(context):
    block = CrossTransformer(64, 3, 4, context).cross[0]
    part = block.attention
    weights = [part.in_proj_weight] if context == 64 else [part.q_proj_weight, part.k_proj_weight, part.v_proj_weight]
    for weight in weights:
        assert weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert part.out_proj.weight.std().item() == pytest.approx(64**-0.5 * 6**-0.5, rel=0.05)
    assert block.mlp[3].weight.std().item() == pytest.approx(64**-0.5 * 6**-0.5, rel=0.05)


def test_a_causal_one_sees_no_later_token_and_a_free_one_does():
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 12)
    other = x.clone()
    other[:, 3] += torch.randn(16)
    for causal in (True, False):
        model = network(causal)
        change = (model(other, memory) - model(x, memory)).abs().amax(dim=(0, 2))
        assert (change[:3] < 1e-6).all() == causal
        assert (change[3:] > 1e-4).all()


def test_every_token_reads_the_memory_where_it_is_real():
    model, x, memory = network(True), torch.randn(2, 5, 16), torch.randn(2, 7, 12)
    real = torch.arange(7)[None] < torch.tensor([7, 4])[:, None]
    before = model(x, memory, memory_mask=real)
    hidden = memory.clone()
    hidden[1, 5] += torch.randn(12)
    torch.testing.assert_close(model(x, hidden, memory_mask=real), before)
    hidden[1, 2] += torch.randn(12)
    change = (model(x, hidden, memory_mask=real) - before).abs().amax(dim=2)
    assert (change[1] > 1e-4).all()
    assert (change[0] < 1e-6).all()


def test_padding_is_not_attended_to():
    model, x, memory = network(False), torch.randn(2, 5, 16), torch.randn(2, 7, 12)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    other = x.clone()
    other[1, 3:] += torch.randn(2, 16)
    torch.testing.assert_close(model(other, memory, mask)[1, :3], model(x, memory, mask)[1, :3])


def test_attention_and_memory_both_learn():
    model, x, memory = network(True), torch.randn(2, 5, 16), torch.randn(2, 7, 12, requires_grad=True)
    model.train()(x, memory).square().sum().backward()
    assert memory.grad.abs().sum() > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
