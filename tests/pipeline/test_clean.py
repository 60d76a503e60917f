"""``clean`` and ``apply_decisions``, as a user calls them."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from accord import pipeline
from accord.cleaning.table import read_clean
from accord.data.corpus import open_corpus
from accord.errors import ConfigError, DataError, StorageError
from accord.searching.rows import vector_column

COLUMNS = ["id", "path", "captions", "label", "score", "doubted", "reason", "kinds"]
COLUMNS += ["proposed_label", "proposed_caption", "nearest_id", "nearest_path", "nearest_caption"]
EVIL = '<script src="https://evil.example/x.js">alert(1)</script> & "quoted"'


def embedded(path: Path, wrong: int = 20, count: int = 200, label: bool = True) -> Path:
    """A file of embeddings of which the first captions changed places, and of which some labels are wrong."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, count)
    shared = random.standard_normal((count, 8)) + 1.5 * random.standard_normal((4, 8))[kinds]
    turn, order, given = random.standard_normal((8, 24)), np.arange(count), kinds.copy()
    order[:wrong] = np.roll(order[:wrong], 1)
    given[100 : 100 + wrong] = (given[100 : 100 + wrong] + 1) % 4
    sides = [shared @ turn + 0.3 * random.standard_normal((count, 24)) for _ in range(2)]
    names = np.array(["ash", "birch", "cedar", "elm"])
    texts = [EVIL if place == 0 else f"caption {place}" for place in range(count)]
    columns = {
        "id": pa.array(np.arange(count) + 1000),
        "text": pa.array([texts[place] for place in order]),
        **({"label": pa.array(names[given])} if label else {}),
        "image_vector": vector_column(F.normalize(torch.from_numpy(sides[0]).float(), dim=1)),
        "text_vector": vector_column(F.normalize(torch.from_numpy(sides[1][order]).float(), dim=1)),
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pipeline.Cleaned]:
    folder = tmp_path_factory.mktemp("clean")
    path = embedded(folder / "vectors.parquet")
    return path, pipeline.clean(path, out=folder / "out")


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


# ---- what is written -------------------------------------------------------------------------------------------------


def test_a_file_of_embeddings_is_judged_by_pairs_and_labels(judged) -> None:
    _, found = judged
    rows = {row["id"]: row for row in found.table.to_pylist()}
    assert found.table.column_names == COLUMNS
    assert pq.read_table(found.path / "clean.parquet").equals(found.table)
    assert set(found.shares) == {"image and text", "labels"}
    doubted = {number for number, row in rows.items() if row["doubted"]}
    swapped, relabelled = set(range(1000, 1020)), set(range(1100, 1120))
    assert len(doubted & swapped) > 12
    assert len(doubted & relabelled) > 15
    assert len(doubted - swapped - relabelled) < 20
    assert all(row["reason"] and row["nearest_id"] for row in rows.values() if row["doubted"])
    assert all(row["score"] >= 0.5 for row in rows.values() if not row["doubted"])
    assert not any(row["reason"] for row in rows.values() if not row["doubted"])


def test_proposals_are_what_was_right(judged) -> None:
    _, found = judged
    rows = found.table.to_pylist()
    right = np.array(["ash", "birch", "cedar", "elm"])
    labels = [row for row in rows[100:120] if row["proposed_label"]]
    back = [right[list(right).index(row["label"]) - 1] == row["proposed_label"] for row in labels]
    assert len(labels) > 5
    assert np.mean(back) > 0.8
    captions = [(place, row["proposed_caption"]) for place, row in enumerate(rows[:20]) if row["proposed_caption"]]
    own = [text == (EVIL if place == 0 else f"caption {place}") for place, text in captions]
    assert captions
    assert np.mean(own) > 0.5


def test_reasons_say_what_was_seen(judged) -> None:
    _, found = judged
    rows = found.table.to_pylist()
    pairs = [row["reason"] for row in rows[:20] if row["doubted"]]
    assert any(re.search(r"its caption fits \d+ of 199 other pictures better", reason) for reason in pairs)
    assert any("pictures like it are called “caption" in reason for reason in pairs)
    labels = [row["reason"] for row in rows[100:120] if row["doubted"]]
    assert any(re.search(r"\d+ of \d+ rows like it are labelled \w+; most speaks for \w+", one) for one in labels)


