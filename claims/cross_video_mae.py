"""CrossVideoMAE's claims, on clips of real 8×8 digits that move, grow or turn: what does contrast add to filling in?

All arms train the same encoder of clips from the same weights on the same clips for as many steps, of which three
quarters are hidden. They differ in what is asked beside the hidden pixels: nothing; that a clip be found by its
augmented version (intra); and that clips and their frames be found by each other, as wholes and slot by slot (the whole
method). Its image branch is first trained by the same method on still digits. Measured are probes of the frozen vectors,
for the action and for the digit that moves, which starts in the middle of the frame, and how clips of the same action
come first in a search by a clip.

1. The whole method against filling in alone: action and search.
2. What frames add to the contrast of clips: the digit, which one frame shows and the action does not tell. It could fail
   because the frames know no more of it than the clip does.
3. The control: frames of other clips in the place of a clip's own must not help, and should be worse than its own.

The floor is the untrained encoder, the ceiling 100. Nothing is mirrored, jittered or standardised: actions have a
direction, digits no colour and their ground no variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shared.moving import ACTIONS, FRAMES, SIDE
from shared.moving_named import digits_of, named_moving_digits, still_digits
from sklearn.metrics import average_precision_score
from torch import Tensor

from accord.claims import Arm, Claim, Question, Scale
from accord.data.corpus import Corpus
from accord.encoders import Encoder, build_encoder
from accord.encoders.masked import ImageMaeConfig, ImageMaeEncoder
from accord.evaluation.linear_probe import fit_probe
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model
from accord.training.config import TrainingConfig
from accord.training.fit import fit

MAE, INTRA, FULL, SHUFFLED, UNTRAINED = "filling in", "+ intra", "+ intra + cross", "frames of others", "untrained"
ACTION, DIGIT, SEARCH = "action", "digit", "mAP of actions"
CLIPS, TEST, EPOCHS, STILL_EPOCHS, BATCH, LR = 960, 480, 10, 6, 64, 2e-3
TOWER = {"size": SIDE, "patch": 6, "width": 64, "depth": 3, "heads": 4}
CONTRAST = 0.1  # weight of each term beside the errors of pixels
METHOD: dict[str, Any] = {
    "name": "cross_video_mae",
    "video_ratio": 0.75,
    "image_ratio": 0.5,
    "stills": 4,
    "hidden": 128,
    "dim": 64,
    "decoder_width": 64,
    "decoder_depth": 1,
    "decoder_heads": 4,
    "standardise": False,
    "crop_scale": [0.6, 1.0],
    "flip": 0.0,
    "colour": False,
    **dict.fromkeys(("intra_video", "intra_frame", "cross_video", "cross_frame"), CONTRAST),
}
TRAINING: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "lr": LR, "accelerator": "cpu"}
SAME = 2.0  # points
POINTS: dict[str, Any] = {"smallest": SAME, "because": "with less, the mean over a few seeds could be either"}


class StillsOfOthers(ImageMaeEncoder):
    """An image branch that is given the frames of the next clip of the batch."""

    def patches(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """As elsewhere, of pictures that stand as many places further on as a clip has frames."""
        return super().patches(x.roll(METHOD["stills"], dims=0))


def few_clips(seed: int) -> tuple[Corpus, Corpus]:
    """As many clips as four arms get through in a quarter of a minute each."""
    return named_moving_digits(seed, train=CLIPS, test=TEST)


@cache
def still_weights(seed: int, rows: int) -> dict[str, Tensor]:
    """An image branch that was trained on still digits, as many as there are clips at most."""
    stills = still_digits(seed, rows)
    towers = {"image": build_encoder("image", {"name": "image_mae", **TOWER}, weights=False)}
    settings = {name: value for name, value in METHOD.items() if name != "name"}
    method = get_method(METHOD["name"])({**settings, "branches": "image"}, towers, DataInfo(rows=len(stills)))
    epochs = STILL_EPOCHS if rows >= CLIPS else 1  # in a smoke run
    config = TrainingConfig.parse({**TRAINING, "epochs": epochs, "batch_size": min(BATCH, len(stills)), "seed": seed})
    with TemporaryDirectory() as folder:
        fit(method, stills, config, Path(folder), progress=False)
    return {name: value.detach() for name, value in towers["image"].state_dict().items()}


def own_stills(corpus: Corpus, seed: int) -> Mapping[str, Encoder]:
    """The image branch of the whole method."""
    return {"image": _taught(ImageMaeEncoder(ImageMaeConfig.parse(TOWER)), corpus, seed)}


def stills_of_others(corpus: Corpus, seed: int) -> Mapping[str, Encoder]:
    """That of the control."""
    return {"image": _taught(StillsOfOthers(ImageMaeConfig.parse(TOWER)), corpus, seed)}


def _taught(encoder: ImageMaeEncoder, corpus: Corpus, seed: int) -> ImageMaeEncoder:
    encoder.load_state_dict(still_weights(seed, len(corpus)))
    encoder.weights_from = "still digits"  # so that it is tuned at a tenth of the learning rate
    return encoder


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Accuracies of probes, and the mean average precision of a search for clips of the same action."""
    known, asked = (model.embed_corpus(rows, "video") for rows in (train, test))
    labels = {ACTION: (train.labels, test.labels), DIGIT: (digits_of(train), digits_of(test))}
    found = {name: _probed(known, asked, *both) for name, both in labels.items()}
    return found | {SEARCH: _mean_average_precision(asked, np.asarray(test.labels))}


