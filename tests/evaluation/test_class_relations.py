"""How classes are related: cosines inside gates, in an order in which related classes stand together."""

from __future__ import annotations

import pytest
import torch
from answering import Answering, measured, model_of, prepared, rows_of, shown

from accord.errors import ConfigError
from accord.methods.abilities import RelatesClasses

NAMES = ("ant", "bus", "bee", "car")
VECTORS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.2, -1.0], [0.2, 1.0, -1.0]])


class Related(Answering, RelatesClasses):
    """Classes whose last dimension tells them apart, and is open to every class with itself alone."""

    def project(self, batch):
        return torch.stack(self.answers(batch))

    def gates(self, first, second):
        last = (first == second).float()
        return torch.stack([torch.ones(len(first)), torch.ones(len(first)), last], dim=1)


def relations(tmp_path, classes=NAMES):
    rows = [{"label": classes[number % len(classes)]} for number in range(8)]
    model = model_of(Related, lambda row: VECTORS[row % len(classes)], classes=tuple(sorted(classes)))
    return model, prepared(rows_of(tmp_path, rows))


def test_classes_are_compared_where_their_gate_is_open(tmp_path):
    found = measured("class_relations", *relations(tmp_path))
    inside, outside = (found[f"cosine of two classes, {which} dimensions"].value for which in ("open", "all"))
    assert inside > outside
    assert found["open dimensions"].value == pytest.approx(100 * 2 / 3)
    assert {metric.n for metric in found.values()} == {6}


def test_related_classes_stand_beside_each_other(tmp_path):
    inside, opened = shown("class_relations", *relations(tmp_path))
    assert {frozenset(inside.classes[:2]), frozenset(inside.classes[2:])} == {
        frozenset({"ant", "bee"}),
        frozenset({"bus", "car"}),
    }
    values = torch.tensor(inside.values)
    torch.testing.assert_close(values, values.T)
    torch.testing.assert_close(values.diagonal(), torch.ones(4))
    assert inside.classes == opened.classes
    assert opened.values[0] == pytest.approx([1.0, 2 / 3, 2 / 3, 2 / 3])


def test_no_more_classes_are_drawn_than_asked_for(tmp_path):
    (inside, _) = shown("class_relations", *relations(tmp_path), classes=3)
    assert len(inside.classes) == 3


def test_a_method_without_gates_is_refused(tmp_path):
    model, rows = relations(tmp_path)
    plain = model_of(Answering, lambda row: None, classes=model.classes)
    with pytest.raises(ConfigError, match="methods that can: hydra_pairs"):
        measured("class_relations", plain, rows)
