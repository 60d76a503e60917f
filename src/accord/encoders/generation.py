"""Writing text with a model that predicts the next token: greedily, by beam search or by sampling.

The search itself is that of transformers, which :class:`_Stepper` lets run any function from prefixes to logits. What
is added here is that a text is always whole: a byte-level tokenizer can cut a character in two, and
:class:`WholeCharacters` is the automaton over the tokens' bytes that keeps such cuts from being left open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from accord.config import Config
from accord.encoders.base import Encoder
from accord.encoders.text import is_causal
from accord.encoders.tokenizer import JsonTokenizer
from accord.errors import ConfigError
from accord.functional import caption_nll

if TYPE_CHECKING:
    from transformers import GenerationConfig

NextToken = Callable[[Tensor, Tensor], Tensor]
NO_TARGET = -100  # in place of padding, which in some tokenizers has the id of a word

# What may come next inside a character: state -> (first byte, last byte, next state); 0 stands between characters.
# Over-long forms, surrogates and what lies beyond U+10FFFF are not there (RFC 3629, section 4).
_UTF8 = [
    [
        (0x00, 0x7F, 0),
        (0xC2, 0xDF, 1),
        (0xE0, 0xE0, 4),
        (0xE1, 0xEC, 2),
        (0xED, 0xED, 5),
        (0xEE, 0xEF, 2),
        (0xF0, 0xF0, 6),
        (0xF1, 0xF3, 3),
        (0xF4, 0xF4, 7),
    ],
    [(0x80, 0xBF, 0)],  # one more byte
    [(0x80, 0xBF, 1)],  # two more
    [(0x80, 0xBF, 2)],  # three more
    [(0xA0, 0xBF, 1)],  # after E0
    [(0x80, 0x9F, 1)],  # after ED
    [(0x90, 0xBF, 2)],  # after F0
    [(0x80, 0x8F, 2)],  # after F4
]
_ENDED, _NEVER = len(_UTF8), len(_UTF8) + 1  # after the end token; no text at all


class Decoding(Config):
    """How a text is written; the defaults are those of open_clip's captioning, but for the shortest text."""

    method: Literal["greedy", "beam", "nucleus"] = Field(
        "beam", description="greedy: the likeliest token each time; beam: the likeliest text found; nucleus: sampled"
    )
    beams: int = Field(6, ge=1, description="texts that beam search follows at a time")
    length_penalty: float = Field(1.0, description="beam search divides the log-likelihood by length to this power")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus: the likeliest tokens that hold this much probability")
    top_k: int | None = Field(None, ge=1, description="nucleus: and at most that many tokens; None for no limit")
    temperature: float = Field(1.0, gt=0, description="nucleus: below 1 sharpens the probabilities, above 1 flattens")
    min_tokens: int = Field(1, ge=0, description="no end before that many tokens")
    max_tokens: int | None = Field(
        None, ge=1, description="longest text in tokens, its end included; None for 30, or what the text encoder takes"
    )


class Caption(str):
    """A text that knows how likely the model that wrote it finds it.

    Args:
        text: the text.
        score: mean log-likelihood of its tokens in nats, the end token among them; at most 0, higher is likelier.

    Example:
        >>> caption = Caption("a red fish", -0.7)
        >>> caption, caption.score
        ('a red fish', -0.7)
    """

    score: float

    def __new__(cls, text: str, score: float) -> Caption:
        """The text, with its score beside it."""
        caption = super().__new__(cls, text)
        caption.score = score
        return caption

    def __getnewargs__(self) -> tuple[str, float]:  # type: ignore[override]
        return str(self), self.score


@dataclass(frozen=True)
class CaptionFit:
    """How well given captions are predicted when each token is read after the true ones before it.

    Args:
        nll: ``(B,)`` sum of the tokens' negative log-likelihoods in nats.
        right: ``(B,)`` number of tokens that the model finds the likeliest.
        tokens: ``(B,)`` number of tokens predicted.
    """

    nll: Tensor
    right: Tensor
    tokens: Tensor


