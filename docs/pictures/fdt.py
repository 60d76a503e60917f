"""Why FDT finds a held-out emoji by its name: the concepts that picture and name share.

The patches of the frozen image encoder are computed once; training reads them from memory.

python docs/pictures/fdt.py
"""

from __future__ import annotations

import torch
from shared import EMOJI, IMAGES

from accord.data.corpus import Corpus
from accord.data.features import Features
from accord.data.loader import eval_loader, train_loader
from accord.data.recipe import prepare
from accord.explain import draw_concepts, explain_concepts
from accord.methods import Method, Stage, Step
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.optimiser import build_optimizer, schedule

NAME = "red heart"
RUN = RunConfig.parse(
    {
        "data": EMOJI,
        "method": {"name": "fdt", "num_tokens": 512, "dim": 128},
        "encoders": {
            "image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 128}},  # 4×4 patches
            "text": {"name": "tiny_text", "options": {"width": 128, "depth": 2, "vocabulary": 2048}},
        },
        "training": {"epochs": 20, "batch_size": 64, "lr": 1e-3},
    }
)


def main() -> None:
    """Train on emoji, and explain one that was held out."""
    prepared = prepare(RUN.data, quiet=True)
    method = build_method(RUN, prepared.train)
    train(method, prepared.train, patches(method, prepared.train))
    place = next(row for row, texts in enumerate(prepared.test.texts()) if texts[0] == NAME)
    picture = prepared.test.sample(place, modalities=("image",))["image"]
    corpus = prepared.train.select(range(0, len(prepared.train), 3))
    print(draw_concepts(explain_concepts(Model(method), picture, NAME, corpus, k=5), IMAGES / "fdt.png"))


@torch.inference_mode()
def patches(method: Method, corpus: Corpus) -> Features:
    """What the image encoder makes of every row."""
    encoder = method.encoders["image"]
    found = [encoder(batch["image"]) for batch in eval_loader(corpus, {"image": encoder.input})]  # type: ignore[dict-item]
    return Features(*(torch.cat([getattr(one, name) for one in found]) for name in ("pooled", "tokens")))


def train(method: Method, corpus: Corpus, seen: Features) -> None:
    """The method on the patches of its rows and their names."""
    config = RUN.training
    loader = train_loader(
        corpus,
        {"text": method.encoders["text"].input},
        (),
        batch_size=config.batch_size,
        seed=config.seed,  # type: ignore[dict-item]
    )
    trained = [(name, value) for name, value in method.named_parameters() if value.requires_grad]
    optimizer = build_optimizer(trained, config, method.group)
    total = config.epochs * len(loader)
    for index, batch in enumerate(batch for _ in range(config.epochs) for batch in loader):
        rows = batch["index"]
        batch["image"] = Features(seen.pooled[rows], seen.tokens[rows])  # type: ignore[index]
        if index == 0:
            method.before_stage(Stage(), [batch])  # type: ignore[arg-type]
        for group in optimizer.param_groups:
            group["lr"] = config.lr * schedule(index, total, config.warmup)
        optimizer.zero_grad()
        method.loss(batch, Step(index=index, total=total))["total"].backward()
        optimizer.step()
        method.after_step(Step(index=index, total=total))


if __name__ == "__main__":
    main()
