"""CrossVideoMAE's claims, on clips of real 8×8 digits that move, grow or turn: what does contrast add to filling in?

All arms train the same encoder of clips from the same weights on the same clips for as many steps, of which three
quarters are hidden. They differ in what is asked beside the hidden pixels: nothing; that a clip be found by its
augmented version (intra); and that clips and their frames be found by each other, as wholes and slot by slot (the
whole method). Its image branch is first trained by the same method on still digits. Measured are linear probes of the
frozen vectors and, in a search by a clip, how far ahead clips of the same action come.

1. The whole method against filling in alone, by the action, on clips that start anywhere.
2. What frames add to the contrast of clips: the digit, which one frame shows and no action tells. Here clips start in
   the middle, where the mean over tokens tells what is seen. It could fail because the frames know no more of it than
   the clip does.
3. The control: frames of other clips in the place of a clip's own must not help, and should be worse than its own.

The floor is the untrained encoder, the ceiling 100. Nothing is mirrored or standardised: actions have a direction, and
the ground no variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shared.moving import ACTIONS, FRAMES, SIDE
from shared.moving_named import Clips, as_frames, named_moving_digits, still_digits, view_of_clip
from sklearn.metrics import average_precision_score
from torch import Tensor

from accord.claims import Arm, Claim, Measured, Question, Scale
from accord.encoders import Encoder
from accord.encoders.masked import ImageMaeConfig, ImageMaeEncoder, VideoMaeConfig, VideoMaeEncoder
from accord.evaluation.linear_probe import fit_probe
from accord.functional import warmup_cosine_at
from accord.methods import DataInfo, Step
from accord.methods.base import Batch
from accord.methods.video.cross_video_mae import CrossVideoMae

MAE, INTRA, FULL, UNTRAINED = "filling in", "+ intra", "+ intra + cross", "untrained"
MIDDLE = "from the middle, {}"  # arms on clips that start there
OTHERS = "frames of others"
ACTION, DIGIT, SEARCH = "action", "digit", "mAP of actions"
CLIPS, TEST, EPOCHS, STILL_EPOCHS, BATCH, LR, WARMUP = 832, 480, 6, 6, 64, 2e-3, 0.1
TOWER = {"size": SIDE, "patch": 6, "width": 64, "depth": 3, "heads": 4}
CONTRAST = 0.1  # weight of each term beside the errors of pixels
TERMS = ("intra_video", "intra_frame", "cross_video", "cross_frame")
WHOLE: dict[str, Any] = {
    "video_ratio": 0.75,
    "image_ratio": 0.5,
    "stills": 1,
    "hidden": 128,
    "dim": 64,
    "decoder_width": 64,
    "decoder_depth": 1,
    "decoder_heads": 4,
    "standardise": False,
    **dict.fromkeys(TERMS, CONTRAST),
}
ALONE = {**WHOLE, "branches": "video", "intra_video": 0.0}
CONTRASTED = {**WHOLE, "branches": "video"}
SAME = 2.0  # points
POINTS: dict[str, Any] = {"smallest": SAME, "because": "with less, the mean over a few seeds could be either"}


class FramesOfOthers(CrossVideoMae):
    """The whole method, its image branch given the frames of the next clip of the batch."""

    def _as_stills(self, frames: Tensor) -> Tensor:
        return super()._as_stills(frames.roll(1, dims=0))


def outcome(
    seed: int, kind: type[CrossVideoMae], config: Mapping[str, Any], *, centred: bool, epochs: int, quick: bool = False
) -> Measured:
    """Train an encoder of clips and measure it: an arm of the claim."""
    counts = (32, 48) if quick else (CLIPS, TEST)
    train, test = clips_of(seed, *counts, centred)
    passes = min(epochs, 1) if quick else epochs
    torch.manual_seed(seed)
    towers: dict[str, Encoder] = {
        "video": VideoMaeEncoder(VideoMaeConfig.parse({**TOWER, "frames": FRAMES, "tubelet": 2}))
    }
    if config.get("branches", "both") == "both":
        towers["image"] = taught_image(seed, counts[0])
    torch.manual_seed(seed)  # the same decoder, whatever branches there are
    method = kind(config, towers, DataInfo(rows=counts[0]))
    steps = fitted(method, as_frames(train.frames), passes, seed) if passes else 0
    return Measured(measure(method.eval(), train, test), steps, passes)


@cache
def clips_of(seed: int, train: int, test: int, centred: bool) -> tuple[Clips, Clips]:
    """The clips of a seed, which its arms share."""
    return named_moving_digits(seed, train, test, centred=centred)


def fitted(method: CrossVideoMae, rows: Tensor, epochs: int, seed: int) -> int:
    """Train in place with AdamW, the usual schedule and the method's own learning rates; how many steps it took."""
    tuned = [(method.group(name).lr_scale, parameter) for name, parameter in method.named_parameters()]
    groups = [{"params": [parameter], "scale": scale} for scale, parameter in tuned if parameter.requires_grad]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), weight_decay=0.05)
    torch.manual_seed(seed)  # the same order and views for all arms
    total = epochs * max(1, len(rows) // BATCH)
    for index, batch in enumerate(batches(rows, epochs, method.main)):
        rate = warmup_cosine_at(index, round(WARMUP * total), total, base=LR)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        optimizer.zero_grad()
        method.loss(batch, Step(index=index, total=total, seed=100_000 * seed + index))["total"].backward()
        optimizer.step()
    return total


def batches(rows: Tensor, epochs: int, field: str) -> Iterator[Batch]:
    """Full batches in random order, each row as it is and as another view."""
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows)).split(BATCH)[: max(1, len(rows) // BATCH)]:
            yield {f"{field}_views": [rows[chosen], view_of_clip(rows[chosen])], "index": chosen}


def taught_image(seed: int, rows: int) -> ImageMaeEncoder:
    """An image branch that was trained on still digits, at most as many as there are clips."""
    encoder = ImageMaeEncoder(ImageMaeConfig.parse(TOWER))
    with torch.random.fork_rng(devices=[]):
        encoder.load_state_dict(still_weights(seed, rows))
    encoder.weights_from = "still digits"  # which lowers its learning rate
    return encoder


@cache
def still_weights(seed: int, rows: int) -> dict[str, Tensor]:
    """The weights of that branch."""
    torch.manual_seed(seed)
    encoder = ImageMaeEncoder(ImageMaeConfig.parse(TOWER))
    method = CrossVideoMae({**WHOLE, "branches": "image"}, {"image": encoder}, DataInfo(rows=rows))
    fitted(method, as_frames(still_digits(seed, rows)), STILL_EPOCHS if rows == CLIPS else 1, seed)
    return {name: value.detach() for name, value in encoder.state_dict().items()}


@torch.inference_mode()
def measure(method: CrossVideoMae, train: Clips, test: Clips) -> dict[str, float]:
    """Accuracies of probes, and the mean average precision of a search for clips of the same action."""
    known, asked = (method.embed({"video": as_frames(clips.frames)})["video"] for clips in (train, test))
    labels: dict[str, Sequence[Any]] = {ACTION: (train.actions, test.actions), DIGIT: (train.digits, test.digits)}
    found = {name: _probed(known, asked, *both) for name, both in labels.items()}
    return found | {SEARCH: _mean_average_precision(asked, test.actions)}


def _probed(known: Tensor, asked: Tensor, labels: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    with torch.inference_mode(False):
        probe = fit_probe(known.clone(), labels, 10, strengths=(100.0,))
    return 100 * float((probe.logits(asked).argmax(dim=1).numpy() == truth).mean())


def _mean_average_precision(vectors: Tensor, labels: NDArray[np.int64]) -> float:
    """Every clip asks for the others."""
    cosines, same = (vectors @ vectors.T).numpy(), labels[:, None] == labels
    others = ~np.eye(len(labels), dtype=bool)
    precision = [average_precision_score(same[row, one], cosines[row, one]) for row, one in enumerate(others)]
    return 100 * float(np.mean(precision))


def arm(config: Mapping[str, Any], kind: type[CrossVideoMae] = CrossVideoMae, **options: Any) -> Arm:
    """An arm on clips that start anywhere, or in the middle."""
    note, centred, epochs = options.get("note", ""), options.get("centred", False), options.get("epochs", EPOCHS)
    return Arm(function=partial(outcome, kind=kind, config=config, centred=centred, epochs=epochs), note=note)


CLAIM = Claim(
    slug="cross_video_mae",
    kind_of_data="composed",
    paper="A masked autoencoder of clips gets features that mean more when it is tied, by contrast, to augmented "
    "clips and to a pretrained masked autoencoder of their frames.",
    arms={
        MAE: arm(ALONE),
        INTRA: arm(CONTRASTED),
        FULL: arm(WHOLE),
        UNTRAINED: arm(ALONE, epochs=0),
        MIDDLE.format(INTRA): arm(CONTRASTED, centred=True),
        MIDDLE.format(FULL): arm(WHOLE, centred=True),
        MIDDLE.format(OTHERS): arm(WHOLE, FramesOfOthers, centred=True, note="the frames of another clip of the batch"),
        MIDDLE.format(UNTRAINED): arm(ALONE, centred=True, epochs=0),
    },
    scales={
        ACTION: Scale((UNTRAINED, 100 / len(ACTIONS)), 100.0),
        SEARCH: Scale((UNTRAINED, 100 / len(ACTIONS)), 100.0),
        DIGIT: Scale((MIDDLE.format(UNTRAINED), 10.0), 100.0),
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
            "The contrast of a clip with its augmented version alone tells actions better than filling in alone.",
            method=INTRA,
            baseline=MAE,
            metric=ACTION,
            **POINTS,
        ),
        Question(
            "cross",
            "A clip's frames add the digit: a probe finds it more often than with the contrast of clips alone.",
            method=MIDDLE.format(FULL),
            baseline=MIDDLE.format(INTRA),
            metric=DIGIT,
            **POINTS,
        ),
        Question(
            "own frames",
            "A clip's own frames add more of the digit than those of another clip.",
            method=MIDDLE.format(FULL),
            baseline=MIDDLE.format(OTHERS),
            metric=DIGIT,
            **POINTS,
        ),
        Question(
            "frames of others",
            f"Frames of another clip help by less than {SAME:g} points over the contrast of clips alone.",
            method=MIDDLE.format(OTHERS),
            baseline=MIDDLE.format(INTRA),
            metric=DIGIT,
            higher=False,
            margin=-SAME,
            **POINTS,
        ),
    ],
    tuning="By one training of some arms on seed 100, which is none of the record; nothing was searched for. The image "
    "branch's training on still digits comes before the steps that are counted.",
)
