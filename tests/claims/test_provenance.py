from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from accord.claims.provenance import require_clean, tree_of
from accord.claims.record import read_records
from accord.claims.run import run_claim
from accord.errors import ConfigError


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def committed(folder: Path) -> Path:
    """The folder with the toy in a repository of its own."""
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "A toy")
    return folder


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.training.fit import FitResult

    monkeypatch.setattr("accord.claims.measuring.fit", lambda *_, **__: FitResult(6, 1.0, 6.0))


def test_a_tree_knows_its_commit_and_what_differs_from_it(committed) -> None:
    tree = tree_of(committed)
    assert (tree.commit, tree.clean) == (git(committed, "rev-parse", "HEAD").strip(), True)
    (committed / "toy.py").write_text("CLAIM = 3")
    (committed / "another.py").write_text("")
    assert set(tree_of(committed).changed) == {"toy.py", "another.py"}


def test_results_make_no_tree_dirty(committed) -> None:
    (committed / "results").mkdir()
    (committed / "results" / "toy.json").write_text("{}")
    assert tree_of(committed).clean


def test_of_chosen_settings_only_those_of_the_claim_count(committed) -> None:
    (committed / "tuning").mkdir()
    for slug in ("toy", "another"):
        (committed / "tuning" / f"{slug}.json").write_text("{}")
    assert tree_of(committed).clean
    assert tree_of(committed, "toy").changed == ("tuning/toy.json",)


def test_code_beside_the_claims_counts_and_what_is_told_of_records_does_not(committed, monkeypatch) -> None:
    package = committed / "package"
    (package / "papers").mkdir(parents=True)
    monkeypatch.setattr("accord.__file__", str(package / "__init__.py"))
    (package / "papers" / "verdicts.json").write_text("{}")
    (package / "code.py").write_text("")
    assert tree_of(committed).changed == ("package/code.py",)


def test_there_need_not_be_a_repository(folder) -> None:
    tree = tree_of(folder)
    assert (tree.commit, tree.changed) == (None, ())
    require_clean(tree)


def test_what_is_not_committed_is_not_measured_unless_asked_for(committed) -> None:
    run_claim("toy", committed, progress=False)
    [record] = read_records(committed / "results")
    assert (record["commit"], record["clean"]) == (git(committed, "rev-parse", "HEAD").strip(), True)
    assert record["places"][0]["commit"] == record["commit"]
    (committed / "toy.py").write_text((committed / "toy.py").read_text() + "\n# later\n")
    with pytest.raises(ConfigError, match=r"toy\.py is not committed: a claim is committed before it is measured"):
        run_claim("toy", committed, progress=False)
    run_claim("toy", committed, progress=False, quick=True)
    run_claim("toy", committed, progress=False, dirty=True)
    [record] = read_records(committed / "results")
    assert record["clean"] is False
