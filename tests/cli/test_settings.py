from __future__ import annotations

import pytest
import typer

from accord.cli.settings import parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.b=1", 1), ("a.b=1.5", 1.5), ("a.b=yes", True), ("a.b=[1, x]", [1, "x"]), ("a.b=", None), ("a.b=c=d", "c=d")],
)
def test_values_are_read_as_yaml(text: str, value: object) -> None:
    assert parse_settings([text]) == {"a.b": value}


def test_scientific_notation_is_a_number() -> None:
    assert parse_settings(["training.lr=1e-3", "x=[2E+2, 1.5e1]"]) == {"training.lr": 0.001, "x": [200.0, 15.0]}


@pytest.mark.parametrize("text", ["1e", "e3", "1e-3x", "v1e3"])
def test_what_only_looks_like_a_number_stays_text(text: str) -> None:
    assert parse_settings([f"name={text}"]) == {"name": text}


def test_values_cannot_name_python_objects() -> None:
    with pytest.raises(typer.BadParameter):
        parse_settings(["a=!!python/object/apply:os.getcwd []"])


@pytest.mark.parametrize("text", ["alone", "=1", " =1", "a={"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--set"):
        parse_settings([text])
