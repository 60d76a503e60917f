"""The frame of the application: its pages are found, and everything that it holds is below its roots."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.serving.pages import PAGES
from accord.serving.places import RUN, Places


def make_run(folder: Path) -> Path:
    """What is taken for a run."""
    folder.mkdir(parents=True)
    for name in ("config.yaml", "splits.json"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("path", ["/", *(page.path for page in PAGES)])
def test_every_page_opens_where_there_is_nothing_yet(visitor, path):
    found = visitor.get(path)
    assert found.status_code == 200
    assert "<h1" in found.text


def test_every_page_is_offered_on_every_page(visitor):
    for page in PAGES:
        assert f'href="{page.path}"' in visitor.get("/").text


def test_runs_are_found_while_the_application_is_open(visitor, root):
    make_run(root / "later" / "first")
    assert "runs/later/first" in visitor.get("/runs").text


def test_a_link_out_of_the_roots_is_not_followed(root, tmp_path):
    make_run(tmp_path / "secret")
    (root / "way-out").symlink_to(tmp_path / "secret")
    assert Places([root]).all() == []


def test_a_key_is_never_made_into_a_path(root):
    make_run(root / "first")
    places = Places([root])
    for key in ("runs/first/../first", "runs//first", str(root / "first"), "runs/first/"):
        with pytest.raises(ConfigError, match="no run"):
            places.get(key, RUN)


def test_files_of_a_place_lie_in_it(root):
    run = make_run(root / "first")
    (run / "note.json").touch()
    (run / "link.json").symlink_to("/etc/passwd")
    place = Places([root]).get("runs/first")
    assert place.file("note.json").name == "note.json"
    for name in ("../first/../../etc/passwd", "/etc/passwd", "link.json", "", "."):
        with pytest.raises(ConfigError, match="has no file"):
            place.file(name)


def test_two_roots_of_one_name_are_told_apart(tmp_path):
    for parent in ("a", "b"):
        make_run(tmp_path / parent / "runs" / "first")
    places = Places([tmp_path / "a" / "runs", tmp_path / "b" / "runs"])
    assert sorted(place.key for place in places.all()) == ["runs-2/first", "runs/first"]
