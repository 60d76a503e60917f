"""DeepCluster-v2: what is remembered and when it is clustered, whose crop a head clusters, exact resume."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from image_parts import Killed, built, told_apart, trained

from accord.errors import ConfigError
from accord.methods import Step

SMALL = {"dim": 8, "hidden": 16, "prototypes": 3, "heads": 3, "small_crops": 1}


class Rows:
    """A loader of two batches, each of its own rows."""

    def __init__(self, *batches):
        self.batches = batches

    def episode(self):
        yield from self.batches


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [
        {
            "image_views": [torch.randn(6, 3, 32, 32), torch.randn(6, 3, 32, 32), torch.randn(6, 3, 24, 24)],
            "index": torch.arange(first, first + 6),
        }
        for first in (0, 6)
    ]


def test_before_the_first_epoch_the_crops_to_come_are_remembered_and_clustered_by_turns(batches):
    method = built("deepcluster_v2", rows=14, **SMALL)
    method.before_epoch(Step(), Rows(*batches))
    assert method.banks[0].seen.tolist() == [True] * 12 + [False] * 2
    for head, crop in ((0, 0), (1, 1), (2, 0)):  # heads take turns
        features = method.banks[crop].features[:12]
        labels = method.labels[head]
        assert labels[12:].tolist() == [-1, -1]
        for cluster in labels[:12].unique():
            members = features[labels[:12] == cluster]
            torch.testing.assert_close(method.centroids[head, cluster], F.normalize(members.mean(dim=0), dim=0))
    assert not torch.equal(method.banks[0].features, method.banks[1].features)


def test_every_crop_is_classified_among_the_centroids_of_every_head(batches):
    method = built("deepcluster_v2", rows=14, **SMALL)
    method.before_epoch(Step(), Rows(*batches))
    z, labels = method.projected(batches[1]["image_views"]), method.labels[:, 6:12]
    heads = [F.cross_entropy(z @ method.centroids[h].T / 0.1, labels[h].repeat(3)) for h in range(3)]
    total = method.loss(batches[1], Step())["total"]
    torch.testing.assert_close(total, torch.stack(heads).mean())
    total.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert not method.centroids.requires_grad


def test_later_epochs_cluster_what_training_left_in_memory(batches):
    method = built("deepcluster_v2", rows=14, **SMALL)
    method.before_epoch(Step(), Rows(*batches))
    kept = method.banks[0].features.clone()
    new = {**batches[0], "image_views": [torch.randn_like(view) for view in batches[0]["image_views"]]}
    z = method.projected(new["image_views"]).detach().chunk(3)
    method.loss(new, Step(epoch=1))
    torch.testing.assert_close(method.banks[1].features[:6], z[1])
    assert torch.equal(method.banks[0].features[6:], kept[6:])
    method.before_epoch(Step(epoch=1), Rows())  # looks at no rows again
    assert method.labels[:, :12].min() >= 0
    method.eval().loss(batches[1], Step())
    assert torch.equal(method.banks[0].features[6:], kept[6:])


def test_rows_without_a_cluster_are_left_out_of_the_loss(batches):
    method = built("deepcluster_v2", rows=14, **SMALL)
    assert method.loss(batches[0], Step())["total"].item() == 0.0
    method.cluster()
    method.eval()
    mixed = {**batches[0], "index": torch.tensor([0, 1, 2, 12, 13, 12])}
    z = method.projected(mixed["image_views"]).unflatten(0, (3, 6))[:, :3]
    wanted = method.labels[:, :3]
    heads = [F.cross_entropy((z @ method.centroids[h].T / 0.1).flatten(0, 1), wanted[h].repeat(3)) for h in range(3)]
    torch.testing.assert_close(method.loss(mixed, Step())["total"], torch.stack(heads).mean())


def test_more_clusters_than_rows_are_refused():
    with pytest.raises(ConfigError, match=r"method.prototypes = 25: expected at most 24, the rows to cluster"):
        built("deepcluster_v2", **{**SMALL, "prototypes": 25})


def test_training_tells_colours_apart(tmp_path):
    settings = {**SMALL, "prototypes": 6, "large_scale": (0.5, 1.0), "colour": False}
    method = trained("deepcluster_v2", tmp_path, training={"epochs": 8}, **settings)
    assert told_apart(method) > 0.8  # chance 0.25


def test_a_killed_run_goes_on_exactly(tmp_path):
    whole = trained("deepcluster_v2", tmp_path / "whole", **SMALL)
    with pytest.raises(Killed):
        trained("deepcluster_v2", tmp_path / "killed", kill_at=5, **SMALL)
    again = trained("deepcluster_v2", tmp_path / "killed", resume=True, **SMALL)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
