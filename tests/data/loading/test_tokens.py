import pytest
import torch

from accord.data.loading.features import Features
from accord.data.loading.tokens import TokenRows
from accord.errors import ShapeError


def parts():
    """Two batches padded to different lengths; rows of 3, 1 and 2 tokens."""
    torch.manual_seed(0)
    masks = [torch.tensor([[True, True, True], [True, False, False]]), torch.tensor([[True, True]])]
    return [Features(torch.randn(len(mask), 4), torch.randn(*mask.shape, 5), mask) for mask in masks]


def test_rows_come_back_padded_to_the_longest_of_those_asked_for():
    first, second = parts()
    rows = TokenRows.of([first, second])
    assert (len(rows), len(rows.values), rows.values.dtype) == (3, 6, torch.float16)
    back = rows.padded()
    assert back.mask.sum(dim=1).tolist() == [3, 1, 2]
    for row, (part, place) in enumerate(((first, 0), (first, 1), (second, 0))):
        given = part.tokens[place][part.mask[place]]
        torch.testing.assert_close(back.tokens[row][back.mask[row]], given.half().float())
        assert torch.equal(back.pooled[row], part.pooled[place])
    assert (back.tokens[~back.mask] == 0).all()
    some = rows.padded([2, 1, 2])
    assert some.tokens.shape == (3, 2, 5)
    assert torch.equal(some.tokens[0], some.tokens[2])
    assert torch.equal(rows.padded(slice(1, 3)).tokens, rows.padded([1, 2]).tokens)


def test_padding_is_not_kept():
    mask = torch.zeros(100, 50, dtype=torch.bool)
    mask[:, 0] = True
    assert TokenRows.of([Features(torch.zeros(100, 2), torch.zeros(100, 50, 8), mask)]).values.shape == (100, 8)


def test_features_without_a_mask_keep_all_their_tokens():
    assert len(TokenRows.of([Features(torch.zeros(2, 3), torch.zeros(2, 4, 3))]).values) == 8


def test_a_row_without_tokens_is_empty_and_does_not_disturb_the_others():
    rows = TokenRows(torch.zeros(2, 1), torch.ones(1, 3, dtype=torch.float16), torch.tensor([0, 0, 1]))
    assert rows.padded([0]).mask.tolist() == [[False]]
    assert rows.padded().mask.tolist() == [[False], [True]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="2 rows with 3 tokens: expected starts of length 3 that end with 3"):
        TokenRows(torch.zeros(2, 1), torch.zeros(3, 4), torch.tensor([0, 1, 2]))
    with pytest.raises(ShapeError, match="hold no tokens"):
        TokenRows.of([Features(torch.zeros(1, 2))])
    with pytest.raises(ShapeError, match="no features came"):
        TokenRows.of([])
