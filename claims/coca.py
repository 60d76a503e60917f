"""CoCa's claims, on digit scenes: 16×16 pictures of four real digits, with captions that name some and their places.

1. Captioning costs contrast nothing: retrieval is as good as with the contrastive loss alone, after the same steps
   from the same towers. It could fail because the unimodal half must serve both losses. And the captioner gains what it
   lacks: an embedding that tells digits apart without training on labels.
2. The decoder looks at the picture. With the pictures of a batch mixed up, the words that depend on it (digits and
   places) are predicted worse by more than 0.3 nats, and the words of the grammar are not. It could fail because
   captions follow a grammar that can be learned without looking.
3. The cut costs little: reading the picture in the second half of the layers only, perplexity is less than 5 % higher
   than reading it in every layer, for fewer operations. It could fail because what the words ask of the picture is
   decided late.

The decoder that reads the picture everywhere has the same number of self-attention layers: its text encoder is the
embedding table alone, and its decoder twice as deep. Both are trained to caption alone, since its words know the
picture and could not be matched with it.

    accord claims run coca
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from shared.captions import best_recall
from shared.digits import CELLS, WORDS, digit_scenes, mentions
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from accord.claims import Arm, Claim, Combined, Question, Scale
from accord.data.corpus import Corpus
from accord.data.inputs import TextInput
from accord.data.loading.loader import eval_loader
from accord.encoders import Encoder, Features
from accord.encoders.tokenizer import JsonTokenizer, train_bpe
from accord.evaluation.retrieval import evaluate_retrieval
from accord.functional import caption_nll
from accord.methods.image_text.coca import Coca
from accord.training.artifact import Model

CONTENT = {*WORDS, *" ".join(CELLS).split()}  # words that no grammar gives
IGNORED = -100
LENGTH, VOCABULARY, WIDTH, DEPTH = 24, 400, 64, 2


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Fit of the captions and how many written mentions are right; of models that embed texts, retrieval as well."""
    values = {
        "right mentions": right_mentions(model, test),
        "MFLOP": operations(model, test),
        **fits(model, test),
    }
    if isinstance(model.method.encoders["text"], WordTable):
        return values
    found = {metric.name: metric.value for metric in evaluate_retrieval(model, test)}
    recall = (found["image→text R@1"] + found["text→image R@1"]) / 2
    return {**values, "R@1": recall, "zero-shot": zero_shot(model, test)}


def zero_shot(model: Model, corpus: Corpus) -> float:
    """Share of named digits, in percent, that the picture's embedding finds among the ten in that place."""
    pictures = model.embed_corpus(corpus, "image")
    prompts = {place: model.embed(texts=[f"a picture with {word} {place}" for word in WORDS]) for place in CELLS}
    hits = []
    for picture, (caption, *_) in zip(pictures, corpus.texts(), strict=True):
        words = caption.split()
        for word, digit, _ in mentions(caption):
            place = " ".join(words[word + 1 : word + 3])
            hits.append(int((picture @ prompts[place].T).argmax()) == digit)
    return 100 * sum(hits) / len(hits)


def right_mentions(model: Model, corpus: Corpus) -> float:
    """Share, in percent, of written digits that stand where they are said to, as far as the true caption tells."""
    hits = []
    found = model.caption_corpus(corpus, decoding={"method": "greedy"})
    for written, (caption, *_) in zip(found, corpus.texts(), strict=True):
        truth = {cell: digit for _, digit, cell in mentions(caption)}
        hits += [truth[cell] == digit for _, digit, cell in mentions(written) if cell in truth]
    return 100 * sum(hits) / max(1, len(hits))


