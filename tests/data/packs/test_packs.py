"""A pack is a file that defines one; nothing lists them."""

from __future__ import annotations

from accord.data.packs import available_packs, get_pack
from accord.data.packs.base import Pack


def test_every_pack_is_called_as_its_file():
    assert available_packs()
    assert [get_pack(name).name for name in available_packs()] == list(available_packs())
    assert all(isinstance(get_pack(name), Pack) for name in available_packs())


def test_what_the_packs_are_made_with_is_no_pack():
    assert not {"base", "describe", "fetch", "store", "triples"} & set(available_packs())
