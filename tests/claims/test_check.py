from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accord.claims.check import check
from accord.claims.run import run_claim
from accord.cli import app
from accord.training.fit import FitResult

FIXED = '"method.temperature": 1.0'


@pytest.fixture
def measured(toy, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = toy()
    with monkeypatch.context() as patch:
        patch.setattr("accord.claims.measuring.fit", lambda *_, **__: FitResult(6, 1.0, 6.0))
        run_claim("toy", folder, progress=False)
    return folder


def test_a_record_is_good_while_declaration_and_code_stay(measured, toy) -> None:
    assert str(check("toy", measured)) == "ok"
    toy(("The rest is not shown.", "Nothing more."), ('paper="Toys differ."', 'paper="Toys are alike."'))
    assert str(check("toy", measured)) == "ok"  # prose


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FIXED, '"method.temperature": 0.5'),
        ("Learnt spreads more than fixed.", "Learnt spreads less than fixed."),
        ("FACTOR = 100", "FACTOR = 10"),
        ('"smallest": 1e-6', '"smallest": 1e-3'),
        ("seeds=(3, 4)", "seeds=(3, 4, 5)"),
        ("data=pairs", "data=lambda seed: pairs(seed)"),
    ],
)
def test_a_changed_declaration_makes_the_record_stale(measured, toy, old, new) -> None:
    toy((old, new))
    assert str(check("toy", measured)) == "stale (declaration)"


def test_so_does_a_change_of_the_rows(measured) -> None:
    rows = measured / "shared" / "toy.py"
    rows.write_text(rows.read_text().replace("picture {number} is", "{number} is"))
    assert str(check("toy", measured)) == "stale (declaration)"


def test_changed_code_is_named(measured, edited) -> None:
    edited("accord.methods.image_text.clip")
    assert str(check("toy", measured)) == "stale (code: accord.methods.image_text.clip)"


def test_another_method_s_code_is_nobody_s_business(measured, edited) -> None:
    edited("accord.methods.image_text.coca")
    assert str(check("toy", measured)) == "ok"


def test_a_record_of_fewer_seeds_says_so(folder, monkeypatch) -> None:
    monkeypatch.setattr("accord.claims.measuring.fit", lambda *_, **__: FitResult(6, 1.0, 6.0))
    run_claim("toy", folder, progress=False, seeds=1)
    assert str(check("toy", folder)) == "ok (lacks 1 of the declared seeds)"


def test_the_command_says_it_of_all_claims_and_fails_where_it_is_asked_to(measured, toy) -> None:
    def told(*options: str):
        return CliRunner().invoke(app, ["claims", "check", *options, "--folder", str(measured)])

    (measured / "other.py").write_text((measured / "toy.py").read_text().replace('slug="toy"', 'slug="other"'))
    found = told("--strict")
    assert (found.stdout.splitlines(), found.exit_code) == (["other: not measured", "toy: ok"], 0)
    toy((FIXED, '"method.temperature": 0.5'))
    assert (told().exit_code, told("--strict").exit_code, told("--strict", "other").exit_code) == (0, 1, 0)


def test_a_record_of_an_older_version_is_no_record(measured) -> None:
    path = measured / "results" / "toy.json"
    record = json.loads(path.read_text())
    del record["format"]
    path.write_text(json.dumps(record))
    assert str(check("toy", measured)) == "stale (measured by an older version)"
    listed = CliRunner().invoke(app, ["claims", "list", "--folder", str(measured)], env={"COLUMNS": "120"})
    assert "measured by an older version" in " ".join(listed.stdout.split())
    page = CliRunner().invoke(app, ["claims", "table", "--folder", str(measured)])
    assert "Measured by an older version, and to be measured again: toy." in page.stdout
