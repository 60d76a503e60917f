"""Writing texts: the search, the lengths, and that no character is ever left open."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, processors

from accord.encoders import build_encoder
from accord.encoders.generation import Caption, Decoding, WholeCharacters, check_writer, generate, token_bytes
from accord.encoders.tokenizer import JsonTokenizer, train_bpe
from accord.errors import ConfigError

TEXTS = ["naïve 日本語 fish", "日本 ñandú 😀😃", "a red fish"] * 4
SMALL, LARGE = (JsonTokenizer(train_bpe(TEXTS, vocabulary=size, length=24)) for size in (261, 330))
END = SMALL.special.end
AUTOMATON = WholeCharacters(SMALL)
BY_BYTE = {value: index for index, value in enumerate(token_bytes(SMALL)) if value is not None and len(value) == 1}


def word_tokenizer(length: int | None = 12, **special: int) -> JsonTokenizer:
    backend = Backend(models.WordLevel({**special, "<unk>": 0, "red": 3, "fish": 4}, unk_token="<unk>"))
    ends = [(name, index) for name, index in special.items() if name in ("<start>", "<end>")]
    if len(ends) == 2:
        backend.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    if length:
        backend.enable_truncation(length)
    return JsonTokenizer(backend.to_str())


def chain(tokenizer: JsonTokenizer, seed: int = 0, scale: float = 3.0):
    """A model whose next token depends on the last one and on the row; its table of log-probabilities ``(R, V, V)``."""
    generator = torch.Generator().manual_seed(seed)
    table = scale * torch.randn(3, tokenizer.vocabulary, tokenizer.vocabulary, generator=generator)
    return table.log_softmax(dim=-1), lambda ids, row: table[row, ids[:, -1]]


def plain(ids: torch.Tensor, tokenizer: JsonTokenizer) -> bytes:
    """The bytes of what was written, whose end token must be the last if there is one."""
    found = token_bytes(tokenizer)
    inner = ids.tolist()
    if inner and inner[-1] == tokenizer.special.end:
        inner.pop()
    assert all(found[index] is not None for index in inner)
    return b"".join(found[index] for index in inner)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    longest=st.integers(1, 12),
    method=st.sampled_from(["greedy", "beam", "nucleus"]),
    small=st.booleans(),
)
def test_whatever_a_model_says_the_text_is_whole(seed, longest, method, small):
    tokenizer = SMALL if small else LARGE
    torch.manual_seed(seed)
    _, step = chain(tokenizer, seed)
    decoding = Decoding(method=method, beams=3, max_tokens=longest, min_tokens=min(2, longest))
    for ids in generate(step, 3, tokenizer, decoding):
        assert len(ids) <= longest
        text = plain(ids, tokenizer).decode("utf-8", errors="strict")
        assert tokenizer.decode(ids) == text.strip()


@settings(max_examples=100, deadline=None)
@given(data=st.one_of(st.binary(max_size=6), st.text(max_size=3).map(str.encode)))
def test_the_automaton_is_between_characters_exactly_where_the_bytes_are_a_text(data):
    ids = torch.tensor([[BY_BYTE[bytes([value])] for value in data]], dtype=torch.int64)
    state = int(AUTOMATON.states(ids))
    try:
        data.decode("utf-8")
        whole = True
    except UnicodeDecodeError:
        whole = False
    assert (state == 0) == whole
    if whole:
        assert AUTOMATON.allowed(ids, left=1)[0, END]


@given(text=st.text(min_size=1, max_size=2))
def test_inside_a_character_only_what_can_still_complete_it_is_allowed(text):
    data = text[-1].encode()
    ids = torch.tensor([[BY_BYTE[bytes([value])] for value in data]], dtype=torch.int64)
    for place in range(1, len(data)):
        inside = ids[:, :place]
        left = len(data) - place  # exactly as many as the character still needs
        allowed = AUTOMATON.allowed(inside, left)[0]
        assert allowed[ids[0, place]]
        assert not allowed[END]
        assert not AUTOMATON.allowed(inside, left - 1).any()


def test_special_tokens_are_never_written_but_for_the_end():
    allowed = WholeCharacters(LARGE).allowed(torch.zeros(1, 0, dtype=torch.int64), left=9)[0]
    special = LARGE.special
    assert not allowed[[special.pad, special.start, special.unknown, special.mask]].any()
    assert allowed[special.end]


def test_greedy_takes_the_likeliest_token_each_time():
    tokenizer = word_tokenizer(**{"<start>": 1, "<end>": 2})
    table, step = chain(tokenizer)
    for row, ids in enumerate(generate(step, 3, tokenizer, Decoding(method="greedy", max_tokens=5))):
        last = 1
        for index in ids.tolist():
            allowed = table[row, last][[2, 3, 4]]  # the end and two words; the unknown word is none
            assert index == [2, 3, 4][int(allowed.argmax())] or (last == 1 and index != 2)
            last = index


def best_by_trying(table: torch.Tensor, longest: int, penalty: float) -> list[int]:
    """The text of the highest length-normalised likelihood among all."""
    scored: list[tuple[float, list[int]]] = []

    def go(prefix: list[int], score: float) -> None:
        last = prefix[-1] if prefix else 1
        for index in (2, 3, 4):
            if index == 2 and not prefix:
                continue
            text, total = [*prefix, index], score + float(table[last, index])
            if index == 2 or len(text) == longest:
                scored.append((total / len(text) ** penalty, text))
            else:
                go(text, total)

    go([], 0.0)
    return max(scored)[1]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_likeliest_text_of_all(seed, penalty):
    tokenizer = word_tokenizer(**{"<start>": 1, "<end>": 2})
    table, step = chain(tokenizer, seed, scale=1.0)
    decoding = Decoding(beams=40, max_tokens=4, length_penalty=penalty)
    for row, ids in enumerate(generate(step, 3, tokenizer, decoding)):
        assert ids.tolist() == best_by_trying(table[row], 4, penalty)


def test_a_narrow_nucleus_is_greedy_and_a_wide_one_follows_the_seed():
    _, step = chain(LARGE)
    greedy = generate(step, 3, LARGE, Decoding(method="greedy"))
    for decoding in (Decoding(method="nucleus", top_p=1e-6), Decoding(method="nucleus", top_k=1)):
        assert all(torch.equal(a, b) for a, b in zip(greedy, generate(step, 3, LARGE, decoding), strict=True))
    wide = Decoding(method="nucleus", top_p=1.0, temperature=3.0)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append([ids.tolist() for ids in generate(step, 3, LARGE, wide)])
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("method", ["greedy", "beam", "nucleus"])
def test_texts_keep_to_their_lengths(method):
    def ends_at_once(ids, row):
        return torch.eye(LARGE.vocabulary)[END].expand(len(ids), -1) * 30

    decoding = Decoding(method=method, beams=2, min_tokens=3, max_tokens=6)
    for ids in generate(ends_at_once, 2, LARGE, decoding):
        assert ids[-1] == END
        assert len(ids) == 4 or (method == "nucleus" and 4 < len(ids) <= 6)  # a character may have to be completed


def test_rows_do_not_touch_each_other():
    _, step = chain(LARGE)
    together = generate(step, 3, LARGE, Decoding(beams=3))
    for row in range(3):
        alone = generate(lambda ids, _, row=row: step(ids, torch.full((len(ids),), row)), 1, LARGE, Decoding(beams=3))
        assert torch.equal(together[row], alone[0])


def test_tokens_that_are_written_as_hexadecimal_bytes_are_bytes():
    vocabulary = {"<pad>": 0, "<start>": 1, "<end>": 2, "<0xC3>": 3, "<0xA9>": 4, "▁fish": 5}
    backend = Backend(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = JsonTokenizer(backend.to_str())
    assert token_bytes(tokenizer)[3:] == [b"\xc3", b"\xa9", "▁fish".encode()]
    automaton = WholeCharacters(tokenizer)
    assert automaton.states(torch.tensor([[3], [5]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("special", "missing"), [({"<start>": 1}, "has no end token"), ({"<end>": 2}, "has no start token")]
)
def test_a_tokenizer_without_ends_cannot_write(special, missing):
    tokenizer = word_tokenizer(None, **special)
    with pytest.raises(ConfigError, match=missing):
        generate(lambda ids, row: torch.zeros(len(ids), tokenizer.vocabulary), 1, tokenizer, Decoding())


def test_more_tokens_than_the_encoder_takes_are_refused():
    _, step = chain(LARGE)
    with pytest.raises(ConfigError, match="max_tokens = 24: the text encoder takes at most 23"):
        generate(step, 1, LARGE, Decoding(max_tokens=24))
    assert len(generate(step, 1, LARGE, Decoding(method="greedy", min_tokens=99))[0]) == 23


def test_a_text_encoder_is_checked_before_it_writes():
    options = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2, "tokenizer": SMALL.text, "length": 24}
    assert check_writer(build_encoder("text", {**options, "pool": "class"}), "m").special.end == END
    with pytest.raises(ConfigError, match="method m writes captions word by word"):
        check_writer(build_encoder("text", {**options, "pool": "mean"}), "m")
    bare = {**options, "tokenizer": word_tokenizer(None).text}
    with pytest.raises(ConfigError, match="a start and an end token"):
        check_writer(build_encoder("text", {**bare, "pool": "end"}), "m")


def test_a_caption_is_a_string_that_keeps_its_score():
    caption = Caption("a fish", -0.5)
    assert caption == "a fish"
    assert pickle.loads(pickle.dumps(caption)).score == -0.5
