"""Similarity by graph reasoning: written out for one pair, padding, blocks; and pooling by self-attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.encoders.heads import GraphReasoning, SelfAttentionPool, graph_reasoning
from accord.errors import ShapeError


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def one_pair(head: GraphReasoning, regions: Tensor, image: Tensor, words: Tensor, text: Tensor) -> Tensor:
    """The similarity of one picture with one caption, as the paper writes it."""
    affinity = F.normalize(F.leaky_relu(regions @ words.T, 0.1), dim=1)  # (R, L)
    found = F.normalize((9 * affinity).softmax(dim=0).T @ regions, dim=1)  # (L, D)
    local = F.normalize(head.local((found - words) ** 2), dim=1)
    overall = F.normalize(head.overall((image - text) ** 2), dim=0)
    nodes = torch.cat([overall[None], local])
    for one in head.rounds:
        edges = (one.query(nodes) @ one.key(nodes).T).softmax(dim=1)
        nodes = one.out(edges @ nodes).relu()
    return head.readout(nodes[0]).sigmoid()[0]


def test_every_pair_has_the_similarity_that_the_paper_writes() -> None:
    head = GraphReasoning(6, sim_dim=5).double()
    regions, image, words, text = unit(3, 4, 6), unit(3, 6), unit(2, 7, 6), unit(2, 6)
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    found = head(regions, image, words, text, mask)
    for a in range(3):
        for b in range(2):
            want = one_pair(head, regions[a], image[a], words[b, mask[b]], text[b])
            torch.testing.assert_close(found[a, b], want)


def test_padding_and_what_it_holds_change_nothing() -> None:
    head = GraphReasoning(6, sim_dim=5).double()
    regions, image, words, text = unit(3, 4, 6), unit(3, 6), unit(2, 5, 6), unit(2, 6)
    padded = torch.cat([words, 7 * unit(2, 4, 6)], dim=1)
    mask = torch.arange(9).expand(2, 9) < 5
    torch.testing.assert_close(head(regions, image, padded, text, mask), head(regions, image, words, text))


def test_blocks_of_captions_have_the_values_and_gradients_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    head = GraphReasoning(6, sim_dim=5).double()
    regions, image, words, text = (x.requires_grad_() for x in (unit(3, 4, 6), unit(3, 6), unit(5, 7, 6), unit(5, 6)))
    inputs = (regions, image, words, text, *head.parameters())
    whole = head(regions, image, words, text)
    gradients = torch.autograd.grad(whole.square().sum(), inputs)
    monkeypatch.setattr(graph_reasoning, "CHUNK_ELEMENTS", 2 * 3 * 7 * (4 + 6))
    held = []
    block = GraphReasoning._block
    monkeypatch.setattr(GraphReasoning, "_block", lambda self, *x: held.append(len(x[2])) or block(self, *x))
    blocks = head(regions, image, words, text)
    torch.testing.assert_close(blocks, whole)
    torch.testing.assert_close(torch.autograd.grad(blocks.square().sum(), inputs), gradients)
    assert held[:3] == [2, 2, 1]
    assert len(held) == 6  # each is computed again


def test_pooled_regions_have_batch_norm_over_the_regions_and_words_none() -> None:
    regions, words = SelfAttentionPool(6, positions=4), SelfAttentionPool(6)
    assert regions.token_norm.num_features == 4
    assert regions.mean_norm.num_features == 6
    assert [type(part).__name__ for part in words.modules() if "Norm" in type(part).__name__] == []
    torch.testing.assert_close(regions(torch.randn(3, 4, 6)).norm(dim=1), torch.ones(3))


def test_pooling_sees_real_words_alone() -> None:
    pool = SelfAttentionPool(6).double().eval()
    words = unit(2, 5, 6)
    padded, mask = torch.cat([words, 9 * unit(2, 3, 6)], dim=1), torch.arange(8).expand(2, 8) < 5
    torch.testing.assert_close(pool(padded, mask), pool(words))
    assert pool(padded, torch.zeros(2, 8, dtype=torch.bool)).isfinite().all()


def test_tokens_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError):
        GraphReasoning(6)(unit(3, 4, 5), unit(3, 5), unit(2, 7, 5), unit(2, 5))
