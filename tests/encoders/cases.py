"""One small encoder of every kind, with inputs that it takes and inputs that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from accord.encoders import Encoder, build_encoder
from accord.encoders.tokenizer import train_bpe

TEXTS = ["a red fish swims", "a blue bird flies over the sea", "fish"]
TOKENIZER = train_bpe(TEXTS, vocabulary=300, length=16)
BERT = {
    "model_type": "bert",
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "vocab_size": 50,
    "max_source_positions": 20,
    "num_mel_bins": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
VIDEOMAE = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
TINY_VIT = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2}
RELATIONS = [("author", "writes", "paper"), ("paper", "by", "author"), ("paper", "cites", "paper")]
GRAPH = {"name": "hetero", "nodes": {"paper": 4, "author": 3}, "edges": RELATIONS, "target": "paper", "width": 16}


def hf(pool: str = "mean") -> dict[str, Any]:
    return {"name": "bert", "pool": pool, "length": 16, "config": BERT, "tokenizer": TOKENIZER}


def tiny_text(pool: str) -> dict[str, Any]:
    return {"name": "tiny_text", "width": 16, "depth": 2, "heads": 2, "length": 16, "pool": pool} | {
        "tokenizer": TOKENIZER
    }


def images(size: int) -> Callable[[], tuple[Any, None]]:
    return lambda: (torch.rand(3, 3, size, size), None)


def lengths_to_mask(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def texts() -> tuple[Any, torch.Tensor]:
    mask = lengths_to_mask([4, 7, 2])
    return torch.randint(4, 290, mask.shape), mask


def videos(size: int = 16) -> Callable[[], tuple[Any, torch.Tensor]]:
    return lambda: (torch.rand(3, 3, 3, size, size), lengths_to_mask([2, 3, 1]))


def sounds() -> tuple[Any, torch.Tensor]:
    mask = lengths_to_mask([9, 22, 12])
    return torch.randn(3, 8, 22), mask


def sequences() -> tuple[Any, torch.Tensor]:
    mask = lengths_to_mask([4, 7, 2])
    return torch.randn(3, 7, 5), mask


def graph() -> tuple[Any, None]:
    from torch_geometric.data import HeteroData

    data = HeteroData(paper={"x": torch.randn(3, 4)}, author={"x": torch.randn(2, 3)})
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 1, 1], [0, 1, 2]])
    data["paper", "by", "author"].edge_index = torch.tensor([[0, 1, 2], [0, 1, 1]])
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 1], [1, 2]])
    return data, None


@dataclass(frozen=True)
class Case:
    modality: str
    spec: dict[str, Any]
    inputs: Callable[[], tuple[Any, torch.Tensor | None]]
    wrong: Callable[[], tuple[Any, torch.Tensor | None]]
    says: str  # what the error for the wrong input names
    axis: int = 1  # of positions in a batch of inputs: time is last in spectrograms

    def build(self) -> Encoder:
        torch.manual_seed(0)
        return build_encoder(self.modality, self.spec, weights=False)


def wrong_text() -> tuple[Any, None]:
    return torch.zeros(2, 99, dtype=torch.int64), None


def wrong_graph() -> tuple[Any, None]:
    data, _ = graph()
    data["author"].x = torch.zeros(2, 9)
    return data, None


def grey() -> tuple[Any, None]:
    return torch.zeros(2, 1, 16, 16), None


CASES = {
    "tiny_vit": Case("image", TINY_VIT, images(16), images(24), "(B, 3, 16, 16)"),
    "tiny_resnet": Case("image", {"name": "tiny_resnet", "width": 32}, images(32), grey, "(B, 3, H, W)"),
    "tiny_convnet": Case("image", {"name": "tiny_convnet", "width": 64}, images(32), grey, "(B, 3, H, W)"),
    "image_mae": Case(
        "image",
        {"name": "image_mae", "size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2, "class_token": True},
        images(16),
        images(24),
        "(B, 3, 16, 16)",
    ),
    "lite0": Case("image", {"name": "efficientnet_lite0", "size": 32}, images(32), grey, "(B, 3, H, W)"),
    "hf_mean": Case("text", hf(), texts, wrong_text, "at most 16"),
    "hf_cls": Case("text", hf("cls"), texts, lambda: (torch.zeros(2, 5), None), "token ids"),
    "hf_pooler": Case("text", hf("pooler"), texts, lambda: (torch.zeros(2, 5, 1), None), "(B, L)"),
    "tiny_text_end": Case("text", tiny_text("end"), texts, wrong_text, "at most 16"),
    "tiny_text_class": Case("text", tiny_text("class"), texts, wrong_text, "at most 16"),
    "tiny_text_mean": Case("text", tiny_text("mean"), texts, lambda: (texts()[0], torch.ones(3, 2)), "text_mask"),
    "frames_mean": Case("video", {"name": "frames", "image": TINY_VIT}, videos(), images(16), "(B, T, 3, H, W)"),
    "frames_transformer": Case(
        "video",
        {"name": "frames", "image": TINY_VIT, "temporal": "transformer", "depth": 1, "heads": 2},
        videos(),
        lambda: (videos()()[0], lengths_to_mask([2, 2, 2])),
        "video_mask",
    ),
    "frames_convnet": Case("video", {"name": "frames:resnet10t"}, videos(32), images(32), "(B, T, 3, H, W)"),
    "cross_frame": Case(
        "video",
        {"name": "cross_frame", "size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2, "frames": 3},
        videos(),
        videos(24),
        "(B, T, 3, 16, 16)",
    ),
    "video_mae": Case(
        "video",
        {"name": "video_mae", "size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2, "frames": 4},
        videos(),
        videos(24),
        "(B, T, 3, 16, 16)",
    ),
    "alignment": Case(
        "video",
        {"name": "alignment", "size": 16, "patch": 4, "width": 16, "depth": 2, "heads": 2, "frames": 3, "hidden": 16},
        videos(),
        videos(24),
        "(B, T, 3, 16, 16)",
    ),
    "videomae": Case(
        "video",
        {"name": "videomae:none", "config": VIDEOMAE, "image": {"size": 16}},
        videos(),
        images(16),
        "(B, T, 3, 16, 16)",
    ),
    "tiny_audio": Case(
        "audio",
        {"name": "tiny_audio", "mels": 8, "width": 16, "depth": 2, "heads": 2},
        sounds,
        lambda: (torch.zeros(2, 9, 20), None),
        "(B, 8, T)",
        axis=2,
    ),
    "whisper": Case(
        "audio",
        {"name": "whisper:none", "config": WHISPER},
        sounds,
        lambda: (torch.zeros(2, 8, 50), None),
        "at most 40",
        axis=2,
    ),
    "tiny_sequence": Case(
        "sequence",
        {"name": "tiny_sequence", "features": 5, "width": 16, "depth": 2, "heads": 2},
        sequences,
        lambda: (torch.zeros(2, 7, 4), None),
        "(B, T, 5)",
    ),
    "step_projection": Case(
        "sequence",
        {"name": "step_projection", "features": 5, "width": 16},
        sequences,
        lambda: (torch.zeros(2, 7, 4), None),
        "(B, T, 5)",
    ),
    "windows": Case(
        "sequence",
        {
            "name": "windows:tiny_sequence",
            "of": {"features": 5, "width": 16, "depth": 2, "heads": 2},
            "window": 3,
            "adapted": True,
        },
        sequences,
        lambda: (torch.zeros(2, 7, 4), None),
        "(B, T, 5)",
    ),
    "video_windows": Case(
        "video",
        {"name": "windows", "of": {"name": "frames", "image": TINY_VIT}, "window": 2},
        videos(),
        images(16),
        "(B, T, 3, H, W)",
    ),
    "hetero": Case("graph", GRAPH, graph, wrong_graph, "(nodes, 3)"),
}


def alone(case: Case, x: Any, mask: torch.Tensor | None, row: int) -> tuple[Any, torch.Tensor | None]:
    """Row ``row`` without its neighbours and without its padding."""
    if mask is None:
        return x[row : row + 1], None
    return x[row : row + 1].narrow(case.axis, 0, int(mask[row].sum())), None
