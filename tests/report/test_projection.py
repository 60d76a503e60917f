from __future__ import annotations

import numpy as np

from accord.report import project


def test_a_gap_between_modalities_stays_visible() -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(50, 8))
    points = project({"image": noise + np.eye(8)[0], "text": noise - np.eye(8)[0]})
    gap = np.mean(points["image"], axis=0) - np.mean(points["text"], axis=0)
    assert np.isclose(np.linalg.norm(gap), 2.0, atol=0.1)


def test_pairs_are_drawn_together_and_the_limit_holds() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 4))
    points = project({"image": rows, "text": rows}, limit=30)
    assert len(points["image"]) == 30
    assert points["image"] == points["text"]


def test_embeddings_in_one_dimension_lie_on_a_line() -> None:
    assert all(len(point) == 2 and point[1] == 0 for point in project({"image": [[1.0], [2.0]]})["image"])