@torch.inference_mode()
def fits(model: Model, corpus: Corpus) -> dict[str, float]:
    """Perplexity of true captions, nats of their content words and of the others, and the same with other pictures."""
    coca = model.method
    assert isinstance(coca, Coca)
    tokenizer = coca.tokenizer
    content = torch.tensor([tokenizer.decode([index]) in CONTENT for index in range(len(tokenizer.tokens))])
    own, other, meant, real = [], [], [], []
    for batch in eval_loader(corpus, model.inputs, batch_size=100, modalities=("image", "text")):
        text, (memory, _) = coca.read(batch), coca.look(batch)
        ids = batch["text"].masked_fill(~batch["text_mask"], IGNORED)
        for pictures, found in ((memory, own), (memory.roll(1, dims=0), other)):
            found.append(caption_nll(coca.logits(text, pictures), ids, IGNORED)[:, :-1].flatten())
        real.append(batch["text_mask"][:, 1:].flatten())
        meant.append((content[batch["text"][:, 1:]] & batch["text_mask"][:, 1:]).flatten())
    nats, mixed, words, tokens = (torch.cat(parts) for parts in (own, other, meant, real))
    return {
        "perplexity": float(nats[tokens].mean().exp()),
        "nats": float(nats[words].mean()),
        "nats, another picture": float(mixed[words].mean()),
        "nats of the grammar": float(nats[tokens & ~words].mean()),
        "nats of the grammar, another picture": float(mixed[tokens & ~words].mean()),
    }


def operations(model: Model, corpus: Corpus) -> float:
    """Operations of one forward pass through both halves of the decoder, for each caption, in millions."""
    coca = model.method.train()  # the fused layers of evaluation are not counted
    assert isinstance(coca, Coca)
    batch = next(iter(eval_loader(corpus, model.inputs, batch_size=100, modalities=("image", "text"))))
    with FlopCounterMode(display=False) as counter:
        memory, _ = coca.look(batch)
        looked = counter.get_total_flops()
        coca.logits(coca.read(batch), memory)
    coca.eval()
    return (counter.get_total_flops() - looked) / len(batch["text"]) / 1e6


