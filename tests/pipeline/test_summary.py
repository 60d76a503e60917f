"""What the report of a run says, and the lists of rows beside it."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import stat
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small import small_run

from accord import pipeline
from accord.data.corpus import corpus_from_items
from accord.evaluation.examples import captions_found, rows_found
from accord.evaluation.retrieval import distinct_texts, rank_queries
from accord.evaluation.tasks import get_task
from accord.methods.abilities import JudgesRows, Verdicts
from accord.pipeline.doubted import doubted_rows, write_doubted
from accord.pipeline.examples import pictured
from accord.pipeline.run import held_out
from accord.pipeline.summary import next_steps, summarise
from accord.report.html import render_report

CAPRO = {
    "name": "capro",
    "dim": 8,
    "queue_size": 32,
    "few_shot": 2,
    "neighbours": 2,
    "pool": 6,
    "rerank_k1": 4,
    "rerank_k2": 2,
    "vanilla_epochs": 1,
    "prototype_epochs": 3,
    "init_epoch": 0,
    "clean_epoch": 1,
    "finetune_epochs": 1,
    "correct_threshold": 0.34,
}


@pytest.fixture(scope="module")
def cleaned(shapes, tmp_path_factory):
    """A run of a method that doubts rows, on a folder whose name has a blank, with one broken picture."""
    folder = tmp_path_factory.mktemp("doubts")
    data = shutil.copytree(shapes, folder / "my shapes")
    (data / "00.png").write_bytes(b"rubbish")
    run = small_run(data, method=CAPRO)
    run["data"] |= {"corruption": {"kind": "labels", "rate": 0.4}, "columns": {"label": "label", "group": "group"}}
    run["training"] |= {"epochs": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder / "cache")
        return pipeline.train(config=run, out=folder / "my run", progress=False)


@pytest.fixture(scope="module")
def prepared(trained):
    return held_out(trained.model)


def summary_of(run):
    prepared = held_out(run.model)
    return summarise(run.model, prepared, run.metrics, run.path, seconds=1.0)


def retrieval_examples(model, test):
    find = captions_found if "text" in model.modalities else rows_found
    return pictured(find(model, test, "image"), ("image",))


def plain(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_doubted_rows_are_listed_in_a_file_the_most_certain_first(cleaned):
    with (cleaned.path / "doubted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = held_out(cleaned.model).train
    judged = cleaned.model.method.verdicts()
    doubted = ~judged.kept.numpy() | (judged.label.numpy() != train.labels)
    assert sorted(int(row["row"]) for row in rows) == sorted(train.ids[doubted].tolist())
    assert rows
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)
    for row in rows:
        assert row["file"].endswith(f"my shapes/{int(row['row']):02}.png")
        assert row["label"] in train.classes
        assert row["proposed label"] != row["label"]
        assert row["reason"] == ("another label fits better" if row["proposed label"] else "fits none of the classes")
    assert cleaned.doubted == cleaned.path / "doubted.csv"


def test_the_report_names_row_and_file_of_each_doubt_and_links_the_list(cleaned):
    summary = summary_of(cleaned)
    scores = [pair.score for pair in summary.noise.pairs]
    assert scores == sorted(scores)
    page = render_report(summary)
    assert '<a href="doubted.csv">' in page
    for pair in summary.noise.pairs:
        assert re.fullmatch(r"row (\d+) · \d+\.png", pair.where)
        assert pair.where in page


def test_rows_left_out_are_listed_with_file_and_reason(cleaned):
    summary = summary_of(cleaned)
    assert summary.left_out.count == 1
    page = plain(render_report(summary))
    assert "row 0 · 00.png not a picture" in page
    assert "1 row of the data could not be used" in page


def test_pairs_without_classes_are_listed_too(tmp_path, trained, monkeypatch):
    corpus = corpus_from_items("text", ["a cat", "a dog", "a fox"])
    judged = Verdicts(kept=torch.tensor([False, True, False]), score=torch.tensor([0.3, 0.9, 0.1]))
    monkeypatch.setattr(JudgesRows, "of", classmethod(lambda cls, method: SimpleNamespace(verdicts=lambda: judged)))
    assert [(doubt.row, doubt.proposed) for doubt in doubted_rows(trained.model, corpus)] == [(2, ""), (0, "")]
    table = write_doubted(tmp_path, trained.model, corpus).read_text().splitlines()
    assert table[0] == "row,file,text,label,proposed label,score,reason"
    assert table[1] == "2,,a fox,,,0.1,text do not belong together"


def test_a_method_that_judges_no_rows_writes_no_list(trained):
    assert trained.doubted is None
    assert not (trained.path / "doubted.csv").exists()


def test_what_is_marked_as_found_is_what_recall_counts(trained, prepared):
    found = retrieval_examples(trained.model, prepared.test)
    test = prepared.test
    texts, img2txt = distinct_texts(test.texts())
    images = trained.model.embed_corpus(test, "image")
    back = [[row for row, captions in enumerate(img2txt) if number in captions] for number in range(len(texts))]
    ranks = dict(zip(texts, rank_queries((trained.model.embed(texts=texts), images), back).rank, strict=True))
    asked = [example for example in found.examples if example.query.text and not example.query.picture]
    assert asked
    for example in asked:
        marked = [hit.correct for hit in example.hits]
        assert any(marked) == (ranks[example.query.text] <= len(marked))
        if any(marked):
            assert marked.index(True) + 1 == ranks[example.query.text]


def test_the_true_pair_is_told_from_others_with_the_same_caption(trained, prepared):
    found = retrieval_examples(trained.model, prepared.test)
    hits = [hit for example in found.examples for hit in example.hits]
    assert {"its own picture", "same caption", "its own caption"} <= {hit.relation for hit in hits}
    assert all(hit.correct == (hit.relation not in ("", "same class")) for hit in hits)
    assert "counts as a hit in R@K" in found.lead
    assert '<li class="hit own">' in render_report(summary_of(trained))


def test_rows_of_the_same_label_are_no_hits_of_a_caption(trained, prepared):
    hits = [hit for e in retrieval_examples(trained.model, prepared.test).examples for hit in e.hits]
    near = [hit for hit in hits if hit.relation == "same class"]
    assert near
    assert not any(hit.correct for hit in near)


def test_without_words_the_report_says_which_rows_it_marks(cleaned):
    found = retrieval_examples(cleaned.model, held_out(cleaned.model).test)
    assert "✓ is a row of the same class." in found.lead
    assert all(hit.correct == bool(hit.relation) for example in found.examples for hit in example.hits)


def test_with_neither_labels_nor_groups_nothing_is_marked(cleaned):
    test = held_out(cleaned.model).test
    bare = replace(test, labels=None, columns=test.columns.model_copy(update={"label": None, "group": None}))
    found = retrieval_examples(cleaned.model, bare)
    assert "none is marked" in found.lead
    assert all(hit.correct is None for example in found.examples for hit in example.hits)


def test_what_is_shown_comes_from_the_tasks_that_ran(trained, prepared):
    def shown(*tasks):
        found = summarise(trained.model, prepared, [], trained.path, seconds=1.0, tasks=tasks)
        return {section.title: section for section in found.sections}

    assert "what a picture finds among" in shown("retrieval")["Retrieval"].lead
    nearest = shown("knn")["Retrieval"]
    assert "✓ is a row of the same class." in nearest.lead
    assert all(item.picture for example in nearest.examples for item in (example.query, *example.hits))
    assert list(shown("knn")) == ["Retrieval", "Embedding space"]


def test_two_sections_of_one_title_are_told_apart_by_their_task(trained, prepared, monkeypatch):
    twice = [(replace(get_task("retrieval"), name=name), get_task("retrieval").options()) for name in ("one", "other")]
    monkeypatch.setattr("accord.pipeline.summary.chosen_tasks", lambda *_: twice)
    titles = [section.title for section in summary_of(trained).sections]
    assert titles == ["Retrieval", "Retrieval, other", "Embedding space"]


def test_a_classifier_shows_what_it_takes_for_what_with_pictures_of_each_class(cleaned):
    sections = {section.title: section for section in summary_of(cleaned).sections}
    assert sum(map(sum, sections["Confusion"].counts)) == sum(row.n for row in sections["Classes"].rows)
    items = [item for row in sections["Classes"].rows for item in (*row.right, *row.wrong)]
    assert items
    assert all(item.picture for item in items)
    assert all(
        item.text in sections["Classes"].corpus.classes for row in sections["Classes"].rows for item in row.wrong
    )


def test_the_report_says_how_rows_were_held_out(trained, shapes, tmp_path):
    facts = summary_of(trained).setup["Data"]
    assert facts["kept apart"] == "by column group: none of it in common with training"
    run = small_run(shapes)
    run["data"] |= {"columns": {"group": []}}
    run["training"] |= {"epochs": 1}
    alone = pipeline.train(config=run, out=tmp_path / "alone", progress=False)
    page = plain((tmp_path / "alone" / "report.html").read_text())
    assert "no concept in common" not in page
    assert summary_of(alone).setup["Data"]["kept apart"] == "row by row (no --group)"


def test_what_stands_on_both_sides_is_in_report_and_card(trained):
    page = plain((trained.path / "report.html").read_text())
    assert "Some held-out rows stand in training too" in page
    assert "held-out rows have the captions of a training row" in page
    assert "held-out rows have the captions of a training row" in (trained.path / "README.md").read_text()


def test_the_warning_comes_before_training(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("accord.training.fit.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(pytest.fail.Exception, match="trained"):
        pipeline.train(config=small_run(shapes), out=tmp_path / "run")
    assert "have the captions of a training row" in capsys.readouterr().err


def test_encoders_are_named_in_report_and_card(trained):
    assert summary_of(trained).setup["Encoders"]["image"].startswith("tiny_convnet, ")
    card = (trained.path / "README.md").read_text()
    assert "- image: tiny_convnet, " in card
    assert "default" not in card


def test_next_steps_run_as_printed_with_a_query_of_the_data(cleaned, trained, prepared):
    search = shlex.split(trained.next_steps[0])
    assert search[:2] == ["accord", "search"]
    assert search[3] in {text for texts in prepared.test.texts() for text in texts}
    commands = [shlex.split(line) for line in cleaned.next_steps]
    assert all(command[2] == str(cleaned.path) for command in commands)
    picture = commands[0][3]
    assert picture.endswith(".png")
    assert len(pipeline.search(commands[0][2], picture, k=2)) == 2
    assert all("YOUR" not in line for line in cleaned.next_steps)


def test_next_steps_take_a_row_where_there_is_no_file(trained, prepared):
    test = prepared.test
    bytes_only = corpus_from_items("image", [test.sample(0, ("image",))["image"]])
    assert "--like 0" in next_steps(trained.model, replace(prepared, test=bytes_only), trained.path)[0]


def test_headline_figures_show_both_directions_and_each_task(trained):
    names = [metric.name for metric in summary_of(trained).headline]
    assert names == ["retrieval: image→text R@1", "retrieval: text→image R@1", "zero_shot: top-1", "knn: top-1"]


def test_all_files_of_a_run_have_the_same_mode(cleaned):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in cleaned.path.iterdir() if path.is_file()}
    assert len(modes) == 1
