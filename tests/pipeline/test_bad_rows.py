"""What cannot be read at inference: an error, or left out and said; never replaced, and no run dies of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from small import small_run

import accord
from accord import pipeline
from accord.data.corpus import open_corpus
from accord.data.splits import Splits
from accord.encoders import build_encoder
from accord.errors import ConfigError, DataError
from accord.training.fit import fit


@pytest.fixture
def copied(shapes, tmp_path):
    """The shapes in a folder of their own, number 5 of which is no picture."""
    folder = shutil.copytree(shapes, tmp_path / "copied")
    (folder / "05.png").write_bytes(b"no picture")
    return folder


def said(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_an_item_that_cannot_be_read_is_named_and_gets_no_answer(trained, shapes, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    given = [str(shapes / "00.png"), broken]
    with pytest.raises(DataError, match=r"images\[1\] \(.*broken\.png\) cannot be read: not a picture.*leave it out"):
        trained.model.embed(images=given)
    with pytest.raises(DataError, match=r"images\[0\] \(none\.png\) cannot be read: missing file"):
        trained.model.embed(images=["none.png"])


def test_an_item_that_cannot_be_read_is_named_where_features_are_stored(trained, shapes, monkeypatch):
    model = accord.load(trained.path, "cpu")
    model.method.encoders["image"].freeze("all")
    monkeypatch.setattr("accord.training.model._WORTH_STORING", 1)
    with pytest.raises(DataError, match=r"images\[1\] \(none\.png\) cannot be read: missing file"):
        model.embed(images=[str(shapes / "00.png"), "none.png"])


def test_one_string_is_no_list(trained, shapes):
    model = trained.model
    with pytest.raises(ConfigError, match=r"texts='one string': expected a list, write texts=\['one string'\]"):
        model.embed(texts="one string")
    with pytest.raises(ConfigError, match=r"images='.*': expected a list, write images=\["):
        model.embed(images=shapes / "00.png")
    with pytest.raises(ConfigError, match=r"expected a list, write images="):
        model.caption("cat.png")
    with pytest.raises(DataError, match="item 1 is a NoneType; expected a string"):
        model.embed(texts=["a cat", None])
    with pytest.raises(ConfigError, match=r"tasks='knn': expected a list"):
        pipeline.evaluate(trained.path, tasks="knn")
    with pytest.raises(ConfigError, match=r"classes='dog': expected a list"):
        pipeline.zero_shot(trained.path, [shapes / "00.png"], "dog")
    with pytest.raises(ConfigError, match=r"plus='snow': expected a list"):
        pipeline.search(trained.path, "a cat", plus="snow")
    with pytest.raises(ConfigError, match=r"objective_add='contrastive_gap': expected a list"):
        pipeline.train(config=small_run(shapes), objective_add="contrastive_gap")


def test_zero_shot_leaves_out_a_bad_file_and_says_which(trained, copied, capsys):
    found = pipeline.zero_shot(trained.path, copied, ["a red square", "a blue square"])
    assert len(found) == 47
    assert copied / "05.png" not in [item.file for item in found]
    assert said(capsys) == [f"{copied / '05.png'} left out: not a picture: no format that Pillow knows"]
    alone = pipeline.zero_shot(trained.path, [copied / "06.png"], ["a red square", "a blue square"])
    assert alone[0].classes[0][0] == next(item for item in found if item.file == alone[0].file).classes[0][0]
    with pytest.raises(DataError, match=r"none of 1 files can be read: .*05\.png is the first \(not a picture"):
        pipeline.zero_shot(trained.path, copied / "05.png", ["red", "blue"])


LEFT_OUT = r"copied: 1 of 48 rows left out, most often: not a picture; listed in (.+\.jsonl)"


def test_evaluate_embed_search_and_probe_count_and_list_what_they_leave_out(trained, copied, tmp_path, capsys):
    pipeline.evaluate(trained.path, copied, tasks=["knn"])
    written = pipeline.embed(trained.path, copied, tmp_path / "vectors.parquet")
    pipeline.search(trained.path, "a red square", copied)
    pipeline.probe(trained.path, copied)
    lines = [line for line in said(capsys) if "left out" in line]
    assert len(lines) == 4
    for line in lines:
        listing = re.fullmatch(LEFT_OUT, line)[1]
        assert [json.loads(entry)["row"] for entry in Path(listing).read_text().splitlines()] == [5]
    ids = pq.read_table(written)["id"].to_pylist()
    assert ids == [row for row in range(48) if row != 5]


def test_no_row_is_left_out_over_a_target_that_is_not_read(trained, shapes, tmp_path, capsys):
    folder = shutil.copytree(shapes, tmp_path / "masked")
    header, *rows = (folder / "metadata.csv").read_text().splitlines()
    written = [f"{header},mask", *(f"{row},{'gone.png' if number == 5 else ''}" for number, row in enumerate(rows))]
    (folder / "metadata.csv").write_text("\n".join(written))
    pipeline.evaluate(trained.path, folder, tasks=["knn"])
    vectors = pipeline.embed(trained.path, folder, tmp_path / "vectors.parquet")
    pipeline.search(trained.path, "a red square", folder)
    pipeline.probe(trained.path, folder)
    assert "left out" not in capsys.readouterr().err
    assert pq.read_table(vectors).num_rows == 48
    pipeline.embed(trained.path, folder, tmp_path / "vectors.parquet", columns={"mask": "mask"})
    assert "1 of 48 rows left out, most often: missing file" in said(capsys)[0]


def test_a_run_in_the_place_of_data_is_told_apart(trained):
    with pytest.raises(
        ConfigError, match=rf"{trained.path} is a run, .*: go on with it by accord train --resume --out"
    ):
        pipeline.train(trained.path, resume=True)


def test_a_row_that_goes_bad_while_it_is_embedded_is_left_out_as_well(trained, copied, tmp_path, capsys, monkeypatch):
    opened = pipeline.rows.open_corpus

    def and_lose_one(*args, **options):
        corpus = opened(*args, **options)
        (copied / "07.png").unlink()
        return corpus

    monkeypatch.setattr("accord.pipeline.rows.open_corpus", and_lose_one)
    table = pq.read_table(pipeline.embed(trained.path, copied, tmp_path / "vectors.parquet"))
    assert table["id"].to_pylist() == [row for row in range(48) if row not in (5, 7)]
    assert "copied has changed: 2 of 48 rows left out" in said(capsys)[-1]
    monkeypatch.undo()
    whole = pipeline.load(trained.path, "cpu").embed_corpus(open_corpus(copied, quiet=True), "image")
    torch.testing.assert_close(torch.tensor(table["image"].to_pylist()), whole, atol=1e-5, rtol=0)


def test_the_index_takes_no_thumbnail_of_a_row_that_goes_bad(trained, copied, capsys, monkeypatch):
    embed = pipeline.Model.embed_corpus

    def and_lose_one(self, corpus, modality, **options):
        vectors = embed(self, corpus, modality, **options)
        (copied / "07.png").unlink(missing_ok=True)
        return vectors

    monkeypatch.setattr(pipeline.Model, "embed_corpus", and_lose_one)
    hits = pipeline.search(trained.path, "a red square", copied, k=48)
    assert sorted(hit.row for hit in hits) == [row for row in range(48) if row not in (5, 7)]
    assert "copied has changed: 2 of 48 rows left out" in capsys.readouterr().err


def test_rows_that_go_bad_during_training_do_not_cost_the_evaluation(copied, tmp_path, capsys, monkeypatch):
    def and_lose_some(*args, **options):
        fitted = fit(*args, **options)
        splits = Splits.load(tmp_path / "run" / "splits.json")
        for row in (splits.rows["test"][0], splits.rows["train"][0]):
            (copied / f"{row:02}.png").unlink()
        return fitted

    monkeypatch.setattr("accord.training.fit.fit", and_lose_some)
    config = small_run(copied, evaluate=["retrieval", "linear_probe"])
    config["training"]["epochs"] = 2
    run = pipeline.train(config=config, out=tmp_path / "run", progress=False)
    assert {metric.name.split(":")[0] for metric in run.metrics} == {"retrieval", "linear_probe"}
    assert (run.path / "report.html").is_file()
    assert "copied has changed: 3 of 48 rows left out" in capsys.readouterr().err
    assert len((run.path / "quarantine.jsonl").read_text().splitlines()) == 3


def test_a_run_is_evaluated_on_the_rows_that_were_held_out_though_some_have_gone(trained, shapes, tmp_path, capsys):
    run = shutil.copytree(trained.path, tmp_path / "run")
    moved = shutil.copytree(shapes, tmp_path / "shapes")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(shapes), str(moved)))
    held = Splits.load(run / "splits.json").rows["test"].tolist()
    before = Splits.load(run / "splits.json").rows["train"].tolist()
    (moved / f"{held[0]:02}.png").write_bytes(b"")
    (moved / f"{before[0]:02}.png").write_bytes(b"")
    prepared = pipeline.rows.held_out(pipeline.load(run, "cpu"))
    assert prepared.test.ids.tolist() == held[1:]
    assert prepared.train.ids.tolist() == before[1:]
    assert "shapes: 2 of 48 rows left out, most often: zero bytes; listed in" in said(capsys)[-1]


def test_a_single_row_goes_bad_but_half_of_them_is_an_error(trained, copied, tmp_path, monkeypatch):
    opened = pipeline.rows.open_corpus

    def and_lose_many(*args, **options):
        corpus = opened(*args, **options)
        for row in range(20, 48):
            (copied / f"{row:02}.png").unlink()
        return corpus

    monkeypatch.setattr("accord.pipeline.rows.open_corpus", and_lose_many)
    with pytest.raises(DataError, match=r"29 of 48 rows .* cannot be used, most often: missing file; the list is in"):
        pipeline.embed(trained.path, copied, tmp_path / "vectors.parquet")
    assert not (tmp_path / "vectors.parquet").exists()


def test_columns_without_data_are_refused(trained):
    for verb in (pipeline.evaluate, pipeline.probe):
        with pytest.raises(ConfigError, match=r"columns \(text\) are those of other data: name DATA too"):
            verb(trained.path, columns={"text": "title"})
    with pytest.raises(ConfigError, match="name DATA too"):
        pipeline.search(trained.path, "a cat", columns={"text": "title"})


def test_other_data_are_read_by_the_columns_that_are_named(trained, shapes, tmp_path):
    rows = [line.split(",") for line in (shapes / "metadata.csv").read_text().splitlines()[1:]]
    table = tmp_path / "other.csv"
    lines = ["a,b,c", *(f"{shapes / name},{caption},{label}" for name, caption, label, _ in rows)]
    table.write_text("\n".join(lines))
    columns = {"image": "a", "text": "b", "label": "c"}
    by_name = pipeline.evaluate(trained.path, table, ["zero_shot"], columns=columns)
    assert by_name[0].value == pipeline.evaluate(trained.path, shapes, ["zero_shot"])[0].value
    written = pq.read_table(pipeline.embed(trained.path, table, tmp_path / "v.parquet", columns=columns))
    assert written["label"].to_pylist()[:3] == ["red", "green", "blue"]
    hits = pipeline.search(trained.path, "a green circle", table, k=3, columns={"image": "a", "text": ["c"]})
    assert {hit.caption for hit in hits} <= {"red", "green", "blue"}


def test_a_device_that_is_not_there_is_one_sentence(trained, shapes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for verb in (pipeline.evaluate, pipeline.load, pipeline.probe):
        with pytest.raises(ConfigError, match="--device cuda: PyTorch finds no cuda device on this machine"):
            verb(trained.path, device="cuda")


def test_a_search_by_words_builds_the_network_for_pictures_only_where_they_have_to_be_embedded(
    trained, copied, monkeypatch
):
    expected, built = pipeline.search(trained.path, "a green circle", k=4), []

    def noted(modality, *args, **options):
        built.append(modality)
        return build_encoder(modality, *args, **options)

    monkeypatch.setattr("accord.training.artifact.build_encoder", noted)
    assert pipeline.search(trained.path, "a green circle", k=4) == expected
    assert built == ["text"]
    pipeline.search(trained.path, "a green circle", copied, k=4)
    assert sorted(built) == ["image", "text", "text", "text"]
    built.clear()
    assert pipeline.search(trained.path, str(copied / "00.png"), copied, k=1)[0].rank == 1
    assert built == ["image"]


def test_a_model_searches(trained, shapes):
    model = accord.load(trained.path)
    found = model.search("a green circle", k=4)
    assert [hit.row for hit in found] == [hit.row for hit in pipeline.search(trained.path, "a green circle", k=4)]
    assert len(trained.model.search("a green circle", shapes, k=2)) == 2
    with pytest.raises(ConfigError, match="the model has no folder to keep an index in"):
        pipeline.Model(model.method, config=model.config).search("a green circle")
