import pytest
import torch
from fixed import Fixed
from two_stages import TwoStages

from accord.errors import DataError
from accord.evaluation.embedder import by_joint_score, check_finite, rescorer


def test_finite_embeddings_pass_and_others_are_counted():
    check_finite("images", torch.eye(3))
    with pytest.raises(DataError, match="images: 2 of 3 rows are not finite"):
        check_finite("images", torch.tensor([[1.0], [torch.inf], [torch.nan]]))


def test_what_embeds_and_says_no_more_has_no_second_stage_and_no_score_of_its_own():
    alone = Fixed(torch.eye(3))
    assert rescorer(alone) is None
    assert not by_joint_score(alone)
    two = TwoStages(3)
    assert rescorer(two) is two
    assert not by_joint_score(two)
