"""GPC: its three terms, clusters that keep labelled rows, a number of classes that is carried on, exact resume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from image_parts import TRAINING, Killed, built, pictures, tiny

from accord.errors import ConfigError
from accord.functional import nt_xent, prototype_density, supcon
from accord.methods import DataInfo, Method, Step, get_method
from accord.training.artifact import Model, load_model, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit

SMALL = {"dim": 8, "hidden": 16, "bottleneck": 8, "components": 4, "restarts": 2, "colour": False}


@pytest.fixture
def batch():
    torch.manual_seed(1)
    label = torch.tensor([0, 1, 0, -1, -1, 1])
    return {"image_views": list(torch.randn(2, 6, 3, 32, 32)), "index": torch.arange(6), "label": label}


def clustered(**settings):
    """A method with three prototypes."""
    gpc = built("gpc_gcd", **{**SMALL, **settings}, start_classes=3)
    torch.manual_seed(2)
    gpc.prototypes.copy_(F.normalize(torch.randn_like(gpc.prototypes), dim=1))
    gpc.phi.copy_(torch.tensor([0.2, 0.5, 1.0]))
    gpc.assigned.copy_(torch.arange(24) % 3)
    return gpc


def some_labelled():
    """Pictures of four colours; half of the red and blue ones have labels."""
    corpus = pictures()
    kinds = np.asarray(corpus.labels)
    hidden = (kinds >= 2) | (np.arange(len(kinds)) % 2 == 1)
    return replace(corpus, labels=np.where(hidden, -1, kinds))


def facts(corpus):
    counts = np.bincount(corpus.labels[corpus.labels >= 0], minlength=len(corpus.classes))
    return DataInfo(rows=len(corpus), classes=corpus.classes, label_counts=tuple(counts.tolist()))


def trained(folder, *, kill_at=None, resume=False, **settings) -> Method:
    """A short training on pictures some of which have labels."""
    corpus = some_labelled()
    torch.manual_seed(0)
    method = get_method("gpc_gcd")({**SMALL, **settings}, tiny(), facts(corpus))
    step, done = method.after_step, []

    def counted(where):
        step(where)
        done.append(where)
        if len(done) == kill_at:
            raise Killed

    method.after_step = counted
    fit(method, corpus, TrainingConfig.parse(TRAINING), folder, resume=resume, progress=False)
    return method


def test_the_loss_is_contrast_of_views_of_labels_and_with_prototypes(batch):
    gpc = clustered(prototype_weight=0.5, temperature=0.5)
    both = F.normalize(gpc.encoders["image"](torch.cat(batch["image_views"])).pooled, dim=1)
    first, second = gpc.head(both).chunk(2)
    labels, there = batch["label"].repeat(2), batch["label"].repeat(2) >= 0
    views = nt_xent(first, second, 0.5)
    alike = supcon(torch.cat([first, second])[there], labels[there], 0.07)
    wanted = gpc.assigned[batch["index"]].repeat(2)
    pull = F.cross_entropy(both @ gpc.prototypes.T / gpc.phi, wanted)
    terms = gpc.loss(batch, Step(epoch=1))
    torch.testing.assert_close(terms["labels"], alike.detach())
    torch.testing.assert_close(terms["prototypes"], pull.detach())
    torch.testing.assert_close(terms["total"], 0.65 * views + 0.35 * alike + 0.5 * pull)
    torch.testing.assert_close(gpc.loss(batch, Step(epoch=0))["total"], 0.65 * views + 0.35 * alike)


def test_rows_without_label_take_no_part_in_the_contrast_of_labels(batch):
    gpc = clustered().eval()  # without batch norm, through which rows see each other
    before = gpc.loss(batch, Step())["labels"]
    batch["image_views"] = [torch.cat([view[:3], 9 * view[3:5], view[5:]]) for view in batch["image_views"]]
    torch.testing.assert_close(gpc.loss(batch, Step())["labels"], before)
    del batch["label"]
    assert gpc.loss(batch, Step())["labels"] == 0


def test_clusters_keep_labelled_rows_and_the_number_is_carried_on():
    gpc = built("gpc_gcd", rows=60, **SMALL, start_classes=12)
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(60) // 15
    features = torch.zeros(60, 16).scatter_(1, truth[:, None], 1.0) + 0.1 * torch.randn(60, 16, generator=generator)
    features, labels = F.normalize(features, dim=1), truth.where((truth < 2) & (torch.arange(60) % 2 == 0), -1)
    for epoch in range(4):
        before = len(gpc.prototypes)
        gpc.renew(features, labels, Step(epoch=epoch))
        assert torch.equal(gpc.assigned[labels >= 0], labels[labels >= 0])
        assert len(gpc.prototypes) <= before
        means = torch.stack([features[gpc.assigned == k].mean(dim=0) for k in range(len(gpc.prototypes))])
        torch.testing.assert_close(gpc.prototypes, F.normalize(means, dim=1))
        torch.testing.assert_close(gpc.phi, prototype_density(features, means, gpc.assigned, 1.0))
    assert len(gpc.prototypes) == 4  # from twelve


def test_a_training_that_was_killed_ends_in_the_same_bits_though_the_number_has_changed(tmp_path):
    whole = trained(tmp_path / "a", start_classes=9)
    assert len(whole.prototypes) != 9
    with pytest.raises(Killed):
        trained(tmp_path / "b", kill_at=7, start_classes=9)
    again = trained(tmp_path / "b", resume=True, start_classes=9)
    assert again.state_dict().keys() == whole.state_dict().keys()
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_finished_model_comes_back_with_its_prototypes_and_assigns_by_them(tmp_path):
    method = trained(tmp_path / "run", start_classes=9)
    save_model(tmp_path / "run", method, {})
    loaded = load_model(tmp_path / "run").method
    assert torch.equal(loaded.prototypes, method.prototypes)
    batch = {"image": torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
    method.eval()
    vectors = method.embed(batch)["image"]
    assert torch.equal(loaded.assign(batch), (vectors @ method.prototypes.T).argmax(dim=1))


def test_what_it_discovers_among_embeddings_keeps_the_labels(tmp_path):
    corpus = some_labelled()
    method = trained(tmp_path)
    vectors = Model(method).embed_corpus(corpus, "image")
    labels = torch.from_numpy(corpus.labels)
    found = method.discover(vectors, labels)
    assert found.known == 2
    assert torch.equal(found.assigned[labels >= 0], labels[labels >= 0])
    assert found.classes == len(found.assigned.unique())


def test_an_adapter_starts_as_the_identity_and_learns_beside_a_frozen_encoder(batch):
    encoders = tiny()
    encoders["image"].freeze("all")
    gpc = built("gpc_gcd", encoders, **SMALL, adapter=True).eval()
    plain = F.normalize(encoders["image"](batch["image_views"][0]).pooled, dim=1)
    torch.testing.assert_close(gpc.embed({"image": batch["image_views"][0]})["image"], plain)
    gpc.loss(batch, Step(epoch=1))["total"].backward()
    assert gpc.adapter.weight.grad.abs().sum() > 0


def test_wrong_settings_and_several_labels_a_row_are_refused():
    data = DataInfo(rows=4, classes=("a", "b", "c"), label_counts=(1, 1, 1))
    with pytest.raises(ConfigError, match="start_classes = 2: expected at least 3"):
        get_method("gpc_gcd")({"start_classes": 2}, tiny(), data)
    with pytest.raises(ConfigError, match="one label a row"):
        get_method("gpc_gcd")({}, tiny(), replace(data, multi_label=True))
