"""Merged tokens and the reader of interactions: reference values, and whatever padding there is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.encoders.heads import BanzhafHead, TokenAnswers, TokenLevels, TokenMerge, Tokens, TokenVotes
from accord.functional import dpc_knn


def test_the_reference_implementations_reader_and_its_gradient(golden) -> None:
    z = golden("hbi")
    names = {"query": "Q", "key": "K", "value": "V"}
    names |= {
        f"{own}.{part}": f"{other}.{part}"
        for own, other in (("first", "cnn1"), ("last", "cnn2"))
        for part in ("weight", "bias")
    }
    head = BanzhafHead(6).double()
    head.load_state_dict({own: z[f"bmod.{other}"] for own, other in names.items()})
    cosines = z["bmod_x"].double().requires_grad_()
    found = head(cosines)
    torch.testing.assert_close(found, z["bmod_y"])
    found.square().sum().backward()
    torch.testing.assert_close(cosines.grad, z["bmod_grad_x"])


def test_a_reader_does_not_see_padding_and_takes_a_map_of_any_size() -> None:
    torch.manual_seed(0)
    head, small = BanzhafHead(6), torch.randn(2, 4, 3)
    large, mask = F.pad(small, (0, 2, 0, 3)), F.pad(torch.ones(2, 4, 3, dtype=torch.bool), (0, 2, 0, 3))
    found = head(large, mask)
    torch.testing.assert_close(found[:, :4, :3], head(small))
    assert (found[~mask] == 0).all()
    assert head(torch.randn(1, 1, 1)).shape == (1, 1, 1)


def test_merged_tokens_are_weighted_means_that_read_all_tokens_again() -> None:
    torch.manual_seed(0)
    merge, x = TokenMerge(8, ratio=0.5, k=3, heads=2), torch.randn(1, 4, 8)
    found, mask, ids = merge(x)
    h = F.layer_norm(x + F.conv1d(x.mT, merge.conv.weight, padding=1).mT, (8,))[0]
    score = (h @ merge.score.weight.T)[:, 0]
    assert torch.equal(ids, dpc_knn(h[None], 2, k=3)[0])
    merged = torch.stack(
        [(score.exp()[of, None] * h[of]).sum(0) / score.exp()[of].sum() for of in (ids[0] == 0, ids[0] == 1)]
    )
    q, kv = merge.query(F.layer_norm(merged, (8,))), merge.key_value(F.layer_norm(h, (8,)))
    heads = []
    for part in (slice(0, 4), slice(4, 8)):  # keys come first, then values
        key, value = kv[:, :8][:, part], kv[:, 8:][:, part]
        heads.append((q[:, part] @ key.T / 2 + score).softmax(dim=1) @ value)
    expected = merged + merge.out(torch.cat(heads, dim=1))
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-4)
    assert mask.all()


def test_padding_changes_no_merged_token() -> None:
    torch.manual_seed(0)
    merge, x = TokenMerge(8, ratio=0.5, heads=2), torch.randn(2, 4, 8)
    mask = (torch.arange(7) < 4).expand(2, -1)
    found, held, ids = merge(torch.cat([x, torch.randn(2, 3, 8)], dim=1), mask)
    expected, _, own = merge(x)
    torch.testing.assert_close(found[:, :2], expected)
    assert torch.equal(ids[:, :4], own)
    assert held.tolist() == [[True, True, False, False]] * 2
    assert (found[:, 2:] == 0).all()


def test_twenty_four_words_become_six_and_then_three_and_no_level_of_several_has_one() -> None:
    torch.manual_seed(0)
    mask = torch.arange(24) < torch.tensor([24, 5, 1])[:, None]
    levels = TokenLevels(8, (0.25, 0.5), heads=2, fewest=2)(torch.randn(3, 24, 8), mask)
    assert [level.mask.sum(dim=1).tolist() for level in levels] == [[24, 5, 1], [6, 2, 1], [3, 2, 1]]
    for level in levels:
        torch.testing.assert_close(level.votes.sum(dim=1), torch.ones(3))
        assert (level.votes[~level.mask] == 0).all()
        torch.testing.assert_close(level.direction.norm(dim=1), torch.ones(3))


def test_every_part_receives_a_gradient_and_a_row_without_tokens_gives_finite_ones() -> None:
    torch.manual_seed(0)
    levels = TokenLevels(8, (0.5,), heads=2)
    mask = torch.tensor([[True] * 6, [False] * 6])
    found = levels(torch.randn(2, 6, 8), mask)
    sum((level.values.sin() * level.votes[..., None]).sum() for level in found).backward()
    for name, parameter in levels.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_votes_are_shares_by_score() -> None:
    votes = TokenVotes(4)(torch.randn(2, 3, 4), torch.tensor([[True, True, False]] * 2))
    assert (votes[:, 2] == 0).all()
    torch.testing.assert_close(votes.sum(dim=1), torch.ones(2))


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="divisor of dim = 8"):
        TokenMerge(8, ratio=0.5, heads=3)
    with pytest.raises(ValueError, match="ratio = 0"):
        TokenMerge(8, ratio=0)


def test_what_an_answer_hears_of_a_clip_hangs_on_the_question():
    torch.manual_seed(0)
    head = TokenAnswers(8, width=4, answers=3)

    def side() -> Tokens:
        return Tokens(torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool), torch.full((1, 3), 1 / 3))

    one, other, first, second = (side() for _ in range(4))
    gains = [head(question, second) - head(question, first) for question in (one, other)]
    assert not torch.allclose(*gains)


def test_tokens_without_votes_answer_nothing():
    torch.manual_seed(0)
    head, votes = TokenAnswers(8, width=4, answers=3), torch.tensor([[0.5, 0.5, 0.0]])
    values, mask = torch.randn(1, 3, 8), votes > 0
    question = Tokens(torch.randn(1, 3, 8), mask, votes)
    padded = values.masked_fill(~mask[..., None], 9.0)
    torch.testing.assert_close(head(question, Tokens(values, mask, votes)), head(question, Tokens(padded, mask, votes)))