def test_the_page_shows_every_doubted_row_and_asks_nothing_of_the_network(judged) -> None:
    _, found = judged
    page = found.review.read_text(encoding="utf-8")
    shown = {int(number) for number in re.findall(r'data-row="(\d+)"', page)}
    assert shown == {row["id"] for row in found.table.to_pylist() if row["doubted"]}
    assert "<script src" not in page
    assert EVIL not in page
    assert "&lt;script src=" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert not re.findall(r"url\(|@import|fetch\(", page)
    assert f'data-fingerprint="{read_clean(found.path)[1]["fingerprint"]}"' in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_the_page_can_be_kept_short(tmp_path) -> None:
    found = pipeline.clean(embedded(tmp_path / "v.parquet"), out=tmp_path / "out", review=3)
    page = found.review.read_text(encoding="utf-8")
    assert page.count("data-row=") == 3
    assert "the 3 surest doubts are below" in page


def test_what_is_written_is_the_same_twice(judged, tmp_path) -> None:
    path, found = judged
    assert pipeline.clean(path, out=tmp_path / "again").table.equals(found.table)


# ---- pictures, runs --------------------------------------------------------------------------------------------------


def swapped(shapes: Path, folder: Path) -> Path:
    """The shapes with four captions of red squares said of blue circles and the other way round; one file broken."""
    folder.mkdir()
    rows = list(csv.DictReader((shapes / "metadata.csv").open()))
    for row in rows:
        (folder / row["file_name"]).write_bytes((shapes / row["file_name"]).read_bytes())
    red = [row for row in rows if row["caption"] == "a red square"][:2]
    blue = [row for row in rows if row["caption"] == "a blue circle"][:2]
    for one, other in zip(red, blue, strict=True):
        one["caption"], other["caption"] = other["caption"], one["caption"]
    (folder / rows[-1]["file_name"]).write_bytes(b"no picture")
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_folder_is_judged_by_a_run_and_stays_as_it_is(shapes, trained, tmp_path, capsys) -> None:
    folder = swapped(shapes, tmp_path / "photos")
    before = bytes_of(folder)
    found = pipeline.clean(folder, trained.path, out=tmp_path / "out")
    worst = sorted(found.table.to_pylist(), key=lambda row: row["score"])[:6]
    captions = {row["caption"] for row in csv.DictReader((folder / "metadata.csv").open())}
    assert sum(row["captions"][0] in ("a red square", "a blue circle") for row in worst) >= 4
    assert len(found.table) == 47
    assert "1 of 48 rows left out" in capsys.readouterr().err
    assert all(row["proposed_caption"] in {None, *captions} for row in worst)
    assert found.review.read_text(encoding="utf-8").count("data:image/webp") >= found.doubted
    done = pipeline.apply_decisions(found.path, out=tmp_path / "new" / "cleaned.csv")
    assert bytes_of(folder) == before
    again = open_corpus(done.path, max_bad=0.5, quiet=True)
    assert len(again) == done.rows - 1  # the broken one is there still, and left out again
    assert done.rows == 48 - done.dropped


def test_the_model_that_ships_is_the_default_for_pictures(shapes, tmp_path, capsys) -> None:
    found = pipeline.clean(shapes, out=tmp_path / "out")
    assert len(found.table) == 48
    assert "judged by house" in capsys.readouterr().err


def test_a_run_that_holds_verdicts_uses_them(tmp_path, shapes, monkeypatch) -> None:
    from accord.methods.abilities import Verdicts
    from accord.methods.noisy.baselines import CrossEntropy
    from accord.pipeline import aspects, doubted

    class Judge:
        @staticmethod
        def of(method: object) -> object:
            return method

    verdicts = Verdicts(kept=torch.arange(48) != 3, score=torch.where(torch.arange(48) == 3, 0.1, 0.9))
    monkeypatch.setattr(CrossEntropy, "verdicts", lambda self: verdicts, raising=False)
    for module in (aspects, doubted):
        monkeypatch.setattr(module, "JudgesRows", Judge)
    encoder = {"image": {"name": "tiny_convnet", "options": {"size": 32}}}
    settings = {"data.split.test": 0.0, "training.accelerator": "cpu"}
    run = pipeline.train(
        shapes, "cross_entropy", encoders=encoder, epochs=1, out=tmp_path / "run", settings=settings, progress=False
    )
    found = pipeline.clean(shapes, run.path, out=tmp_path / "out")
    rows = found.table.to_pylist()
    assert [row["id"] for row in rows if row["doubted"]] == [3]
    assert rows[3]["reason"] == "cross_entropy: fits none of the classes"
    other = swapped(shapes, tmp_path / "other")
    elsewhere = pipeline.clean(other, run.path, out=tmp_path / "else").table.to_pylist()
    assert not any("cross_entropy" in row["reason"] for row in elsewhere)


