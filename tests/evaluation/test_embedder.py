import pytest
import torch

from accord.errors import DataError
from accord.evaluation.embedder import check_finite


def test_finite_embeddings_pass_and_others_are_counted():
    check_finite("images", torch.eye(3))
    with pytest.raises(DataError, match="images: 2 of 3 rows are not finite"):
        check_finite("images", torch.tensor([[1.0], [torch.inf], [torch.nan]]))
