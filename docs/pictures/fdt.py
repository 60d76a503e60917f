"""Why FDT finds a held-out emoji by its name: the concepts that picture and name share.

Both encoders are pretrained and frozen. What they make of the training rows is computed once, and the codebook with
its query maps is trained on that.

python docs/pictures/fdt.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from shared import EMOJI, IMAGES

from accord.data.corpus import Corpus
from accord.data.loading.features import Features
from accord.data.loading.loader import eval_loader
from accord.data.recipe import prepare
from accord.explaining import draw_concepts, explain_concepts
from accord.methods import Method, Stage, Step
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.optimiser import build_optimizer, schedule

NAME = "sparkling heart"
RUN = RunConfig.parse(
    {
        "data": EMOJI,
        "method": {"name": "fdt", "num_tokens": 256, "dim": 64, "temperature_decay": 0.9, "decay_steps": 100},
        "encoders": {
            "image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 128}},  # 4×4 patches
            "text": {"name": "minilm", "freeze": "all"},
        },
        "training": {"epochs": 30, "batch_size": 128, "lr": 1e-3},
    }
)


def main() -> None:
    """Train on emoji, and explain one that was held out."""
    prepared = prepare(RUN.data, quiet=True)
    method = build_method(RUN, prepared.train)
    train(method, features(method, prepared.train))
    place = next(row for row, texts in enumerate(prepared.test.texts()) if texts[0] == NAME)
    picture = prepared.test.sample(place, fields=("image",))["image"]
    corpus = prepared.train.select(range(0, len(prepared.train), 2))
    path = draw_concepts(explain_concepts(Model(method), picture, NAME, corpus, k=4), IMAGES / "fdt.png")
    with Image.open(path) as drawn:
        drawn.convert("RGB").quantize(256).save(path, optimize=True)
    print(path)


@torch.inference_mode()
def features(method: Method, corpus: Corpus) -> dict[str, Features]:
    """What the encoders make of every row, with its first name."""
    found: dict[str, list[Features]] = {"image": [], "text": []}
    inputs = {name: encoder.input for name, encoder in method.encoders.items()}
    for batch in eval_loader(corpus, inputs):  # type: ignore[arg-type]
        for name, rows in found.items():
            rows.append(method.encoders[name](batch[name], batch.get(f"{name}_mask")))
    image, text = found.values()
    longest = max(rows.tokens.shape[1] for rows in text)  # type: ignore[union-attr]
    gaps = [longest - rows.tokens.shape[1] for rows in text]  # type: ignore[union-attr]
    return {
        "image": Features(*(torch.cat([getattr(rows, part) for rows in image]) for part in ("pooled", "tokens"))),
        "text": Features(
            torch.cat([rows.pooled for rows in text]),
            torch.cat([F.pad(rows.tokens, (0, 0, 0, gap)) for rows, gap in zip(text, gaps, strict=True)]),  # type: ignore[arg-type]
            torch.cat([F.pad(rows.mask, (0, gap)) for rows, gap in zip(text, gaps, strict=True)]),  # type: ignore[arg-type]
        ),
    }


def train(method: Method, seen: dict[str, Features]) -> None:
    """The method on the features of its rows."""
    config, count = RUN.training, len(seen["image"].pooled)
    torch.manual_seed(config.seed)
    batches = [rows for _ in range(config.epochs) for rows in torch.randperm(count).split(config.batch_size)]
    trained = [(name, value) for name, value in method.named_parameters() if value.requires_grad]
    optimizer = build_optimizer(trained, config, method.group)
    method.before_stage(Stage(), [batch_of(seen, batches[0])])  # type: ignore[arg-type]
    for index, rows in enumerate(batches):
        step = Step(index=index, total=len(batches))
        for group in optimizer.param_groups:
            group["lr"] = config.lr * schedule(index, step.total, config)
        optimizer.zero_grad()
        method.loss(batch_of(seen, rows), step)["total"].backward()
        optimizer.step()
        method.after_step(step)


def batch_of(seen: dict[str, Features], rows: torch.Tensor) -> dict[str, Features]:
    """Some rows as a batch."""
    return {
        name: Features(
            all_rows.pooled[rows], all_rows.tokens[rows], None if all_rows.mask is None else all_rows.mask[rows]
        )  # type: ignore[index]
        for name, all_rows in seen.items()
    }


if __name__ == "__main__":
    main()