def test_a_method_that_judges_rows_is_trained_first(shapes, tmp_path, capsys) -> None:
    settings = {
        "encoders.image": {"name": "tiny_convnet", "options": {"size": 32}},
        "encoders.text": {"name": "tiny_text", "options": {"width": 32, "depth": 1, "heads": 2}, "freeze": "all"},
        "training.batch_size": 24,
        "method.vanilla_epochs": 1,
        "method.prototype_epochs": 3,
        "method.init_epoch": 0,
        "method.clean_epoch": 1,
        "method.freeze_epochs": 0,
        "method.finetune_epochs": 0,
        "training.accelerator": "cpu",
    }
    folder = swapped(shapes, tmp_path / "photos")
    found = pipeline.clean(
        folder, method="capro", out=tmp_path / "out", settings=settings, device="cpu", progress=False
    )
    assert len(found.table) == 47
    assert any("capro" in what for what in found.shares)
    captions = {row["caption"] for row in csv.DictReader((folder / "metadata.csv").open())}
    assert found.table["captions"][0].as_py()[0] in captions  # as the source has it, not as the method reads it
    capsys.readouterr()
    again = pipeline.clean(folder, tmp_path / "out" / "model", out=tmp_path / "again")
    assert any("capro" in what for what in again.shares)
    assert capsys.readouterr().err.count("rows left out") == 1


# ---- the corrected table ---------------------------------------------------------------------------------------------


def decided(folder: Path, decisions: dict[int, str], place: Path) -> Path:
    fingerprint = read_clean(folder)[1]["fingerprint"]
    place.write_text(json.dumps({"fingerprint": fingerprint, "decisions": decisions}))
    return place


def test_decisions_are_carried_out_and_nothing_else(judged, tmp_path) -> None:
    path, found = judged
    before = path.read_bytes()
    rows = [row for row in found.table.to_pylist() if row["doubted"]]
    corrected = next(row for row in rows if row["proposed_label"])
    caption = next(row for row in rows if row["proposed_caption"] and row["id"] != corrected["id"])
    plain = next((row for row in rows if not row["proposed_label"] and not row["proposed_caption"]), None)
    kept, gone = (row for row in rows[-2:])
    chosen = {corrected["id"]: "accept", caption["id"]: "accept", kept["id"]: "reject", gone["id"]: "drop"}
    chosen |= {plain["id"]: "accept"} if plain else {}
    decisions = decided(found.path, {int(row): word for row, word in chosen.items()}, tmp_path / "decisions.json")
    done = pipeline.apply_decisions(found.path, decisions, out=tmp_path / "cleaned.parquet")
    new = {row["id"]: row for row in pq.read_table(done.path).to_pylist()}
    assert path.read_bytes() == before
    assert new[corrected["id"]]["label"] == corrected["proposed_label"]
    assert new[caption["id"]]["text"] == caption["proposed_caption"]
    assert gone["id"] not in new
    assert plain is None or plain["id"] not in new
    old = {row["id"]: row for row in pq.read_table(path).to_pylist()}
    untouched = set(old) - {number for number, word in chosen.items() if word != "reject"}
    assert all(new[number]["text"] == old[number]["text"] for number in untouched)
    assert all(new[number]["label"] == old[number]["label"] for number in untouched)
    assert "image_vector" not in new[corrected["id"]]  # those of the text are no longer its caption's
    assert (done.rows, done.undecided) == (len(new), len(rows) - len(chosen))


def test_without_decisions_every_proposal_is_taken(judged, tmp_path) -> None:
    _, found = judged
    done = pipeline.apply_decisions(found.path, out=tmp_path / "cleaned.csv")
    rows = [row for row in found.table.to_pylist() if row["doubted"]]
    proposed = sum(bool(row["proposed_label"] or row["proposed_caption"]) for row in rows)
    assert (done.corrected, done.dropped, done.undecided) == (proposed, len(rows) - proposed, 0)
    with done.path.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 200 - done.dropped


def test_what_a_person_says_takes_the_place_of_the_proposal(judged, tmp_path) -> None:
    path, found = judged
    rows = [row["id"] for row in found.table.to_pylist() if row["doubted"] and row["proposed_label"]]
    one, other, third = rows[:3]
    said = {one: {"label": "oak"}, other: {"caption": "a tree"}, third: {"label": "yew", "caption": "another"}}
    done = pipeline.apply_decisions(found.path, said, out=tmp_path / "cleaned.parquet")
    old = {row["id"]: row for row in pq.read_table(path).to_pylist()}
    new = {row["id"]: row for row in pq.read_table(done.path).to_pylist()}
    assert (new[one]["label"], new[one]["text"]) == ("oak", old[one]["text"])
    assert (new[other]["label"], new[other]["text"]) == (old[other]["label"], "a tree")
    assert (new[third]["label"], new[third]["text"]) == ("yew", "another")
    assert (done.corrected, done.dropped) == (3, 0)
    for wrong in ({}, {"label": ""}, {"colour": "red"}, "keep", 7):
        with pytest.raises(ConfigError, match=f"on row {one}"):
            pipeline.apply_decisions(found.path, {one: wrong}, out=tmp_path / "x.parquet")


