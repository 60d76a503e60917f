"""Clips: decoding only the frames wanted, and augmenting all frames of a clip alike.

*Decoding*: a film of H.264, written here: a texture that glides over another, 30 frames a second. Asked are evenly
spaced frames. The peer is PyAV that decodes everything from the start, with what is asked for made pictures ("frames
asked"), or every frame ("all frames"), as readers of whole films do. Keyframes stand every so many frames; 250 is the
usual setting of the encoder. The frames of all sides are compared, and have to be the same.

*Augmentation*: crop, flip, colours and grey of a clip's pictures, to ``uint8`` tensors; with *blur* also a Gaussian
blur of half of the clips. Ours takes one draw for all frames; the peer is torchvision v2 with the same settings, frame
by frame, which draws anew for each, so that a clip flickers, and v2 on all frames as one tensor, which does not.

Given are medians of processor time on one thread, in turns; a ratio is ours over the peer's.

    python benchmarks/clips.py [frames of the film [rounds]]
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from record import write
from torchvision.transforms import v2

from accord.data.augmenting.crops import cut_views
from accord.data.augmenting.views import View
from accord.data.draws import Draws
from accord.data.inputs import ImageInput
from accord.data.reading.frames import Clip, Timeline, spaced
from accord.data.reading.video import read_video

FRAMES, WANTED, ROUNDS = 600, 8, 9
FILM = (640, 360)  # pixels
KEYS = (30, 250)  # frames from keyframe to keyframe
PICTURE, SIDE = (340, 256), 224  # of a decoded frame, and of what an encoder is fed
JITTER, GRAY, BLUR = (0.4, 0.4, 0.4, 0.1), 0.2, 0.5
Side = Callable[[], Any]


def main(frames: int = FRAMES, rounds: int = ROUNDS) -> None:
    """Measure, print and write ``results/clips.json``."""
    torch.set_num_threads(1)
    rows = []
    for row in chain(decoding(frames, rounds), augmenting(rounds)):
        rows.append(row)
        print(row, flush=True)
    print("written:", write("clips", rows, ("accord", "av", "pillow", "torch", "torchvision")))


def compared(what: str, ours: Side, peers: dict[str, Side], rounds: int) -> Iterator[dict[str, Any]]:
    """One row a peer."""
    spent = in_turns({"ours": ours, **peers}, rounds)
    for name in peers:
        ratio = round(spent["ours"] / spent[name], 3)
        yield {
            "what": what,
            "peer": name,
            "ours ms": round(1000 * spent["ours"], 1),
            "peer ms": round(1000 * spent[name], 1),
            "ours / peer": ratio,
        }


def in_turns(sides: dict[str, Side], rounds: int) -> dict[str, float]:
    """Median seconds of a side, after a first round that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            started = time.process_time()
            side()
            spent[name].append(time.process_time() - started)
    return {name: statistics.median(times[1:]) for name, times in spent.items()}


# ---- decoding --------------------------------------------------------------------------------------------------------


def decoding(frames: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A film with many keyframes, and one with few."""
    for keys in KEYS:
        content = film(frames, keys)
        wanted = spaced(frames, WANTED)
        ours = partial(read_video, content, None, frames=WANTED)
        peers = {"frames asked": partial(decoded, content, wanted), "all frames": partial(decoded, content, None)}
        every = peers["all frames"]()
        for found in (ours(), peers["frames asked"](), [every[position] for position in wanted]):
            assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(found, ours(), strict=True))
        what = f"{WANTED} of {frames} frames of {FILM[0]} x {FILM[1]}, a keyframe every {keys}"
        yield from compared(what, ours, peers, rounds)


def film(frames: int, keys: int) -> bytes:
    """An mp4 in which something moves."""
    random, stream = np.random.default_rng(0), io.BytesIO()
    width, height = FILM
    behind, thing = (texture(random, size) for size in ((2 * width, height), (width // 4, height // 4)))
    with av.open(stream, "w", format="mp4") as container:
        track: Any = container.add_stream("libx264", rate=30, options={"g": str(keys), "preset": "veryfast"})
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            shown = np.roll(behind, -2 * number, axis=1)[:, :width].copy()
            left = 5 * number % (width - thing.shape[1])
            shown[height // 3 :, left : left + thing.shape[1]][: thing.shape[0]] = thing
            container.mux(track.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(track.encode())
    return stream.getvalue()


def texture(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Random colours that vary at several scales, (H, W, 3) uint8."""
    layers = [
        Image.fromarray(random.integers(0, 256, (grain, grain, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        for grain in (4, 16, 64)
    ]
    return np.mean([np.asarray(layer) for layer in layers], axis=0).astype(np.uint8)


def decoded(content: bytes, wanted: list[int] | None) -> list[Image.Image]:
    """Frames of a film that is decoded from start to end: some, or all."""
    kept = None if wanted is None else set(wanted)
    with av.open(io.BytesIO(content)) as container:
        frames = enumerate(container.decode(video=0))
        return [frame.to_image() for number, frame in frames if kept is None or number in kept]


# ---- augmentation ----------------------------------------------------------------------------------------------------


def augmenting(rounds: int) -> Iterator[dict[str, Any]]:
    """Without and with blur."""
    random = np.random.default_rng(1)
    pictures = tuple(Image.fromarray(texture(random, PICTURE)) for _ in range(WANTED))
    clip = Clip(pictures, Timeline(tuple(range(WANTED)), tuple(float(n) for n in range(WANTED)), WANTED))
    for blur in (0.0, BLUR):
        view = View(scale=(0.2, 1.0), jitter=JITTER, jitter_p=0.8, gray=GRAY, blur=blur)
        peer = torchvision_v2(blur)
        rows = iter(range(10**9))

        def ours(view: View = view, rows: Iterator[int] = rows) -> list[torch.Tensor]:
            spec = ImageInput(size=SIDE)
            return [cut_views(clip, (view,), spec, Draws(row=next(rows), training=True))[0].pixels for _ in range(10)]

        def by_frame(peer: v2.Transform = peer) -> list[torch.Tensor]:
            return [torch.stack([peer(picture) for picture in pictures]) for _ in range(10)]

        def at_once(peer: v2.Transform = peer) -> list[torch.Tensor]:
            return [peer(torch.stack([v2.functional.pil_to_tensor(one) for one in pictures])) for _ in range(10)]

        what = f"10 clips of {WANTED} frames to {SIDE} x {SIDE}{', blur' if blur else ''}"
        yield from compared(what, ours, {"v2, frame by frame": by_frame, "v2, one tensor": at_once}, rounds)


def torchvision_v2(blur: float) -> v2.Transform:
    """The same view in torchvision's transforms."""
    kernel = SIDE // 20 * 2 + 1  # as in SimCLR, a tenth of the side
    blurred = [v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], p=blur)] if blur else []
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, scale=(0.2, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(*JITTER)], p=0.8),
            v2.RandomGrayscale(GRAY),
            *blurred,
            v2.Lambda(lambda seen: seen if isinstance(seen, torch.Tensor) else v2.functional.pil_to_tensor(seen)),
        ]
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
