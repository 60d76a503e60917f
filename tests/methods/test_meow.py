"""MEOW and AdaMEOW: both losses against dense ones, weights, perturbation, memory, early stop, exact resume."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from graph_parts import PAPERS, built, corpus_of, papers, trained
from image_parts import Killed

from accord.errors import ConfigError, ShapeError
from accord.functional import concentration
from accord.methods import Step
from accord.training.artifact import Model, load_model, save_model

MEOW = {"clusters": [4, 7], "neighbours": 12, "dropout": 0.0, "dim": 16, "patience": 0}
ADA = {"neighbours": 12, "dropout": 0.0, "dim": 16}


@pytest.fixture
def graph():
    return papers()


def test_meow_is_weighted_contrast_from_coarse_to_fine_and_a_prototype_term(graph):
    meow = built("meow", graph, **MEOW, temperature=0.4)
    terms = meow.loss({"graph": graph}, Step())
    coarse, fine = meow.both(graph)
    logits = coarse @ fine.T / 0.4
    weights = sum((part[:, None] != part).float() for part in meow.labels)
    own = logits.diagonal()
    torch.testing.assert_close(terms["info"], ((weights * logits.exp()).sum(dim=1).log() - own).mean())
    prototypes = []
    for labels, centroids in zip(meow.labels, meow.centroids.split([4, 7]), strict=True):
        assert torch.equal(labels, (fine @ centroids.T).argmax(dim=1))
        phi = concentration(fine, labels, centroids, 0.4)
        scores = (coarse @ F.normalize(centroids, dim=1).T / phi).exp()
        chosen = scores.gather(1, labels[:, None]).squeeze(1)
        prototypes.append(-(chosen / (PAPERS * scores.mean(dim=1))).log().mean())
    torch.testing.assert_close(terms["prototypes"], torch.stack(prototypes).mean())
    torch.testing.assert_close(terms["total"], terms["info"] + terms["prototypes"])
    torch.testing.assert_close(terms["negatives"], weights.mean())


def test_centroids_are_the_means_of_their_members(graph):
    meow = built("meow", graph, **MEOW)
    fine = meow.both(graph)[1].detach()
    meow.cluster(fine)
    for labels, centroids in zip(meow.labels, meow.centroids.split([4, 7]), strict=True):
        for cluster in labels.unique():
            torch.testing.assert_close(centroids[cluster], fine[labels == cluster].mean(dim=0))


def test_uniform_weights_are_plain_infonce(graph):
    meow = built("meow", graph, **MEOW, weights="uniform", prototype_weight=0.0, temperature=0.4)
    terms = meow.loss({"graph": graph}, Step())
    coarse, fine = meow.both(graph)
    torch.testing.assert_close(terms["total"], F.cross_entropy(coarse @ fine.T / 0.4, torch.arange(PAPERS)))
    assert bool((meow.labels < 0).all())  # nothing was clustered in vain


@pytest.mark.parametrize("normalize", [False, True])
def test_adameow_is_contrast_from_fine_to_coarse_with_learned_weights(graph, normalize):
    ada = built("adameow", graph, **ADA, temperature=0.7, normalize_weights=normalize)
    total = ada.loss({"graph": graph}, Step())["total"]
    coarse, fine = ada.both(graph)
    weights = ada.weigh(fine, coarse)
    if normalize:
        weights = weights / weights.mean(dim=1, keepdim=True)
    logits = fine @ coarse.T / 0.7
    expected = ((weights * logits.exp()).sum(dim=1).log() - logits.diagonal()).mean()
    torch.testing.assert_close(total, expected)
    wanted = torch.autograd.grad(expected, list(ada.parameters()))
    for found, gradient in zip(torch.autograd.grad(total, list(ada.parameters())), wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("meow", MEOW), ("adameow", ADA)])
def test_no_tensor_of_all_pairs_is_kept_for_the_backward_pass(graph, monkeypatch, name, settings):
    monkeypatch.setattr("accord.encoders.heads.pairs.CHUNK_ELEMENTS", 16 * PAPERS * 4)
    monkeypatch.setattr("accord.functional.tiled.DENSE_ROWS", 8)
    method, saved = built(name, graph, **settings), []
    method.loss({"graph": graph}, Step())  # what is read of the graph once, is read

    def keep(tensor):
        if tensor.layout == torch.strided:
            saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        method.loss({"graph": graph}, Step())
    assert max(saved) < PAPERS * PAPERS


def test_the_perturbed_copy_lacks_what_it_should_and_stays_the_same(graph):
    meow = built("meow", graph, **MEOW, feature_mask=0.5, edge_mask=[0.0, 0.5])
    seen = meow.encoder.read(graph)
    copy = meow.perturbed(seen)
    features = seen.features["paper"].to_dense()
    left = copy.features.to_dense()
    assert left.count_nonzero() == features.count_nonzero() - round(0.5 * int(features.count_nonzero()))
    assert torch.equal(left[left != 0], features[left != 0])
    whole, part = (path.to_dense() for path in copy.paths)
    others = [int((counts.to_dense().fill_diagonal_(0) != 0).sum()) for counts in seen.counts]
    assert int((whole != 0).sum()) == others[0] + PAPERS  # a loop for every node
    assert int((part != 0).sum()) == others[1] - round(0.5 * others[1]) + PAPERS
    assert meow.perturbed(seen) is copy
    again = built("meow", papers(), **MEOW, feature_mask=0.5, edge_mask=[0.0, 0.5])
    again.draw.copy_(meow.draw)
    other = again.perturbed(again.encoder.read(graph))
    assert torch.equal(other.features.to_dense(), left)
    assert torch.equal(other.paths[1].to_dense(), part)


def test_contexts_change_the_fine_view_only(graph):
    meow = built("meow", graph, **MEOW)
    plain = built("meow", graph, **MEOW, contexts=False)
    plain.load_state_dict(meow.state_dict())
    coarse, fine = meow.both(graph)
    same, other = plain.both(graph)
    torch.testing.assert_close(coarse, same)
    assert not torch.allclose(fine, other, atol=1e-3)


def test_training_goes_on_with_a_graph_that_evaluation_read_first(graph):
    original = built("meow", graph, **MEOW, original_inference=True)
    Model(original).embed_corpus(corpus_of(graph), "graph")
    original.loss({"graph": graph}, Step())["total"].backward()
    assert original.encoder.gcn.weight1.grad is not None


def test_embeddings_are_unit_norm_repeatable_and_follow_the_nodes(graph):
    meow = built("meow", graph, **{**MEOW, "dropout": 0.3})
    model = Model(meow)
    z = model.embed_corpus(corpus_of(graph), "graph")
    torch.testing.assert_close(z.norm(dim=1), torch.ones(PAPERS))
    rows = corpus_of(graph).select([7, 3])
    torch.testing.assert_close(model.embed_corpus(rows, "graph"), z[[7, 3]])
    original = built("meow", graph, **{**MEOW, "dropout": 0.3}, original_inference=True).eval()
    batch = {"graph": graph, "node": torch.arange(PAPERS)}
    once, again = original.embed(batch)["graph"], original.embed(batch)["graph"]
    torch.testing.assert_close(once, again)
    assert not torch.allclose(once, z, atol=1e-3)
    assert not any(part.training for part in original.modules())


@pytest.mark.parametrize(("name", "settings"), [("meow", MEOW), ("adameow", ADA)])
def test_training_tells_the_kinds_apart(tmp_path, name, settings):
    graph = papers()
    start = _purity(Model(built(name, graph, **settings)), graph)
    model = Model(trained(name, tmp_path, training={"epochs": 25}, **settings))
    assert _purity(model, graph) >= max(0.8, start)


def _purity(model, graph):
    """Share of papers whose nearest one is of their kind; one half by chance."""
    corpus = corpus_of(graph)
    z = model.embed_corpus(corpus, "graph")
    nearest = (z @ z.T).fill_diagonal_(-2).argmax(dim=1).numpy()
    return float((corpus.labels[nearest] == corpus.labels).mean())


@pytest.mark.parametrize(
    ("name", "settings"),
    [("meow", {**MEOW, "dropout": 0.2, "cluster_every": 3}), ("adameow", {**ADA, "dropout": 0.2})],
)
def test_a_killed_run_resumes_exactly(tmp_path, name, settings):
    whole = trained(name, tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        trained(name, tmp_path / "killed", kill_at=5, **settings)  # between two clusterings
    resumed = trained(name, tmp_path / "killed", resume=True, **settings)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_training_ends_when_the_loss_has_not_fallen_for_some_epochs(tmp_path):
    settings = {**MEOW, "patience": 2}
    whole = trained("meow", tmp_path / "whole", training={"epochs": 400, "lr": 0.1}, **settings)
    steps = len((tmp_path / "whole" / "train.jsonl").read_text().splitlines())
    assert steps < 400
    assert whole.converged
    with pytest.raises(Killed):
        trained("meow", tmp_path / "a", training={"epochs": 400, "lr": 0.1}, kill_at=steps, **settings)
    resumed = trained("meow", tmp_path / "a", training={"epochs": 400, "lr": 0.1}, resume=True, **settings)
    assert len((tmp_path / "a" / "train.jsonl").read_text().splitlines()) == steps
    assert torch.equal(resumed.project.weight, whole.project.weight)


def test_a_saved_model_embeds_its_graph_and_refuses_another(tmp_path, graph):
    meow = built("meow", graph, **MEOW)
    corpus = corpus_of(graph)
    z = Model(meow).embed_corpus(corpus, "graph")
    save_model(tmp_path, meow, {"method": {"name": "meow"}})
    loaded = load_model(tmp_path)
    torch.testing.assert_close(loaded.embed_corpus(corpus, "graph"), z)
    other = papers()
    other["author"].num_nodes = 30
    with pytest.raises(ShapeError, match="knows the graph that it was trained on"):
        loaded.embed_corpus(corpus_of(other), "graph")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("meow", {"clusters": [1]}, "expected 2 to 60, the number of nodes"),
        ("meow", {"clusters": [61]}, "expected 2 to 60, the number of nodes"),
        ("meow", {"edge_mask": [0.1]}, "one for each of 2 paths"),
        ("meow", {"neighbours": [3]}, "one for each of 2 meta-paths"),
        ("adameow", {"metapaths": [["paper", "author"]]}, "at least three types"),
    ],
)
def test_settings_that_do_not_fit_the_graph_are_refused(graph, name, settings, message):
    with pytest.raises(ConfigError, match=message):
        built(name, graph, **settings)


def test_the_number_of_clusters_follows_the_graph(graph):
    assert built("meow", graph).clusters == [max(2, PAPERS // 40), math.floor(PAPERS / 13)]
