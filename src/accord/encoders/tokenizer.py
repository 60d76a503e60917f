"""Tokenizers as the data layer calls them, and the byte-pair tokenizer of texts of one's own.

A tokenizer is one JSON text in the format of ``tokenizers``, with padding and truncation in it, so that a
saved model carries its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import torch
from tokenizers import Encoding, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from torch import Tensor

from accord.data.augmenting.text_views import HIDDEN
from accord.errors import ConfigError

PAD, START, END, UNKNOWN, MASK = "<pad>", "<start>", "<end>", "<unk>", "<mask>"
_LEARNT_FROM = 50_000  # texts
SPECIAL = (PAD, START, END, UNKNOWN, MASK)
_NAMES = {  # what tokenizers call the tokens of each role; the first that a vocabulary has is taken
    "pad": (PAD, "[PAD]"),
    "start": (START, "<s>", "[CLS]", "<|startoftext|>"),
    "end": (END, "</s>", "[SEP]", "<|endoftext|>"),
    "unknown": (UNKNOWN, "[UNK]"),
    "mask": (MASK, "[MASK]"),
}
_NAMED = re.compile("|".join(re.escape(name) for names in _NAMES.values() for name in names))

# The data layer forks workers after texts were tokenized; tokenizers would warn of its own threads each time.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that stand for no text, None where a tokenizer has none of a kind.

    Args:
        pad: fills a batch.
        start: first of every text.
        end: last of every text.
        unknown: stands for what has no token.
        mask: stands for a hidden token.
    """

    pad: int | None = None
    start: int | None = None
    end: int | None = None
    unknown: int | None = None
    mask: int | None = None

    def among(self, ids: Tensor) -> Tensor:
        """Which of the ids are special, bool of the same shape.

        >>> SpecialTokens(start=1).among(torch.tensor([1, 7]))
        tensor([ True, False])
        """
        return torch.isin(ids, ids.new_tensor([mark for mark in astuple(self) if mark is not None]))


