"""PixPro on scenes of three or four digits: is a task for cells better for cells than a task for whole crops?

1. The pixel task against the method's own instance branch (BYOL) after the same steps, by a linear probe that names the
   digit, or nothing, in each cell. It could fail because each cell of a small map sees a whole digit anyway.
2. Propagation against comparing the plain cells. Without it the loss can run to its trivial end.
3. Both tasks together against each alone.
4. PixContrast, which contrasts cells, against SimCLR, which contrasts whole crops, and the pixel task against SimCLR:
   the paper's comparisons are in longer training.
5. Where both views are the same picture, cells of one place are equal before anything is learnt: the pixel task should
   then teach no more than the instance branch.

Views differ in their place alone, in all arms. The floor is the untrained network, the ceiling the same network taught
by the masks in as many steps.

    accord claims run pixpro
"""

from __future__ import annotations

from typing import Any

from shared.scenes import (
    CROPS,
    MIOU,
    POINTS,
    SCALE,
    SIMCLR,
    TRAINING,
    WHOLE,
    cell_encoder,
    ends,
    masked_scenes,
    segmentation,
)

from accord.claims import Arm, Claim, Question


def question(name: str, statement: str, method: str, baseline: str, **more: Any) -> Question:
    """A question about the linear probe."""
    return Question(name, statement, method=method, baseline=baseline, metric=MIOU, **{**POINTS, **more})


INSTANCE = {"method.pixel_weight": 0.0, "method.instance_weight": 1.0}

CLAIM = Claim(
    slug="pixpro",
    kind_of_data="composed",
    paper="Consistency between cells that show the same place learns better features for dense tasks than contrast or "
    "consistency between whole crops; propagation is what makes it work without negatives.",
    data=masked_scenes,
    run={
        "method": {"name": "pixpro", "dim": 48, "hidden": 128, "momentum": 0.97, "colour": False, **CROPS},
        "training": TRAINING,
    },
    encoders=cell_encoder,
    arms={
        "pixel": Arm(),
        "instance": Arm(INSTANCE),
        "pixel and instance": Arm({"method.instance_weight": 1.0}),
        "pixel, no propagation": Arm({"method.propagation": False}),
        "PixContrast": Arm({"method.objective": "pixcontrast"}),
        "SimCLR": Arm(SIMCLR),
        "pixel, equal views": Arm(WHOLE),
        "instance, equal views": Arm(INSTANCE | WHOLE),
        **ends(segmentation),
    },
    measure=segmentation,
    scales={MIOU: SCALE},
    questions=[
        question(
            "pixel against instance",
            "The pixel task gives better cells than the instance branch alone.",
            "pixel",
            "instance",
        ),
        question(
            "propagation",
            "Propagation gives better cells than comparing the plain ones.",
            "pixel",
            "pixel, no propagation",
        ),
        question(
            "both against pixel",
            "Both tasks together give cells that are less than a point worse than the pixel task's.",
            "pixel and instance",
            "pixel",
            margin=-1.0,
        ),
        question(
            "both against instance",
            "Both tasks together give better cells than the instance branch alone.",
            "pixel and instance",
            "instance",
        ),
        question(
            "against SimCLR",
            "The pixel task gives better cells than SimCLR on whole crops.",
            "pixel",
            "SimCLR",
        ),
        question(
            "contrast of cells",
            "Contrast of cells gives better cells than SimCLR's of whole crops.",
            "PixContrast",
            "SimCLR",
        ),
        question(
            "equal views",
            "Where both views are the same picture, the pixel task gives no better cells than the instance branch.",
            "pixel, equal views",
            "instance, equal views",
            expects="equivalent",
        ),
    ],
    seeds=5,
    tuning="Nothing was searched for: the method's recipe for small pictures, one rate, batch and length for all arms.",
)
