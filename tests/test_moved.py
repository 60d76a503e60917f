"""What has moved is found under its former name: the same module, and a warning that says where it is."""

import sys
import warnings
from importlib import import_module
from typing import Any

import pytest

from accord.moved import MOVED

BEFORE = (
    "from accord.functional.multiview import nt_xent",
    "from accord.data.views import View",
    "from accord.data.corpus import Corpus, corpus_from_graph, corpus_from_items, open_corpus, survey, undecoded",
    "from accord.encoders.heads import MLPHead, PairWeightMLP, SharedGCN, prepend",
    "from accord.training.artifact import Model, load_model, save_model",
)


@pytest.mark.parametrize("before", sorted(MOVED))
def test_a_former_name_is_the_very_module(before, monkeypatch):
    monkeypatch.delitem(sys.modules, before, raising=False)  # it warns when it is first asked for
    with pytest.warns(DeprecationWarning, match=f"{before} has moved to {MOVED[before]}"):
        found = import_module(before)
    assert found is import_module(MOVED[before])


def test_names_are_imported_from_where_they_were():
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for line in BEFORE:
            exec(line, found)
    assert found["View"](size=8).size == 8