class WordTable(Encoder):
    """Words and their positions, and no layer: all layers are left to the decoder."""

    modality = "text"
    gives = frozenset({"pooled", "tokens"})

    def __init__(self, tokenizer: str) -> None:
        super().__init__()
        self.input = TextInput(JsonTokenizer(tokenizer))
        self.dim, self.text = WIDTH, tokenizer
        self.embedding = nn.Embedding(JsonTokenizer(tokenizer).vocabulary, WIDTH)
        self.positions = nn.Parameter(0.01 * torch.randn(LENGTH, WIDTH))
        nn.init.normal_(self.embedding.weight, std=0.02)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Each token by itself; the vector of a text is that of its first, which says nothing."""
        tokens = self.embedding(x) + self.positions[: x.shape[1]]
        return Features(pooled=tokens[:, 0], tokens=tokens, mask=mask)

    def blocks(self) -> list[nn.Module]:
        """The table."""
        return [self.embedding]

    def spec(self) -> dict[str, Any]:
        """Its tokenizer."""
        return {"name": "word_table", "tokenizer": self.text}


def word_table(corpus: Corpus, seed: int) -> dict[str, Encoder]:
    """The table for the words of a corpus."""
    texts = [text for row in corpus.texts() for text in row]
    return {"text": WordTable(train_bpe(texts, vocabulary=VOCABULARY, length=LENGTH))}


def relative(cut: Mapping[str, float], everywhere: Mapping[str, float]) -> dict[str, float]:
    """By how many percent the cut raises perplexity."""
    return {"more perplexity": 100 * (cut["perplexity"] / everywhere["perplexity"] - 1)}


def reader(seed: int) -> dict[str, float]:
    """What one could find who knows every digit."""
    return {"R@1": best_recall(digit_scenes(seed)[1])["R@1"]}


CLAIM = Claim(
    slug="coca",
    kind_of_data="composed",
    paper="Captioning and contrast can be trained in one pass through a decoder whose first half reads no picture, at "
    "little more than the cost of the captioner, and each is as good as with its own loss alone.",
    data=digit_scenes,
    run={
        "method": {"name": "coca", "dim": 64, "queries": 16},
        "encoders": {
            "image": {
                "name": "tiny_vit",
                "options": {"size": 16, "patch": 4, "width": WIDTH, "depth": DEPTH, "heads": 4},
            },
            "text": {
                "name": "tiny_text",
                "options": {
                    "width": WIDTH,
                    "depth": DEPTH,
                    "heads": 4,
                    "length": LENGTH,
                    "vocabulary": VOCABULARY,
                    "pool": "class",
                },
            },
        },
        "training": {"epochs": 8, "batch_size": 32, "lr": 2e-3},
    },
    arms={
        "coca": Arm(note="both losses, 2 to 1"),
        "contrast alone": Arm({"method.caption_weight": 0.0}, note="the captioning loss has no weight"),
        "captions alone": Arm({"method.contrastive_weight": 0.0}, note="the contrastive loss has no weight"),
        "reading everywhere": Arm(
            {"method.contrastive_weight": 0.0, "method.decoder_depth": 2 * DEPTH},
            encoders=word_table,
            note="every layer of the decoder reads the picture",
        ),
        "cost of the cut": Combined(("captions alone", "reading everywhere"), relative),
        "untrained": Arm(untrained=True),
        "reader": Arm(function=reader, note="who knows every digit and guesses among what fits"),
    },
    measure=measure,
    scales={
        "R@1": Scale(floor=("untrained", 0.1), ceiling="reader"),
        "zero-shot": Scale(floor=("untrained", 10.0), ceiling=100.0),
        "right mentions": Scale(floor=("untrained", 10.0), ceiling=100.0),
    },
    questions=[
        Question(
            "retrieval",
            "With captioning beside it, contrast loses less than two points of R@1.",
            method="coca",
            baseline="contrast alone",
            metric="R@1",
            margin=-2.0,
            smallest=1.0,
            because="another draw of a thousand test rows moves it by a point",
        ),
        Question(
            "zero-shot",
            "It names digits from embeddings at least 20 points more often than a captioner without contrast.",
            method="coca",
            baseline="captions alone",
            metric="zero-shot",
            margin=20.0,
            smallest=2.0,
            because="of fifty digits one more is named",
        ),
        Question(
            "captions",
            "Contrast beside it costs the captions less than two points of right mentions.",
            method="coca",
            baseline="captions alone",
            metric="right mentions",
            margin=-2.0,
            smallest=2.0,
            because="of fifty digits one more is named",
        ),
        Question(
            "memory",
            "With another picture, digits and places are predicted worse by more than 0.3 nats.",
            method="coca",
            baseline="coca",
            metric="nats",
            baseline_metric="nats, another picture",
            unit="nats",
            higher=False,
            margin=0.3,
            smallest=0.05,
            because="a word is then a twentieth likelier",
            scale="the captions with another picture are themselves what is there without looking",
        ),
        Question(
            "grammar",
            "With another picture, the words of the grammar are predicted as well as with their own.",
            method="coca",
            baseline="coca",
            metric="nats of the grammar",
            baseline_metric="nats of the grammar, another picture",
            unit="nats",
            higher=False,
            smallest=0.05,
            because="a word is then a twentieth likelier",
            expects="equivalent",
            scale="the captions with another picture are themselves what is there without looking",
        ),
        Question(
            "the cut",
            "Reading the picture in the second half only raises perplexity by less than 5 %.",
            method="cost of the cut",
            baseline=5.0,
            metric="more perplexity",
            unit="%",
            higher=False,
            smallest=1.0,
            because="it is a fifth of what the paper allows itself",
            scale="it compares two captioners with each other; how well they caption is asked above",
        ),
        Question(
            "operations",
            "It takes fewer operations.",
            method="captions alone",
            baseline="reading everywhere",
            metric="MFLOP",
            unit="million operations",
            higher=False,
            every=True,
        ),
    ],
    seeds=range(1, 6),
    tuning="Batches of 32 and 128 were tried for the arm with both losses on seed 0, which is not among the seeds of "
    "the claim; both losses ended lower with 32, which all arms have.",
)
