"""The page part, and the command line."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from accord.claims.figure import draw, draw_all
from accord.claims.load import loaded
from accord.claims.overview import declared, overview
from accord.claims.record import FORMAT, recorded
from accord.claims.run import run_claim
from accord.claims.table import FOREST, in_forest, page
from accord.cli import app
from accord.errors import ConfigError
from accord.papers.verdicts import UNMEASURED, effect
from accord.training.fit import FitResult

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "scipy", "matplotlib", "datasets")


def accord(*args: Any) -> Result:
    return CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, [str(arg) for arg in args])


@pytest.fixture
def measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr("accord.claims.measuring.fit", lambda *_, **__: FitResult(6, 1.0, 6.0))
        run_claim("toy", folder, progress=False)
    return folder


def test_the_page_has_a_section_per_claim_with_answers_and_figure(measured) -> None:
    text = page(measured)
    answers = ("Statements: 3 (papers: 1).", "**holds**", "`level`: Deep spreads less than 1000.", "level 1000 |")
    rest = ("### toy", "Toys differ.", "(lower is better)", "(claims/toy.png)", "Not at all.", "accord claims run toy")
    for part in (*answers, *rest):
        assert part in text
    assert accord("claims", "table", "--folder", measured).stdout == text + "\n"


def test_the_page_says_what_a_reader_has_to_know(measured) -> None:
    path = measured / "results" / "toy.json"
    record = json.loads(path.read_text())
    for question in record["questions"]:
        question |= {"unequal_trials": "So it was.", "trials": {"learnt": 1, "fixed": 9}}
    record["questions"][0]["equal"] = "nothing"
    path.write_text(json.dumps(record))
    text = page(measured)
    said = "`fixed`, `level`, `middle`: tuned unequally (settings tried: learnt: 1; fixed: 9). So it was."
    assert said in text
    assert "`fixed`: the arms' budgets differ" in text


def test_the_page_opens_with_one_table_of_all_questions_and_folds_the_rest(measured) -> None:
    text = page(measured)
    first, _, rest = text.partition("### toy")
    table = [line for line in first.splitlines() if line.startswith("| <span")]
    assert ["toy/fixed" in table[0], "toy/level" in table[1], "toy/middle" in table[2]] == [True] * 3
    record = recorded(measured / "results" / "toy.json")
    for line, question in zip(table, record["questions"], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert cells[0].endswith(question["statement"])
        assert cells[1] == "synthetic"
        assert f">{question['answer']}</span>" in cells[2]
        assert cells[3].startswith("<svg")
        assert cells[3].endswith(effect(question))
        assert cells[5:] == ["2", "none"]  # seeds; the toys are under no version control
    assert f"(claims/{FOREST})" in first
    assert "<details" not in first
    assert rest.index("Toys differ.") < rest.index('<details markdown="1">') < rest.index("method against baseline")
    assert rest.endswith("</details>")


def test_who_loads_the_claims_sees_what_is_stale_and_what_was_not_measured(measured, toy) -> None:
    assert "stale" not in page(measured)
    new = 'Question("fixed", "Learnt spreads more than fixed.", "learnt", "fixed", "spread", **ANY),'
    toy((new, f'{new}\n        Question("new", "So it is.", "learnt", "fixed", "spread", **ANY),'))
    shown = {line.name: line for line in overview(measured, declared(measured))}
    assert list(shown) == ["toy/fixed", "toy/level", "toy/middle", "toy/new"]
    assert [line.remark for line in shown.values()] == [*["stale (declaration)"] * 3, UNMEASURED]
    text = page(measured, today=declared(measured))
    assert text.count('title="stale (declaration)">stale</span>') == 3
    assert text.count(f'<span class="verdict unmeasured">{UNMEASURED}</span>') == 1
    assert accord("claims", "table", "--check", "--folder", measured).stdout == text + "\n"


def test_a_question_that_is_no_longer_asked_is_not_shown_to_who_loads_the_claims(measured, toy) -> None:
    toy(('Question("fixed", "Learnt', 'Question("other", "Learnt'))
    assert [line.name for line in overview(measured, declared(measured))] == ["toy/level", "toy/middle", "toy/other"]


def test_another_word_for_the_data_makes_no_record_stale(measured, toy) -> None:
    toy(('kind_of_data="synthetic"', 'kind_of_data="real"'))
    lines = overview(measured, declared(measured))
    assert {(line.kind_of_data, line.remark) for line in lines} == {("real", "")}


def test_there_is_a_page_before_there_are_results(folder) -> None:
    (folder / "results").mkdir()
    for today in (None, declared(folder)):
        text = page(folder, today=today)
        assert text.startswith("No claim has been measured yet.")
        assert f">{UNMEASURED}</span>" in text
        assert FOREST not in text
    assert text.count(f">{UNMEASURED}</span>") == 3  # each question by itself


def test_records_of_an_older_version_are_to_be_measured_again(folder) -> None:
    (folder / "results").mkdir()
    (folder / "results" / "toy.json").write_text('{"slug": "toy", "questions": [], "seeds": []}')
    assert ">measured by an older version</span>" in page(folder)
    assert "older version" in accord("claims", "list", "--folder", folder).stdout


def test_a_claim_has_a_figure_of_its_questions(measured) -> None:
    path = draw(recorded(measured / "results" / "toy.json"), measured / "toy.png")
    assert path.stat().st_size < 100_000
    with Image.open(path) as picture:
        assert picture.width > 800


def test_there_is_a_figure_of_all_claims(measured) -> None:
    questions = in_forest([recorded(measured / "results" / "toy.json")])
    assert [name for name, _ in questions] == ["toy/fixed", "toy/middle"]  # a promise has no unit
    picture = Image.open(io.BytesIO(draw_all(questions)))
    assert picture.format == "PNG"


@pytest.mark.parametrize("path", sorted((ROOT / "claims" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_the_records_that_are_kept_can_be_read_and_drawn(path, tmp_path) -> None:
    record = recorded(path)
    assert record["slug"] == path.stem
    if record.get("format") == FORMAT:
        assert draw(record, tmp_path / "figure.png").stat().st_size < 100_000
    assert path.with_suffix(".png").stat().st_size < 100_000


def test_one_command_measures_and_tells_the_answers(folder) -> None:
    result = accord("claims", "run", "toy", "--folder", folder)
    assert result.exit_code == 0, result.output
    for part in ("fixed: ", "Learnt spreads more than fixed.", "advantage ", "smallest of interest 1e-06", "toy.json"):
        assert part in result.stdout
    listed = accord("claims", "list", "--folder", folder).stdout
    assert "Learnt spreads more than fixed." in listed
    assert "Statements: 3 (papers: 1)." in listed


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (60, ["question", "answer", "effect"]),
        (120, ["question", "statement", "answer", "effect", "seeds"]),
        (200, ["question", "statement", "data", "answer", "effect", "floor, ceiling", "seeds", "commit"]),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_of_the_list(measured, width, headings) -> None:
    done = CliRunner(env={"COLUMNS": str(width), "TERM": "dumb"}).invoke(
        app, ["claims", "list", "--folder", str(measured)]
    )
    lines = done.stdout.splitlines()
    assert re.split(r" {2,}", lines[0].strip()) == headings
    assert max(map(len, lines)) <= width
    answers = [question["answer"] for question in recorded(measured / "results" / "toy.json")["questions"]]
    told = " ".join(" ".join(lines).split())
    assert all(f"toy/{name}" in told for name in ("fixed", "level", "middle"))
    assert [answer for answer in answers if answer not in told] == []


def test_a_smoke_run_says_that_it_means_nothing(folder) -> None:
    result = accord("claims", "run", "toy", "--quick", "--folder", folder)
    assert "nothing was written" in result.stdout


def test_a_claim_without_results_is_listed_as_such(folder) -> None:
    assert "not measured" in accord("claims", "list", "--folder", folder).stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "other.py defines nothing as CLAIM: expected CLAIM = Claim(slug='other', ...)"),
        ("CLAIM = 3", "defines a int as CLAIM"),
        ("import no_such_thing", "cannot be run: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def (", "cannot be run: SyntaxError"),
        ("from toy import CLAIM", "declares slug='toy': expected the name of the file, 'other'"),
        (
            "from accord.claims import *; CLAIM = Claim('other', '', {'a': Arm(function=max)}, "
            "[Question('q', 's', 'a', 'b', 'x', every=True)])",
            "question 'q' names 'b', which is no arm; there are: a",
        ),
    ],
)
def test_a_wrong_claim_file_is_one_line(folder, text, message) -> None:
    (folder / "other.py").write_text(text)
    result = accord("claims", "run", "other", "--folder", folder)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_claim_lists_those_there_are(folder) -> None:
    result = accord("claims", "run", "tay", "--folder", folder)
    assert f"error: no claim 'tay' in {folder}; did you mean toy? there are: toy" in result.stderr
    assert "there is no folder" in accord("claims", "list", "--folder", folder / "missing").stderr


@pytest.mark.parametrize("slug", ["../claims/toy", "shared.toy", "/etc/passwd"])
def test_nothing_but_a_file_of_the_folder_is_run(folder, slug) -> None:
    with pytest.raises(ConfigError, match="no claim"), loaded(slug, folder):
        pass


def test_loading_leaves_nothing_behind(folder) -> None:
    before = list(sys.path)
    with loaded("toy", folder):
        assert "shared.toy" in sys.modules
    assert sys.path == before
    assert not {"shared", "shared.toy", "claim_toy"} & set(sys.modules)


@pytest.mark.parametrize("args", [["claims", "--help"], ["claims", "list"], ["claims", "table"]], ids=" ".join)
def test_what_only_reads_imports_nothing_heavy(args) -> None:
    code = (
        "import sys, accord.cli\n"
        f"try: accord.cli.app({args!r})\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.strip() == "[]"
    assert done.returncode == 0


def test_help_of_the_program_does_not_import_the_harness() -> None:
    code = "import sys, accord.cli\ntry: accord.cli.app(['--help'])\nfinally: print('accord.claims' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False"
