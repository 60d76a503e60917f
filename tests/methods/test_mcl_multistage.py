"""MCL: stages of a base method, clusters between them, negatives of one cluster, vectors side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from image_parts import TRAINING, pictures, tiny
from method_parts import text_batch

from accord.data.loading.order import Known
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.methods import DataInfo, Step, get_method
from accord.methods.base import Stage
from accord.training.artifact import load_model, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from two_processes import run_two_processes

SIMCLR = {"objective": "nt_xent", "views": 2, "dim": 8, "crop_scale": (0.5, 1.0), "colour": 0.0}
BASE = {"base": "multiview_infonce", "base_settings": SIMCLR, "clusters": 2}
WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]


def built(rows=24, encoders=None, **settings):
    torch.manual_seed(0)
    return get_method("mcl_multistage")({**BASE, **settings}, encoders or tiny(), DataInfo(rows=rows))


def trained(folder, epochs=1, **settings):
    method = built(**settings)
    fit(method, pictures(), TrainingConfig.parse({**TRAINING, "epochs": epochs}), folder, progress=False)
    return method


class Rows:
    """Every row once, as hooks see them."""

    def __init__(self, images):
        self.images = images

    def __iter__(self):
        yield {"image": self.images, "index": torch.arange(len(self.images))}

    def __len__(self):
        return 1


def views_of(rows=8):
    torch.manual_seed(1)
    return {"image_views": list(torch.randn(2, rows, 3, 32, 32)), "index": torch.arange(rows)}


def in_stage(method, number, labels):
    method.place.fill_(number)
    method.labels[: len(labels)] = torch.tensor(labels)
    return Step(f"stage{number}")


def test_each_stage_trains_its_own_member_and_leaves_the_others():
    method = built()
    names = {name for name, _ in method.named_parameters()}
    assert names == {name for name, _ in method.named_parameters(remove_duplicate=False)}  # no weight has two names
    owned = [{name for name in names if name.startswith(stage.train)} for stage in method.stages]
    assert set.union(*owned) == names
    assert sum(map(len, owned)) == len(names)
    assert len({len(own) for own in owned}) == 1


def test_stages_start_alike_or_anew_or_where_the_last_one_ended():
    conv = "image.model.conv1.weight"
    alike, anew = built(), built(init="scratch")
    first = alike.encoders.state_dict()[conv]
    assert torch.equal(first, alike.copies[1].state_dict()[conv])
    assert not torch.equal(first, anew.copies[0].state_dict()[conv])
    method = built(init="previous")
    with torch.no_grad():
        method.encoders["image"].model.conv1.weight += 1
    assert not torch.equal(method.encoders.state_dict()[conv], method.copies[0].state_dict()[conv])
    method.before_stage(Stage("stage1"), Rows(torch.randn(24, 3, 32, 32)))
    assert torch.equal(method.encoders.state_dict()[conv], method.copies[0].state_dict()[conv])


def test_labels_of_a_stage_hold_all_clusterings_before_it():
    method, rows = built(rows=12), Rows(torch.randn(12, 3, 32, 32))
    given = iter([torch.tensor([0, 1] * 6), torch.tensor([0, 0, 1] * 4)])
    method.cluster = lambda features: next(given)
    for number in range(3):
        method.before_stage(Stage(f"stage{number}"), rows)
    first, second = method.found
    same = (first[:, None] == first) & (second[:, None] == second)
    assert torch.equal(method.labels[:, None] == method.labels, same)
    assert set(method.labels.tolist()) == {0, 1, 2, 3}


def test_what_is_clustered_are_the_unit_vectors_of_the_stage_before():
    method, seen = built(rows=6).eval(), []
    method.cluster = lambda features: seen.append(features) or torch.zeros(6, dtype=torch.int64)
    images = torch.randn(6, 3, 32, 32)
    method.before_stage(Stage("stage1"), Rows(images))
    torch.testing.assert_close(seen[0], F.normalize(method.encoders["image"](images).pooled, dim=1))
    method.before_stage(Stage("stage2"), Rows(images))
    torch.testing.assert_close(seen[1], F.normalize(method.copies[0]["image"](images).pooled, dim=1))


def test_in_a_batch_of_one_cluster_the_loss_is_the_base_methods():
    method, batch = built(rows=8), views_of()
    step = in_stage(method, 1, [3] * 8)
    expected = method.each[1].loss(batch, Step())["total"]
    torch.testing.assert_close(method.loss(batch, step)["total"], expected)
    torch.testing.assert_close(method.loss(batch, Step("stage0"))["total"], method.each[0].loss(batch, Step())["total"])


def test_rows_of_other_clusters_are_no_negatives():
    method, batch = built(rows=8), views_of()
    labels = [0, 1, 0, 1, 1, 0, 2, 2]
    z = [F.normalize(view, dim=1) for view in method.each[1].project(batch)]
    both, own = torch.cat(z), torch.tensor(labels * 2)
    terms = []
    for anchor in range(16):
        near = [other for other in range(16) if own[other] == own[anchor] and other != anchor]
        s = both @ both[anchor] / 0.5
        terms.append(torch.logsumexp(s[near], dim=0) - s[(anchor + 8) % 16])
    total = method.loss(batch, in_stage(method, 1, labels))["total"]
    torch.testing.assert_close(total, torch.stack(terms).mean())


def test_a_batch_of_as_many_clusters_as_rows_teaches_nothing():
    method = built(rows=8)
    total = method.loss(views_of(), in_stage(method, 1, list(range(8))))["total"]
    assert total.item() == pytest.approx(0, abs=1e-6)
    total.backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-6 for p in method.copies[0].parameters())


def test_rows_are_drawn_cluster_by_cluster_once_there_are_clusters():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1] * 3)
    method = built()
    assert method.sampling is None
    in_stage(method, 1, labels)
    for batch in method.sampling.draw(Known(24), 4, 6, 0, 0):
        assert len(set(labels[batch.rows])) == 1
    assert built(restrict="masks").sampling is None


def test_the_log_says_what_is_left_out():
    labels = [0] * 9 + [1] * 12 + [2, 2, 3]
    for settings, lost in (({"small": "drop"}, 1 + 0 + 3), ({}, 1 + 0 + 3), ({"restrict": "masks"}, 0)):
        method = built(**settings)
        terms = method.loss({**views_of(4), "index": torch.arange(4)}, in_stage(method, 1, labels))
        assert terms["left_out"] == pytest.approx(lost / 24)
        assert terms["clusters"] == 4


@pytest.mark.parametrize("integration", ["raw", "each"])
def test_vectors_of_the_stages_stand_side_by_side(integration):
    method = built(integration=integration).eval()
    images = torch.randn(5, 3, 32, 32)
    parts = [method.encoders["image"](images).pooled, *(copy["image"](images).pooled for copy in method.copies)]
    parts[1:] = [3 * part for part in parts[1:]]
    for copy in method.copies:
        copy["image"].register_forward_hook(lambda module, given, out: type(out)(pooled=3 * out.pooled))
    for last in range(3):
        method.place.fill_(last)
        side = [F.normalize(part, dim=1) if integration == "each" else part for part in parts[: last + 1]]
        expected = F.normalize(torch.cat(side, dim=1), dim=1)
        torch.testing.assert_close(method.embed({"image": images})["image"], expected)


def test_pairs_are_told_apart_within_their_cluster():
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    text.freeze("all")
    towers = {**tiny(), "text": text}
    method = built(4, towers, base="clip", base_settings={"dim": 8}, clusters=2)
    assert method.each[1].encoders["text"] is text  # a frozen tower is everybody's
    assert [sorted(copy) for copy in method.copies] == [["image"], ["image"]]
    torch.manual_seed(1)
    batch = {"image": torch.randn(4, 3, 32, 32), **text_batch(towers, WORDS), "index": torch.arange(4)}
    pure, mixed = (method.loss(batch, in_stage(method, 1, own))["total"] for own in ([5] * 4, [0, 0, 1, 1]))
    torch.testing.assert_close(pure, method.each[1].loss(batch, Step())["total"])
    vectors = method.each[1].embed(batch)
    logits = vectors["image"] @ vectors["text"].T / 0.07
    blocks = [logits[:2, :2], logits[2:, 2:]]
    target = torch.arange(2)
    expected = torch.stack([F.cross_entropy(x, target) + F.cross_entropy(x.T, target) for x in blocks]).mean() / 2
    torch.testing.assert_close(mixed, expected)


def test_it_trains_and_comes_back_with_all_its_stages(tmp_path):
    method = trained(tmp_path / "run")
    assert method.place == 2
    assert method.labels.max() > 0
    images = torch.randn(3, 3, 32, 32)
    found = method.embed({"image": images})["image"]
    assert found.shape == (3, 3 * method.encoders["image"].dim)
    save_model(tmp_path / "saved", method, {})
    again = load_model(tmp_path / "saved").method
    assert torch.equal(again.embed({"image": images})["image"], found)


def test_a_public_model_can_be_the_first_stage(tmp_path):
    method = built(first=False, stages_after=1)
    before = {name: value.clone() for name, value in method.encoders.state_dict().items()}
    assert [stage.name for stage in method.stages] == ["stage1"]
    fit(method, pictures(), TrainingConfig.parse({**TRAINING, "epochs": 1}), tmp_path, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in method.encoders.state_dict().items())
    assert method.place == 1


def test_a_base_that_compares_whole_batches_is_trained_on_whole_clusters(tmp_path):
    swav = {"dim": 8, "hidden": 16, "prototypes": 4, "small_crops": 0}
    settings = {"base": "swav", "base_settings": swav, "stages_after": 1}
    method = trained(tmp_path, **settings)
    assert method.embed({"image": torch.randn(2, 3, 32, 32)})["image"].shape[0] == 2
    with pytest.raises(ConfigError, match="swav compares whole batches"):
        built(small="merge", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": "clop"}, "no method 'clop'; did you mean clip"),
        ({"base": "clip", "base_settings": {"dimm": 3}}, "method.base_settings.dimm is not a setting"),
        ({"base": "mcl_multistage", "base_settings": {}}, "it wraps another method"),
        ({"base": "cross_entropy", "base_settings": {}}, "it learns from labels or targets"),
        ({"base": "protoclip", "base_settings": {}}, "it draws its rows itself"),
        ({"base": "meow", "base_settings": {}}, "it reads a graph as a whole"),
        ({"base": "bundle", "base_settings": {}}, "it is not trained"),
        ({"base": "fdt", "base_settings": {}, "integration": "raw"}, "vectors of unit norm alone; take each"),
    ],
)
def test_what_cannot_be_a_base_is_refused(settings, message):
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    vit = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    with pytest.raises(ConfigError, match=message):
        built(encoders={"image": vit, "text": text}, **settings)


def test_more_clusters_than_rows_are_refused():
    with pytest.raises(ConfigError, match=r"method.clusters = 9: expected at most 6"):
        built(rows=6, clusters=9).before_stage(Stage("stage1"), Rows(torch.randn(6, 3, 32, 32)))


def share_of(rank, rows=4):
    method, own = built(rows=8).eval(), slice(rank * rows, (rank + 1) * rows)  # batch norm would see other rows
    batch = {
        name: [v[own] for v in value] if name == "image_views" else value[own] for name, value in views_of().items()
    }
    total = method.loss(batch, in_stage(method, 1, [0, 1, 0, 1, 1, 0, 0, 0]))["total"]
    total.backward()
    return total.detach(), method.each[1].heads["image"][0].weight.grad


def test_two_processes_equal_one_with_all_rows():
    one, two = share_of(0, rows=8), run_two_processes(share_of)
    for position, expected in enumerate(one):
        torch.testing.assert_close((two[0][position] + two[1][position]) / 2, expected, rtol=1e-4, atol=1e-6)
