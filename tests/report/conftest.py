from __future__ import annotations

import pytest
from PIL import Image

from accord.evaluation.metric import Metric
from accord.papers import get_card
from accord.report import (
    Arm,
    BothSides,
    Classes,
    ClassRow,
    Comparison,
    Confusion,
    Curves,
    Example,
    Geometry,
    Item,
    LeftOut,
    Noise,
    NoisyPair,
    Picture,
    Quantity,
    Relations,
    Retrieval,
    RunSummary,
    Sheet,
    Sheets,
)

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def picture() -> Picture:
    return Picture.of(Image.new("RGB", (200, 100), "red"), "a red bar")


@pytest.fixture
def full(picture: Picture) -> RunSummary:
    """A summary with every part, and hostile text wherever a data set could bring it."""
    top = Metric("top-1", 53.8, 50.0, 57.6, 3.8, 734)
    rank = Metric("median rank", 9.0, 7.0, 11.0, 367.0, 734, "rank")
    hits = (Item(picture, HOSTILE, 0.7, True), Item(picture, "a blue bar", 0.6, False))
    return RunSummary(
        title="A full run",
        method="capro",
        lede="It worked.",
        card=get_card("capro"),
        setup={"Data": {"source": HOSTILE, "rows": "2 954"}},
        metrics=(top, rank),
        comparison=Comparison((Arm("capro", (top,), "method"), Arm("cross-entropy", (top,))), seeds=5),
        curves={"vanilla/total": [(0, 3.0), (9, 2.0)], "prototypes/total": [(0, 2.0), (9, 1.0)]},
        sections=(
            Retrieval(
                "✓ is a hit.",
                (Example(Item(text="red bar"), hits), Example(Item(picture), (Item(text=HOSTILE, correct=True),))),
            ),
            Confusion((HOSTILE, "dog"), [[8, 2], [1, 9]]),
            Relations(HOSTILE, (HOSTILE, "dog"), [[1.0, 0.2], [0.2, 1.0]]),
            Classes((ClassRow("dog", 90.0, 10, (Item(picture),), (Item(picture, HOSTILE),)),)),
            Curves(HOSTILE, {HOSTILE: [(0.3, 90.0), (0.5, 70.0)]}, x="IoU", y="recall"),
            Sheets(HOSTILE, (Sheet(HOSTILE, "new", HOSTILE, ((HOSTILE, (*hits, Item(text="gone"))),)),)),
            Geometry((Quantity("modality gap", -0.4, "distance of the means"),), {"image": [(0, 0), (1, 2)]}),
        ),
        noise=Noise(
            2954,
            800,
            600,
            (Metric("purity", 80.0, None, None, None, 99),),
            (NoisyPair(picture, HOSTILE, HOSTILE, "dog", "dog", 0.1, where=f"row 7 · {HOSTILE}.png"),),
            link="doubted.csv",
        ),
        left_out=LeftOut({"not a picture": 12}, ((3, f"{HOSTILE}.png", "not a picture"),), link="quarantine.jsonl"),
        both_sides=BothSides(("2 of 9 rows.",), ((Item(picture, "held out: row 1"), Item(picture, "row 2")),)),
        next_steps=("accord search runs/a 'red heart'",),
    )
