from __future__ import annotations

import pytest
import torch

from accord.encoders import build_encoder
from accord.encoders.residual import residual_blocks, residual_dropout

TEXTS = ["a red ball", "a blue cup"]


@pytest.fixture(params=["tiny_text", "tiny_text of one block", "transformers"])
def text(request: pytest.FixtureRequest):
    torch.manual_seed(0)
    if request.param != "transformers":
        depth = 1 if request.param.endswith("block") else 3
        return build_encoder("text", {"name": "tiny_text", "width": 16, "depth": depth, "heads": 2}, texts=TEXTS)
    tokenizer = build_encoder("text", {"name": "tiny_text"}, texts=TEXTS).spec()["tokenizer"]
    sizes = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    noiseless = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = {"model_type": "bert", "intermediate_size": 32, **sizes, **noiseless}
    spec = {"name": "small", "pool": "mean", "length": 77, "config": config, "tokenizer": tokenizer}
    return build_encoder("text", spec, weights=False)


def test_what_enters_each_block_loses_its_share(text) -> None:
    seen: list[torch.Tensor] = []
    blocks = residual_blocks(text)
    ids, mask = text.input.tokenizer(TEXTS)
    with residual_dropout(text, 0.5):
        hooks = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for block in blocks]
        text(ids, mask)
    assert len(seen) == len(blocks) == text.spec().get("depth", 2)
    for tokens in seen:
        assert 0.3 < (tokens == 0).float().mean() < 0.7
    for hook in hooks:
        hook.remove()


def test_afterwards_and_at_evaluation_nothing_is_dropped(text) -> None:
    ids, mask = text.input.tokenizer(TEXTS)
    plain = text(ids, mask).pooled
    with residual_dropout(text, 0.5):
        assert not torch.allclose(text(ids, mask).pooled, plain)
        torch.testing.assert_close(text.eval()(ids, mask).pooled, plain)
    torch.testing.assert_close(text.train()(ids, mask).pooled, plain)


def test_the_hooks_go_when_the_pass_fails(text) -> None:
    with pytest.raises(RuntimeError, match="stop"), residual_dropout(text, 0.5):
        raise RuntimeError("stop")
    assert not any(block._forward_pre_hooks for block in residual_blocks(text))


def test_frozen_blocks_drop_nothing() -> None:
    spec = {"name": "tiny_text", "width": 16, "depth": 2, "heads": 2}
    text = build_encoder("text", spec, texts=TEXTS, freeze=1)
    seen: list[torch.Tensor] = []
    with residual_dropout(text, 0.5):
        for block in residual_blocks(text):
            block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        text(*text.input.tokenizer(TEXTS))
    assert (seen[0] != 0).all()
    assert (seen[1] == 0).any()


def test_a_share_beyond_one_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"p = 1\.5"), residual_dropout(text, 1.5):
        pass