def test_rejecting_everything_changes_no_row(judged, tmp_path) -> None:
    path, found = judged
    chosen = {row["id"]: "reject" for row in found.table.to_pylist() if row["doubted"]}
    done = pipeline.apply_decisions(found.path, chosen, out=tmp_path / "same.parquet")
    names = ["id", "text", "label"]
    assert pq.read_table(done.path).select(names).equals(pq.read_table(path).select(names))


def test_a_csv_in_another_folder_finds_its_files_from_the_new_table(shapes, trained, tmp_path) -> None:
    table = tmp_path / "lists" / "photos.csv"
    table.parent.mkdir()
    rows = list(csv.DictReader((shapes / "metadata.csv").open()))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["file", "caption"], *([str(shapes / r["file_name"]), r["caption"]] for r in rows)])
    found = pipeline.clean(table, trained.path, out=tmp_path / "out")
    done = pipeline.apply_decisions(found.path, {}, out=tmp_path / "deep" / "er" / "cleaned.csv")
    assert len(open_corpus(done.path, quiet=True)) == 48


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_data_without_pairs_and_labels_are_refused(tmp_path) -> None:
    path = tmp_path / "bare.parquet"
    pq.write_table(pa.table({"embedding": vector_column(torch.randn(20, 4))}), path)
    with pytest.raises(DataError, match="there are no pairs and no labels to judge"):
        pipeline.clean(path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_embeddings_that_know_nothing_say_so(tmp_path) -> None:
    path = tmp_path / "random.parquet"
    generator = torch.Generator().manual_seed(0)
    sides = [F.normalize(torch.randn(100, 8, generator=generator), dim=1) for _ in range(2)]
    table = {"image": vector_column(sides[0]), "text_vector": vector_column(sides[1])}
    pq.write_table(pa.table({**table, "text": [f"t {place}" for place in range(100)]}), path)
    found = pipeline.clean(path, out=tmp_path / "out")
    assert found.doubted == 0
    assert "nothing tells right ones from wrong" in " ".join(found.sentences())
    assert "No row is doubted" in found.review.read_text(encoding="utf-8")
    assert pipeline.apply_decisions(found.path, out=tmp_path / "all.parquet").rows == 100


def test_a_folder_that_is_none_of_ours_is_refused_and_so_are_foreign_decisions(judged, tmp_path) -> None:
    path, found = judged
    with pytest.raises(ConfigError, match=r"holds no clean\.parquet"):
        pipeline.apply_decisions(tmp_path, out=tmp_path / "x.csv")
    foreign = tmp_path / "decisions.json"
    foreign.write_text(json.dumps({"fingerprint": "abc", "decisions": {"1000": "accept"}}))
    with pytest.raises(ConfigError, match="made on another folder"):
        pipeline.apply_decisions(found.path, foreign, out=tmp_path / "x.csv")
    foreign.write_text("{}")
    with pytest.raises(StorageError, match="damaged"):
        pipeline.apply_decisions(found.path, foreign, out=tmp_path / "x.csv")
    clean = next(row["id"] for row in found.table.to_pylist() if not row["doubted"])
    with pytest.raises(ConfigError, match="only doubted rows"):
        pipeline.apply_decisions(found.path, {clean: "drop"}, out=tmp_path / "x.csv")
    with pytest.raises(ConfigError, match=r"\.parquet or \.csv"):
        pipeline.apply_decisions(found.path, out=tmp_path / "x.txt")
    with pytest.raises(StorageError, match="is there already"):
        pipeline.apply_decisions(found.path, out=path)


def test_a_source_that_has_changed_is_refused(tmp_path) -> None:
    path = embedded(tmp_path / "v.parquet")
    found = pipeline.clean(path, out=tmp_path / "out")
    embedded(path, wrong=10)
    with pytest.raises(DataError, match="has changed since"):
        pipeline.apply_decisions(found.path, out=tmp_path / "x.csv")


def test_what_cannot_be_meant_is_refused_before_anything_is_read(tmp_path, shapes) -> None:
    with pytest.raises(ConfigError, match="give one"):
        pipeline.clean(shapes, "house", method="capro", out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"methods that do: .*capro"):
        pipeline.clean(shapes, method="clip", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="settings are those of a training"):
        pipeline.clean(shapes, settings={"training.epochs": 1}, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="is the data folder"):
        pipeline.clean(shapes, out=shapes)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"it holds notes\.txt"):
        pipeline.clean(shapes, out=tmp_path / "full")