def _probed(known: Tensor, asked: Tensor, labels: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    with torch.inference_mode(False):
        probe = fit_probe(known.clone(), labels, 10, strengths=(100.0,))
    return 100 * float((probe.logits(asked).argmax(dim=1).numpy() == truth).mean())


def _mean_average_precision(vectors: Tensor, labels: NDArray[np.int64]) -> float:
    """Every clip asks for the others."""
    cosines, same = (vectors @ vectors.T).numpy(), labels[:, None] == labels
    others = ~np.eye(len(labels), dtype=bool)
    asked = (row for row in range(len(labels)) if same[row, others[row]].any())
    return 100 * float(
        np.mean([average_precision_score(same[row, others[row]], cosines[row, others[row]]) for row in asked])
    )


CLAIM = Claim(
    slug="cross_video_mae",
    kind_of_data="composed",
    paper="A masked autoencoder of clips gets features that mean more when it is tied, by contrast, to augmented "
    "clips and to a pretrained masked autoencoder of their frames.",
    data=few_clips,
    run={
        "method": METHOD,
        "encoders": {"video": {"name": "video_mae", "options": {**TOWER, "frames": FRAMES, "tubelet": 2}}},
        "training": TRAINING,
    },
    arms={
        FULL: Arm(encoders=own_stills),
        MAE: Arm({"method.branches": "video", "method.intra_video": 0.0}),
        INTRA: Arm({"method.branches": "video"}),
        SHUFFLED: Arm(encoders=stills_of_others, note="the image branch sees frames of another clip"),
        UNTRAINED: Arm({"method.branches": "video"}, untrained=True),
    },
    measure=measure,
    scales={
        ACTION: Scale((UNTRAINED, 100 / len(ACTIONS)), 100.0),
        DIGIT: Scale((UNTRAINED, 10.0), 100.0),
        SEARCH: Scale((UNTRAINED, 100 / len(ACTIONS)), 100.0),
    },
    questions=[
        Question(
            "action",
            "The whole method tells actions better than filling in alone.",
            method=FULL,
            baseline=MAE,
            metric=ACTION,
            **POINTS,
        ),
        Question(
            "search",
            "Clips of the same action come further ahead in a search by a clip than after filling in alone.",
            method=FULL,
            baseline=MAE,
            metric=SEARCH,
            **POINTS,
        ),
        Question(
            "intra",
            "Contrast of a clip with its augmented version is enough to tell actions better than filling in alone.",
            method=INTRA,
            baseline=MAE,
            metric=ACTION,
            **POINTS,
        ),
        Question(
            "cross",
            "A clip's frames add the digit: a probe finds it more often than with the contrast of clips alone.",
            method=FULL,
            baseline=INTRA,
            metric=DIGIT,
            **POINTS,
        ),
        Question(
            "own frames",
            "A clip's own frames add more of the digit than those of another clip.",
            method=FULL,
            baseline=SHUFFLED,
            metric=DIGIT,
            **POINTS,
        ),
        Question(
            "frames of others",
            f"Frames of another clip help by less than {SAME:g} points over the contrast of clips alone.",
            method=SHUFFLED,
            baseline=INTRA,
            metric=DIGIT,
            higher=False,
            margin=-SAME,
            **POINTS,
        ),
    ],
    tuning="Ratios, weights and tubelets as in a trial on other clips; learning rate and epochs by one training of "
    "filling in alone, on seed 100.",
)