class WholeCharacters:
    """The automaton of texts: what state a token leads to, and how many tokens a character still needs.

    State 0 stands between characters, 1 to 7 inside one, 8 after the end token, which is allowed in state 0 only. For
    tokenizers that are not byte-level, every token keeps state 0. Special tokens other than the end are never allowed.

    Args:
        tokenizer: its vocabulary has the end token.

    Raises:
        ConfigError: the tokenizer has no end token.

    Example:
        >>> from accord.encoders.tokenizer import train_bpe
        >>> tokenizer = JsonTokenizer(train_bpe(["a naïve fish"], vocabulary=261, length=20))
        >>> ids, _ = tokenizer(["ï"])
        >>> automaton = WholeCharacters(tokenizer)
        >>> ids = ids[:, 2:]  # after the start and the space that byte-level tokenizers put first
        >>> automaton.states(ids[:, :1]).item(), automaton.states(ids).item()
        (1, 8)
    """

    def __init__(self, tokenizer: JsonTokenizer) -> None:
        end = tokenizer.special.end
        if end is None:
            raise ConfigError(
                "the text encoder's tokenizer has no end token, so that no text would end; choose another"
            )
        self.end = end
        self.table = torch.from_numpy(_token_table(token_bytes(tokenizer), end))  # (S, V) next states
        self.needs = _tokens_to_go(self.table)  # (S,) tokens until a character is whole

    def states(self, ids: Tensor) -> Tensor:
        """The state ``(R,)`` after tokens ``(R, L)`` that began between characters."""
        table = self.table.to(ids.device)
        state = torch.zeros(len(ids), dtype=torch.int64, device=ids.device)
        for token in ids.T:
            state = table[state, token]
        return state

    def allowed(self, ids: Tensor, left: int) -> Tensor:
        """Which tokens may follow ``ids (R, L)`` when ``left`` more may be written, this one among them; ``(R, V)``."""
        following = self.table.to(ids.device)[self.states(ids)]  # (R, V)
        return self.needs.to(ids.device)[following] < left


def check_writer(encoder: Encoder, method: str) -> JsonTokenizer:
    """The tokenizer of a text encoder whose words a decoder can go on from.

    Args:
        encoder: a text encoder.
        method: who asks, for the message.

    Raises:
        ConfigError: its words see later ones, or its texts have no start or end.
    """
    remedy = "leave the text encoder out, or take tiny_text with pool = class"
    if not is_causal(encoder):
        raise ConfigError(
            f"method {method} writes captions word by word, but in the text encoder {encoder.spec()['name']} words see "
            f"those that come later, which would give the answers away: {remedy}"
        )
    return tokenizer_with_ends(encoder, method, remedy)


def tokenizer_with_ends(encoder: Encoder, method: str, remedy: str) -> JsonTokenizer:
    """The tokenizer of a text encoder, whose texts have a start and an end.

    Args:
        encoder: a text encoder.
        method: who asks, for the message.
        remedy: what to do without, for the message.

    Raises:
        ConfigError: they have not.
    """
    tokenizer: JsonTokenizer = encoder.input.tokenizer  # type: ignore[union-attr,assignment]
    if tokenizer.special.start is None or tokenizer.special.end is None:
        raise ConfigError(
            f"method {method} needs texts with a start and an end token, which the tokenizer of the text encoder "
            f"{encoder.spec()['name']} lacks: {remedy}"
        )
    return tokenizer


def token_bytes(tokenizer: JsonTokenizer) -> list[bytes | None]:
    """The bytes that each token of the vocabulary stands for, None for special ones.

    Byte-level tokenizers (GPT-2, CLIP, ``tiny_text``) write each byte as one printable character, SentencePiece with
    byte fallback writes ``<0x0A>``. All others hold whole characters.

    Example:
        >>> from accord.encoders.tokenizer import train_bpe
        >>> tokenizer = JsonTokenizer(train_bpe(["a fish"], vocabulary=261, length=20))
        >>> found = token_bytes(tokenizer)
        >>> found[tokenizer.special.end], sorted(x for x in found if x)[:3]
        (None, [b'\\x00', b'\\x01', b'\\x02'])
    """
    plain = json.loads(tokenizer.text)
    special = {item["id"] for item in plain.get("added_tokens", []) if item["special"]}
    special |= {index for index in vars(tokenizer.special).values() if index is not None}
    to_byte = {character: value for value, character in _byte_characters().items()}
    byte_level = '"ByteLevel"' in json.dumps(plain.get("decoder"))
    tokens: list[bytes | None] = []
    for index, token in enumerate(tokenizer.tokens):
        hexadecimal = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token)
        if index in special or not token:
            tokens.append(None)
        elif byte_level and all(character in to_byte for character in token):
            tokens.append(bytes(to_byte[character] for character in token))
        else:
            tokens.append(bytes.fromhex(hexadecimal[1]) if hexadecimal else token.encode())
    return tokens


