"""What has moved is found under its former name: the same module, and a warning that says where it is."""

import subprocess
import sys
from importlib import import_module

import pytest

from accord.moved import MOVED


@pytest.mark.parametrize("before", sorted(MOVED))
def test_a_former_name_is_the_very_module(before, monkeypatch):
    monkeypatch.delitem(sys.modules, before, raising=False)  # it warns when it is first asked for
    with pytest.warns(DeprecationWarning, match=f"{before} has moved to {MOVED[before]}"):
        found = import_module(before)
    assert found is import_module(MOVED[before])


def test_names_are_imported_from_where_they_were():
    code = (
        "from accord.functional.multiview import nt_xent; from accord.data.views import View; print(View(size=8).size);"
        "from accord.data.corpus import Corpus, corpus_from_graph, corpus_from_items, open_corpus, survey, undecoded;"
        "from accord.encoders.heads import MLPHead, PairWeightMLP, SharedGCN, prepend;"
        "from accord.training.artifact import Model, load_model, save_model"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "8"