class JsonTokenizer:
    """The tokenizer that a ``tokenizer.json`` text describes.

    Args:
        text: the JSON, with padding and truncation set (:func:`with_length`).

    Example:
        >>> tokenizer = JsonTokenizer(train_bpe(["a red fish", "a blue fish"], vocabulary=280, length=8))
        >>> ids, mask = tokenizer(["a red fish", "fish"])
        >>> ids.shape, mask.sum(dim=1).tolist()
        (torch.Size([2, 5]), [5, 3])
        >>> tokenizer.decode(ids[1]), tokenizer.special.end
        ('fish', 2)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._backend = Backend.from_str(text)
        # A caption may contain "<end>" or "[SEP]" as plain characters: only the template adds the real ones.
        self._backend.encode_special_tokens = True

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids ``(B, L)`` int64 and mask ``(B, L)`` bool; L is that of the longest text, cut to the limit."""
        return _as_batch(self._backend.encode_batch(list(texts)))

    def hiding(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """As calling it, with the mask token for each :data:`~accord.data.augmenting.text_views.HIDDEN` in a text.

        Raises:
            ConfigError: the tokenizer has no mask token.

        Example:
            >>> tokenizer = JsonTokenizer(train_bpe(["a red fish"], vocabulary=290, length=8))
            >>> ids, mask = tokenizer.hiding(["a " + HIDDEN + " fish"])
            >>> int((ids == tokenizer.special.mask).sum())
            1
        """
        if self.special.mask is None:
            raise ConfigError(
                "words are hidden behind a mask token, and the tokenizer has none: choose another encoder"
            )
        hidden = self.tokens[self.special.mask]
        # What only looks like a special token is broken up, so that the mask is the only one that is read as such.
        plain = [_NAMED.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text) for text in texts]
        return _as_batch(self._marking.encode_batch([text.replace(HIDDEN, hidden) for text in plain]))

    @cached_property
    def _marking(self) -> Backend:
        """The tokenizer as one that reads special tokens in a text as such."""
        return Backend.from_str(self.text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """First character and the one after the last that each token of a text stands for; (0, 0) for special ones.

        >>> JsonTokenizer(train_bpe(["a red fish"], vocabulary=290, length=8)).spans("red fish")
        [(0, 0), (0, 3), (3, 8), (0, 0)]
        """
        return list(self._backend.encode(text).offsets)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """As :meth:`spans`, of the text as long as it is and of its own tokens alone.

        >>> JsonTokenizer(train_bpe(["a red fish"], vocabulary=290, length=3)).offsets("red fish")
        [(0, 3), (3, 8)]
        """
        return list(self._uncut.encode(text, add_special_tokens=False).offsets)

    @cached_property
    def _uncut(self) -> Backend:
        """The tokenizer as one that reads texts to their end."""
        backend = Backend.from_str(self.text)
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        return backend

    @property
    def vocabulary(self) -> int:
        """Number of tokens, special ones included."""
        return self._backend.get_vocab_size()

    @cached_property
    def special(self) -> SpecialTokens:
        """Ids by role, found by the names that tokenizers commonly give them."""
        ids = {role: [self._backend.token_to_id(name) for name in names] for role, names in _NAMES.items()}
        return SpecialTokens(**{role: next((i for i in found if i is not None), None) for role, found in ids.items()})

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of token ids ``(L,)``, without special tokens and without space at its ends.

        A byte-level tokenizer may cut a character in two; the incomplete part of such a character becomes U+FFFD.
        """
        plain = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        text = self._backend.decode(plain, skip_special_tokens=True)
        ending = getattr(self._backend.model, "end_of_word_suffix", None)  # CLIP's "</w>", which no decoder takes away
        return (text.replace(ending, " ") if ending else text).strip()

    @property
    def tokens(self) -> list[str]:
        """The vocabulary by id, as it stands in the JSON."""
        by_id = {index: token for token, index in self._backend.get_vocab(with_added_tokens=True).items()}
        return [by_id.get(index, "") for index in range(max(by_id) + 1)]

    @property
    def length(self) -> int | None:
        """Longest text in tokens, those at its ends included; None where nothing is cut."""
        cut = self._backend.truncation
        return None if cut is None else int(cut["max_length"])

    @property
    def filler(self) -> int:
        """Id that fills a batch, of whatever token that is."""
        return int((self._backend.padding or {}).get("pad_id", 0))

    def __reduce__(self) -> tuple[type[JsonTokenizer], tuple[str]]:
        return JsonTokenizer, (self.text,)


def word_starts(tokenizer: Any) -> Tensor:
    """Which tokens ``(V,)`` begin a word, in the ways in which byte-level, SentencePiece and WordPiece models say so.

    Args:
        tokenizer: with ``tokens``, its vocabulary by id.

    Example:
        >>> starts = word_starts(JsonTokenizer(train_bpe(["a red fish"], vocabulary=290, length=8)))
        >>> int(starts.sum()) > 3
        True
    """
    tokens: list[str] = tokenizer.tokens
    if any(token.startswith("##") for token in tokens):
        return torch.tensor([not token.startswith("##") for token in tokens])
    return torch.tensor([token[:1] in ("\u0120", "\u2581") for token in tokens])


def _as_batch(encoded: Sequence[Encoding]) -> tuple[Tensor, Tensor]:
    ids = torch.tensor([item.ids for item in encoded], dtype=torch.int64)
    return ids, torch.tensor([item.attention_mask for item in encoded], dtype=torch.bool)


def with_length(text: str, length: int, pad: str) -> str:
    """The same tokenizer, cutting at ``length`` tokens and padding to the longest text of a batch."""
    backend = Backend.from_str(text)
    backend.enable_truncation(length)
    backend.enable_padding(pad_id=backend.token_to_id(pad) or 0, pad_token=pad)
    return backend.to_str()


def train_bpe(texts: Sequence[str], *, vocabulary: int, length: int) -> str:
    """Train a lower-casing byte-level BPE; every string has tokens, since each byte is one.

    Args:
        texts: what it is trained on: all, or 50,000 spread over them evenly, since more hardly change which pairs of
            letters are frequent.
        vocabulary: number of tokens at most; at least 261 (256 bytes and 5 special tokens).
        length: longest sequence, ``<start>`` and ``<end>`` included.

    Returns:
        Its JSON text.

    Raises:
        ConfigError: there are no texts, or the vocabulary is too small.
    """
    if not any(text.strip() for text in texts):
        raise ConfigError("the tokenizer is trained on your texts, and none came: pass texts=[...]")
    if vocabulary < 256 + len(SPECIAL):
        raise ConfigError(f"vocabulary = {vocabulary}: expected at least 261 (256 bytes and 5 special tokens)")
    backend = Backend(models.BPE(unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts[:: -(-len(texts) // _LEARNT_FROM)], trainer)
    ends = [(token, backend.token_to_id(token)) for token in (START, END)]
    backend.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return with_length(backend.to_str(), length, PAD)