def generate(
    step: NextToken, rows: int, tokenizer: JsonTokenizer, decoding: Decoding, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """Write one text per row.

    Sampling draws from PyTorch's global generator.

    Args:
        step: ``step(ids (R, L), row (R,))`` returns the logits ``(R, V)`` of the token after each prefix; ``row`` says
            which of the ``rows`` a prefix belongs to.
        rows: how many texts.
        tokenizer: with start and end tokens.
        decoding: how.
        device: of the ids that ``step`` is given.

    Returns:
        Token ids of each text, without the start token, with the end token where the text reached it.

    Raises:
        ConfigError: the tokenizer has no start or end token, or ``max_tokens`` is more than it takes.

    Example:
        >>> from accord.encoders.tokenizer import train_bpe
        >>> tokenizer = JsonTokenizer(train_bpe(["ab"], vocabulary=261, length=8))
        >>> likes = tokenizer(["ab"])[0][0]  # start, space, a, b, end
        >>> def step(ids, row):
        ...     return torch.eye(tokenizer.vocabulary)[likes[ids.shape[1]]].expand(len(ids), -1) * 9
        >>> [tokenizer.decode(ids) for ids in generate(step, 2, tokenizer, Decoding(method="greedy"))]
        ['ab', 'ab']
    """
    from transformers import LogitsProcessorList

    automaton = WholeCharacters(tokenizer)
    start = tokenizer.special.start
    if start is None:
        raise ConfigError("the text encoder's tokenizer has no start token to begin a text with; choose another")
    longest = _longest(tokenizer, decoding)
    prompt = torch.full((rows, 1), start, device=device)

    def only_text(ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(~automaton.allowed(ids[:, 1:], longest + 1 - ids.shape[1]), -torch.inf)

    written: Tensor = _stepper(step, torch.device(device)).generate(
        prompt,
        row=torch.arange(rows, device=device),
        logits_processor=LogitsProcessorList([only_text]),
        generation_config=_settings(decoding, longest, start, automaton.end),
    )[:, 1:]
    return [_until_end(ids, automaton.end) for ids in written]


def caption_fit(logits: Tensor, ids: Tensor, mask: Tensor) -> CaptionFit:
    """How well texts are predicted.

    Args:
        logits: ``(B, L, V)``; position t predicts the token at t + 1.
        ids: ``(B, L)`` the texts.
        mask: ``(B, L)`` bool, True on real tokens.

    Example:
        >>> fit = caption_fit(torch.zeros(1, 3, 4), torch.tensor([[1, 2, 0]]), torch.tensor([[True, True, False]]))
        >>> fit.tokens, fit.nll
        (tensor([1]), tensor([1.3863]))
    """
    nll = caption_nll(logits, ids.masked_fill(~mask, NO_TARGET), NO_TARGET)
    right = (logits[:, :-1].argmax(dim=-1) == ids[:, 1:]) & mask[:, 1:]
    return CaptionFit(nll.sum(dim=1), right.sum(dim=1), mask[:, 1:].sum(dim=1))


def write_scored(
    step: NextToken,
    rows: int,
    tokenizer: JsonTokenizer,
    decoding: Decoding,
    device: torch.device | str,
    logits: Callable[[Tensor, Tensor], Tensor],
) -> list[Caption]:
    """One text per row, with how likely it is.

    Args:
        step: as for :func:`generate`, and so are the next.
        rows: how many texts.
        tokenizer: with start and end tokens.
        decoding: how.
        device: of the ids.
        logits: of the token after each position of whole texts ``(R, L)`` with their mask, one for each row.

    Raises:
        ConfigError: as :func:`generate`.
    """
    written = generate(step, rows, tokenizer, decoding, device)
    start = torch.tensor([tokenizer.special.start], device=device)
    ids = pad_sequence([torch.cat([start, text]) for text in written], True, NO_TARGET)
    mask = ids != NO_TARGET
    ids = ids.clamp(min=0)
    fit = caption_fit(logits(ids, mask), ids, mask)
    scores = (-fit.nll / fit.tokens).tolist()
    return [Caption(tokenizer.decode(text), score) for text, score in zip(written, scores, strict=True)]


def _longest(tokenizer: JsonTokenizer, decoding: Decoding) -> int:
    limit = None if tokenizer.length is None else tokenizer.length - 1  # the start token takes one place
    if decoding.max_tokens is None:
        return min(30, limit or 30)
    if limit is not None and decoding.max_tokens > limit:
        raise ConfigError(f"max_tokens = {decoding.max_tokens}: the text encoder takes at most {limit}")
    return decoding.max_tokens


def _settings(decoding: Decoding, longest: int, start: int, end: int) -> GenerationConfig:
    from transformers import GenerationConfig

    chosen: dict[str, Any] = {"greedy": {"do_sample": False}}
    chosen["beam"] = {"do_sample": False, "num_beams": decoding.beams, "length_penalty": decoding.length_penalty}
    chosen["nucleus"] = {"do_sample": True, "top_p": decoding.top_p, "temperature": decoding.temperature}
    chosen["nucleus"]["top_k"] = decoding.top_k or 0
    return GenerationConfig(
        max_new_tokens=longest,
        min_new_tokens=min(decoding.min_tokens, longest),
        eos_token_id=end,
        pad_token_id=min({0, 1, 2} - {start, end}),  # any other: what follows the end is cut off
        use_cache=False,
        **chosen[decoding.method],
    )


def _until_end(ids: Tensor, end: int) -> Tensor:
    ends = (ids == end).nonzero()
    return ids[: int(ends[0]) + 1] if len(ends) else ids


def _stepper(step: NextToken, device: torch.device) -> Any:
    """A function from prefixes to logits as the kind of model that transformers generates with."""
    from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    class Stepper(PreTrainedModel, GenerationMixin):
        config_class = PretrainedConfig
        main_input_name = "input_ids"

        @property
        def device(self) -> torch.device:
            return device

        def prepare_inputs_for_generation(self, input_ids: Tensor, row: Tensor, **_: Any) -> dict[str, Any]:
            return {"input_ids": input_ids, "row": row}

        def forward(self, input_ids: Tensor, row: Tensor, return_dict: bool = True) -> CausalLMOutput:
            return CausalLMOutput(logits=step(input_ids, row)[:, None])

    return Stepper(PretrainedConfig())


def _byte_characters() -> dict[int, str]:
    """The printable character by which byte-level tokenizers write each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(0x100) if value not in printable]
    return {value: chr(value) for value in printable} | {value: chr(0x100 + n) for n, value in enumerate(others)}


def _token_table(tokens: list[bytes | None], end: int) -> np.ndarray:
    """Next state by state and token ``(S, V)``: all tokens are read byte by byte, side by side."""
    by_byte = np.full((len(_UTF8) + 2, 0x101), _NEVER)
    for state, moves in enumerate(_UTF8):
        for first, last, following in moves:
            by_byte[state, first : last + 1] = following
    by_byte[:, 0x100] = np.arange(len(by_byte))  # padding of shorter tokens: stay
    width = max(len(token or b"") for token in tokens)
    padded = np.full((len(tokens), width), 0x100)
    for row, token in enumerate(tokens):
        padded[row, : len(token or b"")] = list(token or b"")
    table = np.tile(np.arange(len(by_byte))[:, None], (1, len(tokens)))
    for column in padded.T:
        table = by_byte[table, column]
    table[:, [token is None for token in tokens]] = _NEVER
    table[0, end] = _ENDED
    table[_ENDED] = _ENDED  # whatever follows the end is cut off
    return table


def _tokens_to_go(table: Tensor) -> Tensor:
    """Fewest tokens ``(S,)`` from each state to one where a text may stop."""
    states = len(table)
    needs = torch.full((states,), 1 << 30)
    needs[[0, _ENDED]] = 0
    for _ in range(states):
        needs = torch.minimum(needs, needs[table].min(dim=1).values + 1)
    return needs
