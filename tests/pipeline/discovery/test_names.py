"""Words for classes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from accord.pipeline.discovery.names import contrasts, terms_of, unique_names, weighed


def words_of(texts: list[str], assigned: list[int]) -> list[list[str]]:
    found = terms_of([[text] for text in texts], np.array(assigned), max(assigned) + 1)
    return [[word for word, _ in own] for own in found]


def test_words_that_others_use_as_well_count_less() -> None:
    texts = ["photo of a heron", "photo of the heron", "photo of a mole", "photo of some mole"]
    first, second = words_of(texts, [0, 0, 1, 1])
    assert first == ["heron"]
    assert second == ["mole"]


def test_words_of_many_rows_count_more_than_odd_ones() -> None:
    texts = ["grey heron", "grey heron", "grey heron", "heron wading", "mole", "mole"]
    assert words_of(texts, [0, 0, 0, 0, 1, 1])[0][0] == "heron"


def test_neighbouring_words_make_a_pair_but_not_across_others() -> None:
    (own,) = words_of(["red fire engine", "red, engine", "red and engine"], [0, 0, 0])
    assert "fire engine" in own
    assert "red fire" in own
    assert "red engine" not in own


def test_one_class_is_named_by_its_commonest_word() -> None:
    assert words_of(["oak", "oak", "elm"], [0, 0, 0])[0][0] == "oak"


def test_a_class_without_captions_has_no_words() -> None:
    assert terms_of([["oak"], []], np.array([0, 1]), 2)[1] == ()


def test_a_common_offset_of_all_words_changes_little_about_who_is_nearest() -> None:
    centres = torch.eye(3, 4)
    words = centres + 3 * torch.tensor([0.0, 0.0, 0.0, 1.0])  # far from all centres, as texts are from pictures
    assert contrasts(words, centres).argmax(dim=1).tolist() == [0, 1, 2]
    assert (contrasts(words, centres).diagonal() > 0).all()


def test_a_model_prefers_what_lies_near_among_what_is_said() -> None:
    vectors = {"oak": [1.0, 0.0], "tree": [0.7, 0.7], "elm": [0.0, 1.0]}
    model = SimpleNamespace(templates="plain", embed=lambda texts: torch.tensor([vectors[text] for text in texts]))
    terms = [(("tree", 0.5), ("oak", 0.4)), (("elm", 0.5), ("tree", 0.4)), ()]
    found = weighed(model, terms, ["oak"], torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]))
    assert found[0][0][0] == "oak"
    assert found[1][0][0] == "elm"
    assert found[2][0][0] == "elm"
    assert len(found[2]) == 3


def test_no_two_classes_have_one_name() -> None:
    words = [(("oak", 0.9),), (("oak", 0.8), ("tree", 0.7)), (("oak", 0.7),), ()]
    names = unique_names([], words)
    assert len(set(names)) == 4
    assert names[0] == "oak" or names[2] == "oak"
    assert names[1] == "tree"


def test_a_new_class_is_not_called_like_a_known_one() -> None:
    assert unique_names(["Oak", "class 1"], [(), (), (("oak", 0.9),)]) == ["Oak", "class 1", "class 2"]
