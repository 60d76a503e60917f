from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from accord.evaluation.metric import Metric
from accord.report import (
    Arm,
    Classes,
    ClassRow,
    Comparison,
    Confusion,
    Example,
    Item,
    Picture,
    Retrieval,
    RunSummary,
    Sheet,
    Sheets,
    charts,
    render_report,
    write_report,
)
from accord.report.html import drawn_sections

SECTIONS = (
    "Comparison",
    "Results",
    "Retrieval",
    "Doubted rows",
    "Confusion",
    "Classes",
    "Relations",
    "Curves",
    "Groups",
    "Embedding space",
    "Training",
    "Rows left out",
    "Setup",
    "Next",
)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects tags, and checks that they are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("title", SECTIONS)
def test_report_has_every_section_that_the_summary_fills(full: RunSummary, title: str) -> None:
    slug = title.lower().replace(" ", "-")
    html = render_report(full)
    assert f'<section id="{slug}"' in html
    assert f'<a href="#{slug}">' in html


def test_absent_parts_leave_no_section_and_no_link() -> None:
    tags = Page(render_report(RunSummary("Bare", "clip"))).tags
    assert [tag for tag, _ in tags if tag in ("section", "a")] == []


def test_what_sections_and_doubted_rows_show_is_told_from_what_stands_elsewhere(full: RunSummary) -> None:
    titles = list(drawn_sections(render_report(full)).values())
    assert titles == ["Doubted rows", *(part.title for part in full.sections)]


def test_report_loads_nothing_from_outside(full: RunSummary) -> None:
    html = render_report(full)
    tags = Page(html).tags
    loads = [attrs.get(key) for tag, attrs in tags for key in ("src", "srcset", "data", "poster") if key in attrs]
    assert loads
    assert all(load.startswith("data:image/") for load in loads)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html


def test_hostile_texts_are_escaped_everywhere(full: RunSummary) -> None:
    html = render_report(full)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_pictures_have_alternative_texts_and_charts_have_labels(full: RunSummary) -> None:
    tags = Page(render_report(full)).tags
    assert all(attrs["alt"] for tag, attrs in tags if tag == "img")
    drawn = [attrs for tag, attrs in tags if tag == "svg" and attrs.get("aria-hidden") != "true"]
    assert drawn
    assert all(attrs["aria-label"] for attrs in drawn)


def test_headings_do_not_skip_levels(full: RunSummary) -> None:
    levels = [int(tag[1]) for tag, _ in Page(render_report(full)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_metric_shows_interval_chance_and_number(full: RunSummary) -> None:
    results = render_report(full).split('<section id="results"')[1].split("</section>")[0]
    for part in ("53.8 %", "[50.0, 57.6]", ">3.8<", "734", "9.0 rank", "367.0"):
        assert part in results


def test_what_could_not_be_measured_is_a_dash() -> None:
    unknown = Metric("top-1", math.nan, None, None, None, 0)
    rank = Metric("median rank", 9.0, 7.0, 11.0, 367.0, 734, "rank")
    comparison = Comparison((Arm("clip", (unknown, rank), "method"),), seeds=1)
    html = render_report(RunSummary("Empty", "clip", metrics=(unknown,), comparison=comparison))
    assert "nan" not in re.sub(r"<style>.*</style>", "", html, flags=re.DOTALL).lower()
    assert "9.0 rank" in html


def test_classes_without_rows_are_left_out() -> None:
    rows = (ClassRow("seen", 50.0, 4), ClassRow("unseen", math.nan, 0))
    html = render_report(RunSummary("Few", "clip", sections=(Classes(rows),)))
    assert ">seen<" in html
    assert ">unseen<" not in html


def test_a_picture_query_shows_the_pictures_it_finds(picture: Picture) -> None:
    example = Example(Item(picture), (Item(picture, "a red bar", 0.9),))
    html = render_report(RunSummary("Like this", "capro", sections=(Retrieval("", (example,)),)))
    assert "like this one" in html
    assert html.count("<img") == 2


def test_a_contact_sheet_shows_pictures_or_else_texts(picture: Picture) -> None:
    seen = Sheet("cats", "new", "8 rows", (("nearest", (Item(picture, "tom"), Item(text="gone"))), ("doubtful", ())))
    read = Sheet("dogs", "", "9 rows", (("nearest", (Item(text="a dog", relation="or cats"),)),))
    html = render_report(RunSummary("Found", "discover", sections=(Sheets("", (seen, read)),)))
    first, second = html.split("<h3>cats")[1].split("<h3>dogs")
    assert ("<img" in first, "gone" in first, "doubtful" in first) == (True, True, False)
    assert ("<img" in second, "a dog" in second, "or cats" in second) == (False, True, True)


def test_large_confusion_lists_the_worst_mistakes_only() -> None:
    count = 60
    counts = [[5 if row == column else 0 for column in range(count)] for row in range(count)]
    counts[3][4] = 2
    confusion = Confusion(tuple(f"class {i}" for i in range(count)), counts)
    summary = RunSummary("Many", "clip", sections=(confusion,))
    html = render_report(summary)
    assert 'class="matrix"' not in html
    assert "class 4" in html
    assert "class 9" not in html


def test_a_small_confusion_matrix_leaves_no_void() -> None:
    html = render_report(RunSummary("Two", "clip", sections=(Confusion(("cat", "dog"), [[8, 2], [1, 9]]),)))
    width = int(re.search(r'class="matrix" width="(\d+)"', html)[1])
    assert 2 * 44 < width < 2 * 2 * 44
    assert 'class="card beside"' in html


def test_nothing_is_said_twice(full: RunSummary) -> None:
    html = render_report(full)
    results = html.split('<section id="results"')[1].split("</section>")[0]
    doubts = html.split('<section id="doubted-rows"')[1].split("</section>")[0]
    assert "purity" in doubts
    assert "purity" not in results
    assert 'class="axis"' not in html.split('<dl class="tiles">')[1].split("</dl>")[0]


def test_a_comparison_says_which_numbers_are_means_and_which_one_seed(full: RunSummary) -> None:
    html = render_report(replace(full, measured="one run, seed 0"))
    assert "Means of capro over 5 seeds, intervals over seeds." in html
    assert "Of capro in one run, seed 0, the first of the comparison." in html
    alone = render_report(replace(full, measured="one run, seed 0", comparison=None))
    assert "One run, seed 0; 95 % intervals over held-out items." in alone


def test_cells_of_stacked_tables_say_what_they_hold(full: RunSummary) -> None:
    html = render_report(full)
    assert html.count('<table class="stack">') == html.count("<table")
    assert '<td class="right num muted" data-label="chance">' in html


def test_lists_of_rows_are_linked(full: RunSummary) -> None:
    links = [attrs.get("href") for tag, attrs in Page(render_report(full)).tags if tag == "a"]
    assert {"doubted.csv", "quarantine.jsonl", "#both-sides"} <= set(links)


def test_writing_replaces_the_old_report_and_leaves_no_other_file(full: RunSummary, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(RunSummary("Old", "clip"), path)
    assert write_report(full, path) == path
    assert "A full run" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_failed_rendering_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report(RunSummary("Old", "clip"), tmp_path / "report.html")
    monkeypatch.setattr(charts, "curve_panels", lambda curves: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(RunSummary("New", "clip"), path)
    assert "Old" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]
