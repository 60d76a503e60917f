"""Retrieval among altered captions: the paper's values, ties, masks, and what captions alone give away."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from accord.data.corpus import open_corpus
from accord.data.recipe import Prepared
from accord.data.splits import Splits
from accord.errors import ConfigError, DataError, ShapeError
from accord.evaluation.counterfactuals import caption_log_odds, ranks_of_first, rcad_metrics, rcad_ranks
from accord.evaluation.tasks import get_task, parse_options

NAMES = ("R@1", "R@3", "meanR", "medianR")


@pytest.mark.parametrize(("sim", "expected"), [("sim_raw", "metrics_raw"), ("sim_tied", "metrics_tied")])
def test_ranks_are_those_of_the_papers_script(golden, sim: str, expected: str) -> None:
    given = golden("rcad")
    found = rcad_metrics(rcad_ranks(given[sim]))
    assert [found[name] for name in NAMES] == pytest.approx(given[expected].tolist())


def test_the_similarity_is_a_plain_product(golden) -> None:
    given = golden("rcad")
    torch.testing.assert_close(given["text"].double() @ given["video"].double().T, given["sim_raw"])


def test_rows_with_their_own_captions_give_the_same_ranks(golden) -> None:
    sim = golden("rcad")["sim_tied"]
    own = torch.stack([sim[6 * row : 6 * row + 6, row] for row in range(sim.shape[1])])
    for ties in ("positive", "mean", "negative"):
        assert rcad_ranks(sim, ties=ties).tolist() == rcad_ranks(own, ties=ties).tolist()


def test_a_constant_is_always_right_only_where_ties_are_for_free() -> None:
    same = torch.zeros(10, 6)
    recalls = {ties: rcad_metrics(rcad_ranks(same, ties=ties))["R@1"] for ties in ("positive", "mean", "negative")}
    assert recalls == {"positive": 100, "mean": 0, "negative": 0}
    assert rcad_metrics(rcad_ranks(same, ties="mean"))["meanR"] == 3.5


def test_captions_that_are_not_there_do_not_rank() -> None:
    scores = torch.tensor([[1.0, 2.0, 1.0, 9.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert [float(ranks_of_first(scores, mask, ties)) for ties in ("positive", "mean", "negative")] == [2, 2.5, 3]


def test_shapes_that_are_no_groups_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(12, 3\): expected"):
        rcad_ranks(torch.zeros(12, 3))
    with pytest.raises(ValueError, match="ties"):
        rcad_ranks(torch.zeros(3, 6), ties="free")


def test_log_odds_order_as_the_softmax_over_rows_does_and_do_not_saturate(golden) -> None:
    given = golden("rcad")
    captions, rows = (F.normalize(given[name].double(), dim=1) for name in ("text", "video"))
    owner = torch.arange(len(rows)).repeat_interleave(6)
    odds = caption_log_odds(rows, captions, owner, 5.0)
    p = (5.0 * captions @ rows.T).softmax(dim=1)[torch.arange(len(owner)), owner]
    torch.testing.assert_close(odds, (p / (1 - p)).log())
    hot = caption_log_odds(rows.float(), captions.float(), owner, 100.0)
    exact = caption_log_odds(rows, captions, owner, 100.0)
    assert hot.unique().numel() == len(hot)
    assert rcad_ranks(hot.view(-1, 6)).tolist() == rcad_ranks(exact.view(-1, 6)).tolist()


# --- the task ---

ACTIONS = ("runs", "sits", "jumps")
ANIMALS = ("cat", "dog", "cow")


class Seeing:
    """Embeds a picture as what its colour says of animal and action, and a caption as what its words say."""

    modalities = ("image", "text")
    logit_scale = 10.0

    def __init__(self, actions: bool, corpus=None) -> None:
        self.actions = actions

    def vector(self, animal: int, action: int) -> torch.Tensor:
        found = torch.zeros(6)
        found[animal] = 1
        found[3 + action] = 0.5 * self.actions
        return F.normalize(found, dim=0)

    def embed(self, *, texts):
        words = [text.split() for text in texts]
        return torch.stack([self.vector(ANIMALS.index(said[1]), ACTIONS.index(said[2])) for said in words])

    def embed_corpus(self, corpus, modality):
        if modality == "text":
            return self.embed(texts=[texts[0] for texts in corpus.texts()])
        red = [corpus.sample(row)["image"].getpixel((0, 0)) for row in range(len(corpus))]
        return torch.stack([self.vector(one[0] // 80, one[1] // 80) for one in red])

    def once(self, corpus, name, compute):
        return compute()

    def can(self, kind) -> bool:
        return False


def rows_of(folder, count: int = 36, given_away: bool = False, several: bool = False):
    random = np.random.default_rng(0)
    lines = []
    for row in range(count):
        animal, action = random.integers(3, size=2)
        Image.new("RGB", (4, 4), (int(80 * animal), int(80 * action), 0)).save(folder / f"{row}.png")
        true = f"a {ANIMALS[animal]} {ACTIONS[action]}"
        others = [f"a {ANIMALS[animal]} {other}" for other in ACTIONS if other != ACTIONS[action]]
        kinds = ["action"] * len(others)
        if row % 2:
            others.append(f"a {ANIMALS[(animal + 1) % 3]} {ACTIONS[action]}")
            kinds.append("object")
        if given_away:
            others, kinds = [f"a {ANIMALS[animal]} runs"], ["action"]
            true = f"a {ANIMALS[animal]} sits"
        line = {"image": f"{row}.png", "text": [true, "another"] if several else true}
        lines.append(line | {"counterfactuals": others, "counterfactual_kind": kinds})
    lines += [{"image": "0.png", "text": "a cat runs", "counterfactuals": [], "counterfactual_kind": []}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns = {"counterfactuals": "counterfactuals", "counterfactual_kind": "counterfactual_kind"}
    test = open_corpus(folder / "rows.jsonl", columns=columns, quiet=True)
    nothing = test.select([])
    return Prepared(nothing, test, nothing, Splits({}))


def measured(model, rows, **options):
    task = get_task("counterfactuals")
    task.check(model, rows)
    return {metric.name: metric for metric in task.run(model, rows, parse_options("counterfactuals", options))}


def test_a_model_that_sees_actions_is_right_and_one_that_does_not_guesses(tmp_path) -> None:
    rows = rows_of(tmp_path)
    seeing, blind = measured(Seeing(True), rows), measured(Seeing(False), rows)
    assert seeing["R@1"].value == 100
    assert seeing["R@1"].n == 36  # the row without altered captions is not scored
    assert seeing["R@1"].chance == pytest.approx(100 * (1 / 3 + 1 / 4) / 2)
    assert blind["R@1"].value == 0
    assert blind["tied rows"].value == 100
    assert measured(Seeing(False), rows, ties="positive")["R@1"].value == 100
    assert blind["mean rank"].value == 2
    assert seeing["median rank"].chance is None  # groups of two sizes


def test_sensitivity_says_what_is_seen_of_each_kind_of_change(tmp_path) -> None:
    found = measured(Seeing(True), rows_of(tmp_path))
    assert found["sensitivity to action"].value == pytest.approx(-20, abs=0.1)
    assert found["sensitivity to object"].value == pytest.approx(-80, abs=0.1)
    assert found["sensitivity to object"].n == 18
    assert found["text distance, object"].value == pytest.approx(80, abs=0.1)
    unseen = measured(Seeing(False), rows_of(tmp_path))
    assert unseen["sensitivity to action"].value == 0


def test_log_odds_rank_as_well(tmp_path) -> None:
    assert measured(Seeing(True), rows_of(tmp_path), prior=True)["R@1"].value == 100


def test_captions_that_give_themselves_away_are_warned_of(tmp_path, capsys) -> None:
    fair = measured(Seeing(True), rows_of(tmp_path))
    assert fair["blind R@1"].low < fair["blind R@1"].chance + 5
    assert "without looking" not in capsys.readouterr().err
    given_away = measured(Seeing(True), rows_of(tmp_path, given_away=True))
    assert given_away["blind R@1"].value == 100
    assert given_away["blind R@1"].chance == 50
    assert "without looking" in capsys.readouterr().err


def test_of_few_rows_or_on_request_nothing_is_said_of_captions_alone(tmp_path) -> None:
    assert "blind R@1" not in measured(Seeing(True), rows_of(tmp_path, count=12))
    assert "blind R@1" not in measured(Seeing(True), rows_of(tmp_path), blind=False)


def test_the_report_shows_captions_in_the_order_of_the_model(tmp_path) -> None:
    rows = rows_of(tmp_path)
    (section,) = get_task("counterfactuals").shows(Seeing(True), rows, parse_options("counterfactuals"))
    assert len(section.examples) == 6
    assert all(example.hits[0].correct for example in section.examples)
    assert {hit.relation for example in section.examples for hit in example.hits} >= {"another action"}


def test_rows_without_altered_captions_are_refused_with_a_remedy(tmp_path) -> None:
    rows = rows_of(tmp_path)
    with pytest.raises(DataError, match="accord data counterfactuals"):
        measured(Seeing(True), Prepared(rows.train, rows.test.select([36]), rows.val, rows.splits))
    plain = open_corpus(tmp_path / "rows.jsonl", quiet=True)
    with pytest.raises(ConfigError, match="--counterfactuals COL"):
        measured(Seeing(True), Prepared(plain.select([]), plain, plain.select([]), Splits({})))
