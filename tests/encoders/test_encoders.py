"""One class of tests for every encoder: what the contract in ``encoders/base.py`` promises."""

import copy
import json
import random

import pytest
import torch
from torch import nn

from accord.encoders import Features, build_encoder, registry
from accord.errors import ConfigError, ShapeError
from encoders.cases import CASES, TINY_VIT, Case, alone, graph, texts

NORMALISED = ["lite0", "frames_convnet"]  # those with batch normalisation


ELSEWHERE = {  # encoders that need more than a case says, or have nothing that could be trained
    "metapath": "tests/encoders/test_metapath.py",
    "steps": "tests/encoders/test_windows.py",
}


def test_every_encoder_that_starts_at_random_has_a_case():
    built = [(case.modality, case.spec["name"]) for case in CASES.values()]
    random = [one for one in registry.DECLARATIONS if one.name and (one.weights is None or one.wraps)]
    tried = {one for one in random for modality, name in built if one.modality == modality and one.fits(name)}
    missing = [one.name for one in random if one not in tried and one.name not in ELSEWHERE]
    assert missing == [], "tests/encoders/cases.py holds no case of these, with which all encoders are tried"


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]


class TestEveryEncoder:
    def test_gives_what_it_states_with_these_shapes(self, case):
        encoder, (x, mask) = case.build().eval(), case.inputs()
        features = encoder(x, mask)
        assert encoder.modality == case.modality
        assert features.pooled.shape == (3, encoder.dim)
        assert (features.tokens is not None) == ("tokens" in encoder.gives)
        assert encoder.gives - {"pooled", "tokens", "layers", "visible"} == set(features.streams)
        if features.tokens is not None:
            assert features.tokens.shape[0] == 3
            assert features.mask is None or features.mask.shape == features.tokens.shape[:2]
        for name, stream in features.streams.items():
            assert len(stream.values) == 3
            assert stream.values.shape[2] == encoder.stream_dim(name)
            if name.startswith("map"):
                assert stream.map().shape[-1] == -(-x.shape[-1] // int(name.removeprefix("map")))

    def test_padding_and_neighbours_change_nothing(self, case):
        if case.modality == "graph":
            pytest.skip("a graph has no padding")
        encoder, (x, mask) = case.build().eval(), case.inputs()
        together = encoder(x, mask)
        for row in range(3):
            single = encoder(*alone(case, x, mask, row))
            torch.testing.assert_close(together.pooled[row], single.pooled[0], atol=1e-5, rtol=1e-5)
            if single.tokens is not None:
                real = together.tokens[row, : single.tokens.shape[1]]
                torch.testing.assert_close(real, single.tokens[0], atol=1e-5, rtol=1e-5)

    def test_padding_may_hold_anything(self, case):
        encoder, (x, mask) = case.build().eval(), case.inputs()
        if mask is None:
            pytest.skip("never padded")
        where = mask.reshape(*[size if axis in (0, case.axis) else 1 for axis, size in enumerate(x.shape)])
        for padding in [0, 7] if x.dtype == torch.int64 else [0.0, 1e4, float("nan")]:
            other = encoder(torch.where(where, x, torch.full_like(x, padding)), mask)
            torch.testing.assert_close(other.pooled, encoder(x, mask).pooled, atol=1e-5, rtol=1e-5)

    def test_eval_mode_is_deterministic(self, case):
        encoder, (x, mask) = case.build().eval(), case.inputs()
        assert torch.equal(encoder(x, mask).pooled, encoder(x, mask).pooled)

    def test_every_trainable_parameter_gets_a_gradient(self, case):
        encoder, (x, mask) = case.build().train(), case.inputs()
        pooled = encoder(x, mask).pooled
        (pooled * torch.randn_like(pooled)).sum().backward()
        without = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []
        assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)

    def test_frozen_whole_it_computes_no_gradient(self, case):
        encoder, (x, mask) = case.build().freeze("all").train(), case.inputs()
        assert encoder.frozen
        assert not encoder.training
        assert not encoder(x, mask).pooled.requires_grad

    @pytest.mark.parametrize("k", [0, 1, 2])
    def test_only_the_last_k_blocks_train(self, case, k):
        k = min(k, len(case.build().blocks()))
        encoder, (x, mask) = case.build().freeze(k).train(), case.inputs()
        blocks = encoder.blocks()
        trained = {id(p) for block in blocks[len(blocks) - k :] for p in block.parameters()}
        assert {id(p) for p in encoder.parameters() if p.requires_grad} == trained
        assert bool(trained) == (k > 0)
        if k:
            encoder(x, mask).pooled.square().sum().backward()
        assert {id(p) for p in encoder.parameters() if p.grad is not None} == trained

    def test_unfreezing_gives_all_parameters_back(self, case):
        fresh = {n for n, p in case.build().named_parameters() if p.requires_grad}
        encoder = case.build().freeze("all").freeze("none").train()
        assert {n for n, p in encoder.named_parameters() if p.requires_grad} == fresh
        assert encoder.training

    def test_blocks_cover_the_network_without_overlap(self, case):
        encoder = case.build()
        seen = [id(module) for block in encoder.blocks() for module in block.modules() if leaf(module)]
        assert len(seen) == len(set(seen))
        assert set(seen) == {id(module) for module in encoder.modules() if leaf(module)}

    def test_bfloat16_autocast_is_finite_with_the_same_shapes(self, case):
        encoder, (x, mask) = case.build().eval(), case.inputs()
        exact = encoder(x, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = encoder(x, mask)
        assert features.pooled.shape == exact.pooled.shape
        assert features.pooled.isfinite().all()
        torch.testing.assert_close(features.pooled.float(), exact.pooled, atol=0.15, rtol=0.15)

    def test_spec_and_state_rebuild_it(self, case):
        encoder, (x, mask) = case.build().eval(), case.inputs()
        spec = json.loads(json.dumps(encoder.spec()))
        torch.manual_seed(1)
        again = build_encoder(case.modality, spec, weights=False).eval()
        again.load_state_dict(encoder.state_dict())
        assert torch.equal(again(x, mask).pooled, encoder(x, mask).pooled)
        assert again.spec() == encoder.spec()
        if case.modality != "text":  # tokenizers compare by identity
            assert again.input == encoder.input

    def test_a_copy_is_independent(self, case):
        encoder, (x, mask) = case.build().freeze(1).eval(), case.inputs()
        twin = copy.deepcopy(encoder)
        before = encoder(x, mask).pooled
        with torch.no_grad():
            [p.add_(1) for p in twin.parameters()]
        assert torch.equal(encoder(x, mask).pooled, before)

    def test_features_pass_through(self, case):
        features = Features(pooled=torch.zeros(2, 5))
        assert case.build()(features) is features

    def test_a_wrong_input_is_named(self, case):
        with pytest.raises(ShapeError) as caught:
            case.build()(*case.wrong())
        assert case.says in str(caught.value)

    def test_an_unknown_option_is_named(self, case):
        with pytest.raises(ConfigError, match=r"colour is not a setting"):
            build_encoder(case.modality, case.spec | {"colour": 1}, weights=False)

    def test_more_blocks_than_there_are_cannot_be_left_trainable(self, case):
        with pytest.raises(ConfigError, match="last k of"):
            case.build().freeze(99)


def leaf(module: nn.Module) -> bool:
    return bool(list(module.parameters(recurse=False)) or list(module.buffers(recurse=False))) and not list(
        module.children()
    )


@pytest.mark.parametrize("name", NORMALISED)
def test_batch_statistics_of_frozen_blocks_do_not_move(name):
    encoder, (x, mask) = CASES[name].build().freeze(1).train(), CASES[name].inputs()
    blocks = encoder.blocks()
    before = copy.deepcopy(blocks)
    encoder(x, mask)
    moved = [
        any(not torch.equal(old, new) for old, new in zip(was.buffers(), now.buffers(), strict=True))
        for was, now in zip(before, blocks, strict=True)
    ]
    assert moved == [False] * (len(blocks) - 1) + [True]


def test_padded_frames_do_not_enter_batch_statistics():
    case = CASES["frames_convnet"]
    (x, mask), states = case.inputs(), []
    for padding in (0.0, 100.0):
        encoder = case.build().train()
        encoder(torch.where(mask[:, :, None, None, None], x, torch.full_like(x, padding)), mask)
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_nodes_without_connection_do_not_change_the_others():
    encoder, (data, _) = CASES["hetero"].build().eval(), graph()
    larger = copy.copy(data)
    larger["paper"].x = torch.cat([data["paper"].x, torch.randn(2, 4)])
    torch.testing.assert_close(encoder(larger).pooled[:3], encoder(data).pooled, atol=1e-5, rtol=1e-5)


def test_a_batch_of_graphs_gives_each_graph_its_own_vectors():
    from torch_geometric.data import Batch

    encoder, graphs = CASES["hetero"].build().eval(), [graph()[0] for _ in range(2)]
    together = encoder(Batch.from_data_list(graphs)).pooled
    torch.testing.assert_close(together, torch.cat([encoder(g).pooled for g in graphs]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["hf_mean", "whisper"])
def test_padding_changes_nothing_in_either_attention_implementation(name, implementation):
    encoder, (x, mask) = CASES[name].build().eval(), CASES[name].inputs()
    encoder.model.set_attn_implementation(implementation)
    for row in range(3):
        single = encoder(*alone(CASES[name], x, mask, row)).pooled[0]
        torch.testing.assert_close(encoder(x, mask).pooled[row], single, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", [random.Random(0).randrange(10**6) for _ in range(3)])
def test_tokens_of_later_words_do_not_reach_earlier_ones_in_the_causal_tower(seed):
    torch.manual_seed(seed)
    encoder, (ids, mask) = CASES["tiny_text_end"].build().eval(), texts()
    changed = ids.clone()
    changed[:, -1] = 5
    first, second = encoder(ids, mask).tokens, encoder(changed, mask).tokens
    torch.testing.assert_close(first[:, :-1], second[:, :-1])


@pytest.mark.parametrize("mode", ["frozen", "evaluated"])
def test_a_processor_takes_large_inputs_a_few_at_a_time(mode, monkeypatch):
    encoder = build_encoder("image", TINY_VIT | {"size": 224, "patch": 112}).eval()
    pictures, portions = torch.randn(40, 3, 224, 224), []
    with torch.no_grad():
        whole = encoder.encode(pictures)
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda x, mask: (portions.append(len(x)), encode(x, mask))[1])
    if mode == "frozen":
        encoder.freeze("all")
    with torch.set_grad_enabled(mode == "frozen"):
        features = encoder(pictures)
    assert portions == [16, 16, 8]
    torch.testing.assert_close(features.pooled, whole.pooled)
    torch.testing.assert_close(features.tokens, whole.tokens)


def test_a_batch_that_is_trained_on_stays_together(monkeypatch):
    encoder, portions = build_encoder("image", TINY_VIT | {"size": 224, "patch": 112}), []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda x, mask: (portions.append(len(x)), encode(x, mask))[1])
    encoder(torch.randn(20, 3, 224, 224))
    assert portions == [20]
