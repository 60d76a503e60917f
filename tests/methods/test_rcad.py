"""RCAD: a row's own captions compete in its row alone, hard or as a teacher of texts ranks them."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch
from PIL import Image

from accord import pipeline
from accord.errors import ConfigError
from accord.functional import candidate_ce, candidate_distill
from accord.methods import DataInfo, Step, get_method, get_objective
from accord.methods.multimodal.rcad import read_captions
from accord.training.gradcache import cached_backward

TRUE = ["a red ball", "a blue cup", "the green tree"]
ALTERED = [["a blue ball", "one red ball"], [], ["the red tree"]]
ALIKE = [[0.5, 0.99], [], [0.2]]
NAN = float("nan")


def built(towers, **settings):
    torch.manual_seed(0)
    return get_method("rcad")({"modality": "image", "dim": 8, **settings}, towers, DataInfo(rows=3))


def batch_of(towers, altered=ALTERED, alike=ALIKE, of=("", "", "")):
    torch.manual_seed(1)
    most = max(map(len, altered))
    return {
        "image": torch.randn(3, 3, 16, 16),
        **text_batch(towers, TRUE),
        "counterfactuals": [list(row) for row in altered],
        "counterfactual_of": list(of),
        "counterfactual_present": torch.tensor([len(row) for row in altered])[:, None] > torch.arange(most),
        "counterfactual_similarity": torch.tensor([[*row, *[NAN] * (most - len(row))] for row in alike]).view(3, most),
        "index": torch.arange(3),
    }


def vectors(method, towers, texts):
    return method.embed(text_batch(towers, texts))["text"]


def test_captions_are_the_true_one_and_the_altered_ones_of_each_row(towers):
    method = built(towers).eval()
    found = method.towers(batch_of(towers))["captions"]
    assert found.shape == (3, 3, 8)
    torch.testing.assert_close(found[:, 0], vectors(method, towers, TRUE))
    torch.testing.assert_close(found[0, 1:], vectors(method, towers, ALTERED[0]))
    torch.testing.assert_close(found[2, 1], vectors(method, towers, ALTERED[2])[0])
    torch.testing.assert_close(found[1, 2], found[1, 0])  # filled up, and masked


def test_the_caption_that_was_altered_competes_where_it_is_another_than_the_one_that_was_read(towers):
    method = built(towers).eval()
    found = method.towers(batch_of(towers, of=("", "two trees", "")))["captions"]
    torch.testing.assert_close(found[1, 0], vectors(method, towers, ["two trees"])[0])
    torch.testing.assert_close(found[0, 0], vectors(method, towers, TRUE)[0])


@pytest.mark.parametrize("mode", ["lbl", "lgt"])
def test_the_loss_is_the_contrast_and_that_of_the_rows_own_captions(towers, mode):
    method, plain = built(towers, mode=mode, weight=0.5).eval(), built(towers, weight=0.0).eval()
    batch = batch_of(towers)
    found = method.towers(batch)
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, False]])  # 0.99 says the same
    given = (found["image"], found["captions"])
    if mode == "lbl":
        own = candidate_ce(*given, 1 / method.logit_scale(), mask)
    else:
        teacher = torch.tensor([[1, 0.5, 0.99], [1, 0, 0], [1, 0.2, 0]])
        own = candidate_distill(*given, teacher, 1 / method.logit_scale(), 0.1, mask)
    total, alone = method.loss(batch, Step())["total"], plain.loss(batch, Step())["total"]
    torch.testing.assert_close(total, alone + 0.5 * own)


def test_altered_captions_of_other_rows_are_no_negatives(towers):
    method = built(towers, mode="lbl").eval()
    first = method.loss(batch_of(towers), Step())
    other = method.loss(batch_of(towers, altered=[ALTERED[0], [], ["one yellow star"]]), Step())
    assert first["contrastive"] == other["contrastive"]
    assert first["candidates"] != other["candidates"]


def test_a_batch_without_altered_captions_is_plain_contrast(towers):
    method, empty = built(towers), batch_of(towers, altered=[[], [], []], alike=[[], [], []])
    terms = method.loss(empty, Step())
    assert terms["candidates"] == 0
    assert terms["own_caption_first"] == 0
    torch.testing.assert_close(terms["total"].detach(), terms["contrastive"])
    terms["total"].backward()


def test_what_the_teacher_says_nothing_of_is_left_out_where_it_decides(towers):
    unknown = batch_of(towers, alike=[[NAN, NAN], [], [NAN]])
    assert built(towers).eval().loss(unknown, Step())["candidates"] == 0
    hard = built(towers, mode="lbl").eval()
    assert hard.loss(unknown, Step())["candidates"] > 0


def test_only_so_many_altered_captions_are_read(towers):
    method = built(towers, candidates=1, mode="lbl").eval()
    one = batch_of(towers, altered=[["a blue ball"], [], ["the red tree"]], alike=[[0.5], [], [0.2]])
    assert method.loss(batch_of(towers), Step())["candidates"] == method.loss(one, Step())["candidates"]


def test_the_log_says_how_many_are_nearest_to_their_own_caption(towers):
    method = built(towers, max_similarity=2.0).eval()
    batch = batch_of(towers)
    image, captions = (method.towers(batch)[name] for name in ("image", "captions"))
    scores = torch.einsum("bd,bcd->bc", image, captions)
    won = [bool((scores[0, 0] > scores[0, 1:]).all()), bool(scores[2, 0] > scores[2, 1])]
    assert method.loss(batch, Step())["own_caption_first"].item() == pytest.approx(sum(won) / 2)


def test_the_gradient_in_parts_is_that_of_the_whole_also_where_a_part_has_no_altered_captions(towers):
    batch = batch_of(towers, altered=[[], *ALTERED[:2]], alike=[[], *ALIKE[:2]])
    method = built(towers, mode="lbl").eval()
    method.loss(batch, Step())["total"].backward()
    expected = {name: value.grad.clone() for name, value in method.named_parameters()}
    method.zero_grad()
    cached_backward(method, batch, Step(), 1, lambda total, synchronise: total.backward())
    for name, value in method.named_parameters():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-3, atol=1e-4)


def test_training_teaches_what_was_altered(towers):
    torch.manual_seed(0)
    method, batch = built(towers, mode="lbl", max_similarity=2.0), batch_of(towers)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        method.loss(batch, Step())["total"].backward()
        optimizer.step()
        method.after_step(Step())
    assert method.eval().loss(batch, Step())["own_caption_first"] == 1


def test_texts_are_no_modality_that_captions_are_about(towers):
    with pytest.raises(ConfigError, match="captions are about something else"):
        built(towers, modality="text")


def test_likeness_is_needed_only_where_it_decides():
    kind = get_method("rcad")
    assert kind.fills(kind.Config.parse({})) == ("counterfactual_similarity",)
    assert kind.fills(kind.Config.parse({"mode": "lbl"})) == ()


# --- added to another method ---


def test_added_to_clip_it_is_the_method(towers):
    method, batch = built(towers).eval(), batch_of(towers)
    torch.manual_seed(0)
    clip = get_method("clip")({"dim": 8}, towers, DataInfo(rows=3)).eval()
    clip.add(get_objective("rcad")({}))
    assert clip.read_targets == ("counterfactuals",)
    found, own = clip.loss(batch, Step()), method.loss(batch, Step())
    torch.testing.assert_close(found["total"], own["total"])
    torch.testing.assert_close(found["rcad: candidates"], own["candidates"])


def test_it_cannot_be_added_twice_or_to_a_method_without_a_scale(towers):
    with pytest.raises(ConfigError, match="part of the loss already"):
        built(towers).add(get_objective("rcad")({}))
    clip = get_method("clip")({"dim": 8}, towers, DataInfo(rows=3))
    del clip.logit_scale
    with pytest.raises(ConfigError, match="no such scale"):
        clip.add(get_objective("rcad")({}))


def test_reading_captions_needs_a_tower_of_texts_alone(towers):
    clip = get_method("clip")({"dim": 8}, towers, DataInfo(rows=3)).eval()
    own = F.normalize(torch.ones(3, 8), dim=1)
    found = read_captions(clip, own, batch_of(towers), 2)
    torch.testing.assert_close(found[:, 0], own)


# --- a run ---


@pytest.fixture
def table(tmp_path):
    lines = []
    for row in range(24):
        colour = ("red", "green", "blue")[row % 3]
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{row}.png")
        others = [f"a {other} square" for other in ("red", "green", "blue") if other != colour][: row % 4]
        alike = [0.4] * len(others)
        lines.append({"image": f"{row}.png", "caption": f"a {colour} square", "counterfactuals": others})
        lines[-1] |= {"counterfactual_similarity": alike, "counterfactual_kind": ["object"] * len(others)}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def run_of(table, **changes):
    vit = {"name": "tiny_vit", "options": {"size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}}
    return {
        "data": {"source": str(table), "split": {"test": 0.25}},
        "method": {"name": "rcad", "modality": "image", "dim": 8},
        "encoders": {
            "image": vit,
            "text": {"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2}},
        },
        "training": {"epochs": 1, "batch_size": 6, "accelerator": "cpu"},
        **changes,
    }


def test_a_run_is_trained_and_measured_among_altered_captions(table, tmp_path):
    run = pipeline.train(config=run_of(table), out=tmp_path / "run", progress=False)
    names = [metric.name for metric in run.metrics]
    ranked = {"counterfactuals: R@1", "counterfactuals: sensitivity to object"}
    assert ranked <= set(names)
    assert any("image→text R@1" in name for name in names)


def test_an_objective_reads_its_columns(table, tmp_path):
    config = run_of(table, method={"name": "clip", "dim": 8}, evaluate=["retrieval"])
    pipeline.train(config=config, out=tmp_path / "run", objective_add=["rcad"], progress=False)
    line = json.loads((tmp_path / "run" / "train.jsonl").read_text().splitlines()[-1])
    assert line["rcad: candidates"] > 0
    found = pipeline.evaluate(tmp_path / "run", table, tasks=["counterfactuals"])  # whose columns are found by name
    assert {"R@1", "tied rows"} <= {metric.name for metric in found}


def test_rows_without_the_columns_are_refused_with_the_option(table, tmp_path):
    plain = tmp_path / "plain.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    plain.write_text("\n".join(json.dumps({"image": row["image"], "caption": row["caption"]}) for row in rows))
    with pytest.raises(ConfigError, match="rcad needs counterfactuals and counterfactual_similarity"):
        pipeline.train(config=run_of(plain), out=tmp_path / "run", progress=False)
    config = run_of(plain, method={"name": "clip", "dim": 8})
    with pytest.raises(ConfigError, match=r"objective rcad needs counterfactuals.*--counterfactuals COL"):
        pipeline.train(config=config, out=tmp_path / "run", objective_add=["rcad"], progress=False)
