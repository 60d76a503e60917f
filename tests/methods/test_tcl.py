from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch
from PIL import Image
from tcl_share import ROWS, share_of
from torch import nn

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.data.inputs import ImageInput, TextInput
from accord.encoders import build_encoder
from accord.encoders import fusion as fusion_room
from accord.encoders.base import Encoder, Features
from accord.encoders.fusion import TokenHead, token_table
from accord.errors import ConfigError, ShapeError
from accord.functional import mlm_mask
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import Rescores
from accord.training.artifact import load_model, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.optimiser import build_optimizer
from two_processes import run_two_processes

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]
SMALL = {"dim": 8, "fusion_depth": 1, "queue_size": 12, "text_dropout": 0}
ALIGN_ONLY = {"itm_weight": 0, "mlm_weight": 0}


@pytest.fixture
def towers(towers) -> dict[str, Encoder]:
    """The small towers of the other tests, with a text encoder that reads both ways."""
    text = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2, "pool": "mean"}
    torch.manual_seed(0)
    return {"image": towers["image"], "text": build_encoder("text", text, texts=WORDS)}


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    views = list(torch.randn(2, 4, 3, 16, 16))
    return {"image": views[0], "image_views": views, **text_batch(towers, WORDS), "index": torch.arange(4)}


def built(towers, rows=120, **settings):
    torch.manual_seed(0)
    return get_method("tcl")({**SMALL, **settings}, towers, DataInfo(rows=rows))


def moved(tcl):
    """The same method with a teacher that differs from it."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in tcl.momentum.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return tcl


def sides(tcl, batch):
    """What model and teacher make of a batch."""
    with torch.no_grad():
        return tcl.towers(batch), tcl._run(tcl._slow(), batch, view=-1)


# --- the contrastive terms ---


def cross_entropy_by_hand(query, keys, targets, tau):
    logits = query @ keys.T / tau
    return -(targets * (logits - logits.exp().sum(dim=1, keepdim=True).log())).sum(dim=1).mean()


def local_information_by_hand(local, real, summary, tau):
    losses = []
    for i in range(len(summary)):
        scores = [(local[j] @ summary[i] / tau).exp() for j in range(len(summary))]
        others = sum(scores[j][real[j]].sum() for j in range(len(summary)) if j != i)
        losses.append(torch.stack([-(s / (s + others)).log() for s in scores[i][real[i]]]).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_six_terms_are_those_of_the_paper(towers, batch, alpha):
    tcl = moved(built(towers))
    mine, slow = sides(tcl, batch)
    queues = {name: queue.features for name, queue in tcl.queues.items()}
    tau, own = tcl.temperature(), torch.eye(4, 16)
    found = tcl.align(mine, slow, batch, alpha)
    for name, other in (("image", "text"), ("text", "image")):
        same, across = torch.cat([slow[name], queues[name]]), torch.cat([slow[other], queues[other]])
        targets = alpha * (slow[name] @ across.T / tau).softmax(dim=1) + (1 - alpha) * own
        torch.testing.assert_close(found[f"cma_{name}"], cross_entropy_by_hand(mine[name], across, targets, tau))
        torch.testing.assert_close(found[f"imc_{name}"], cross_entropy_by_hand(mine[name], same, own, tau))
        local = F.normalize(tcl.momentum.module["projections"][name](slow[f"{name}_tokens"]), dim=-1)
        real = slow[f"{name}_mask"].clone()
        if name == "text":
            real[:, 0] = False  # the start token
        expected = local_information_by_hand(local, real, mine[name], tau)
        torch.testing.assert_close(found[f"lmi_{name}"], expected)
    assert len(found) == 6


class Tokens(Encoder):
    """An encoder whose features are its parameters: the first token is the pooled one."""

    gives = frozenset({"pooled", "tokens"})

    def __init__(self, modality, tokens, mask=None):
        super().__init__()
        self.modality, self.dim, self.mask = modality, tokens.shape[2], mask
        self.input = ImageInput() if modality == "image" else TextInput(lambda texts: None)
        self.tokens = nn.Parameter(tokens.float())

    def encode(self, x, mask=None):
        return Features(self.tokens[:, 0], self.tokens[:, 1:], self.mask)


def test_one_step_gives_the_reference_loss_gradients_and_queues(golden):
    given = golden("tcl")
    encoders = {
        "image": Tokens("image", given["v_tokens"]),
        "text": Tokens("text", given["t_tokens"], given["attn"][:, 1:].bool()),
    }
    tcl = built(encoders, rows=1000, grid=2, **ALIGN_ONLY)
    for name, (letter, word) in {"image": ("v", "vision"), "text": ("t", "text")}.items():
        tcl.momentum.module[name].tokens.data = given[f"{letter}_tokens_m"].float()
        for part, suffix in ((tcl.projections, ""), (tcl.momentum.module["projections"], "_m")):
            names = ("weight", "bias")
            part[name].load_state_dict({each: given[f"{word}_proj{suffix}_{each}"] for each in names})
        tcl.queues[name].features = given[f"{name}_queue"].T.float().contiguous()
    tcl.encoders.requires_grad_(False)  # the reference moves the projections alone
    slow_tokens = {name: tcl.momentum.module[name].tokens.clone() for name in ("image", "text")}
    tcl.after_step(Step())
    for name, tokens in slow_tokens.items():
        tcl.momentum.module[name].tokens.copy_(tokens)
    tcl.encoders.requires_grad_(True)
    place = torch.zeros(4, 3, 1, 1)
    loss = tcl.loss({"image": place, "text": torch.zeros(4, 5)}, Step())["total"]
    loss.backward()
    close = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(loss, given["ita_a0"].float(), **close)
    torch.testing.assert_close(tcl.encoders["image"].tokens.grad, given["ita_a0_grad_v"].float(), **close)
    torch.testing.assert_close(tcl.encoders["text"].tokens.grad, given["ita_a0_grad_t"].float(), **close)
    torch.testing.assert_close(tcl.temperature.value.grad, given["ita_a0_grad_temp"].float(), **close)
    for name in ("image", "text"):
        torch.testing.assert_close(tcl.queues[name].features.T, given[f"{name}_queue_after"].float(), **close)
    after = tcl.momentum.module["projections"]["image"].weight
    torch.testing.assert_close(after, given["vision_proj_m_weight_after"].float(), **close)


def test_local_information_reaches_summaries_and_temperature_and_nothing_of_the_teacher(towers, batch):
    tcl = moved(built(towers, cma_weight=0, imc_weight=0, **ALIGN_ONLY))
    mine = tcl.towers(batch)
    with torch.no_grad():
        slow = tcl._run(tcl._slow(), batch, view=-1)
    terms = tcl.align(mine, slow, batch, alpha=0.4)
    assert set(terms) == {"lmi_image", "lmi_text"}
    reached = (mine["image"], mine["text"], mine["image_tokens"], tcl.temperature.value)
    grads = torch.autograd.grad(terms["lmi_image"], reached, allow_unused=True, retain_graph=True)
    assert grads[0].any()
    assert grads[1] is None
    assert grads[2] is None
    assert grads[3] != 0
    sum(terms.values()).backward()
    assert all(parameter.grad is None for parameter in tcl.momentum.parameters())


def test_the_teacher_and_the_queues_get_no_gradient_and_every_trained_part_does(towers, batch):
    tcl = moved(built(towers))
    tcl.loss(batch, Step(epoch=1))["total"].backward()
    assert all(parameter.grad is None for parameter in tcl.momentum.parameters())
    idle = [name for name, parameter in tcl.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert idle == []


def test_weights_make_a_mean_of_what_is_left_and_the_total_is_the_sum_of_three(towers, batch):
    tcl = built(towers, imc_weight=0, lmi_weight=0, **ALIGN_ONLY)
    terms = tcl.loss(batch, Step())
    torch.testing.assert_close(terms["total"], (terms["cma_image"] + terms["cma_text"]) / 2)
    terms = built(towers, cma_weight=2.0, itm_weight=0.5).loss(batch, Step())
    align = (2 * (terms["cma_image"] + terms["cma_text"]) + terms["imc_image"] + terms["imc_text"]) / 8
    align = align + (terms["lmi_image"] + terms["lmi_text"]) / 8
    torch.testing.assert_close(terms["total"], align + 0.5 * terms["itm"] + terms["mlm"])
    with pytest.raises(ConfigError, match="are all 0: one of them should be greater"):
        built(towers, cma_weight=0, imc_weight=0, lmi_weight=0)


def test_the_share_of_the_teacher_rises_over_the_first_epoch(towers):
    tcl = built(towers, rows=8)
    shares = [tcl._alpha(Step(index=index), 2) for index in range(5)]
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert tcl._alpha(Step(epoch=1, index=4), 2) == 0.4
    assert built(towers, rows=0)._alpha(Step(), 2) == 0


def test_all_keys_of_the_same_row_can_be_positives(towers, batch):
    tcl = built(towers, same_row=True)
    tcl.loss(batch, Step())  # the first four keys of the queue are rows 0 to 3
    mine, slow = sides(tcl, batch)
    found = tcl.align(mine, slow, batch, alpha=0.0)
    targets = torch.cat([torch.eye(4), torch.eye(4), torch.zeros(4, 8)], dim=1) / 2
    for name, other in (("image", "text"), ("text", "image")):
        for term, key in (("cma", other), ("imc", name)):
            keys = torch.cat([slow[key], tcl.queues[key].features])
            expected = cross_entropy_by_hand(mine[name], keys, targets, tcl.temperature())
            torch.testing.assert_close(found[f"{term}_{name}"], expected)


def test_local_features_of_any_grid_are_at_most_the_grid_asked_for(towers):
    tcl = built(towers, grid=4)
    for tokens, kept in ((4, 4), (16, 16), (49, 16), (64, 16)):
        local, _ = tcl._local_features("image", {"image_tokens": torch.randn(2, tokens, 16)}, {})
        assert local.shape == (2, kept, 8)


# --- teacher and queues ---


def test_queues_take_the_teachers_features_after_the_loss_was_computed_against_the_old_ones(towers, batch):
    tcl = moved(built(towers))
    _, slow = sides(tcl, batch)
    before = {name: queue.features.clone() for name, queue in tcl.queues.items()}
    tcl.eval()
    loss = tcl.loss(batch, Step())["cma_image"]
    assert all(torch.equal(tcl.queues[name].features, before[name]) for name in before)  # not in training
    tcl.train()
    torch.testing.assert_close(tcl.loss(batch, Step())["cma_image"], loss)
    for name, queue in tcl.queues.items():
        torch.testing.assert_close(queue.features[:4], slow[name])
        assert torch.equal(queue.features[4:], before[name][4:])
        assert queue.ids.tolist() == [0, 1, 2, 3] + 8 * [-1]


def test_a_queue_holds_at_most_a_tenth_of_the_rows(towers):
    assert {len(queue) for queue in built(towers, rows=50).queues.values()} == {5}
    assert len(built(towers, rows=1000).queues["text"]) == 12
    assert len(built(towers, rows=3).queues["text"]) == 1


def test_the_teacher_follows_once_per_optimiser_step_before_it_is_asked_again(towers, batch):
    tcl = moved(built(towers, momentum=0.9))
    before = copy.deepcopy(tcl.momentum.module["projections"]["image"].weight)
    for _ in range(3):  # however often the loss is computed
        tcl.loss(batch, Step())
    assert torch.equal(tcl.momentum.module["projections"]["image"].weight, before)
    tcl.after_step(Step())
    expected = 0.9 * before + 0.1 * tcl.projections["image"].weight
    torch.testing.assert_close(tcl.momentum.module["projections"]["image"].weight, expected)
    assert int(tcl.momentum.step) == 1


def test_the_teacher_starts_equal_and_the_first_view_is_not_what_it_sees(towers, batch):
    tcl = built(towers).eval()
    mine, slow = sides(tcl, batch)
    assert torch.equal(mine["text"], slow["text"])
    assert not torch.allclose(mine["image"], slow["image"])
    swapped = {**batch, "image_views": batch["image_views"][::-1]}
    torch.testing.assert_close(tcl.towers(swapped)["image"], slow["image"])
    alone = {name: value for name, value in batch.items() if name != "image_views"}
    mine, slow = sides(tcl, alone)
    assert torch.equal(mine["image"], slow["image"])


def test_model_and_teacher_see_a_text_through_dropout_of_their_own(towers, batch):
    tcl = built(towers, text_dropout=0.2).train()
    assert not tcl.momentum.module["text"].embedding.weight.requires_grad
    torch.manual_seed(3)
    mine, slow = sides(tcl, batch)  # the teacher equals the model so far
    assert not torch.allclose(mine["text"], slow["text"])
    assert tcl.loss(batch, Step())["imc_text"] > 0
    mine, slow = sides(tcl.eval(), batch)
    assert torch.equal(mine["text"], slow["text"])


def test_texts_have_dropout_unless_the_encoder_has_its_own_or_none_is_wanted(towers):
    assert built(towers, text_dropout=None).text_dropout == 0.1
    assert built(towers, text_dropout=0.3).text_dropout == 0.3
    towers["text"].transformer.layers[0].dropout.p = 0.1  # as BERT's
    assert built(towers, text_dropout=None).text_dropout == 0
    assert built(towers, text_dropout=0).text_dropout == 0


def test_frozen_encoders_are_shared_with_the_teacher_and_read_a_text_once(towers, batch):
    towers["text"].freeze("all")
    tcl = built(towers, mlm_weight=0).train()
    assert set(tcl.momentum.module) == {"image", "projections"}
    calls = []
    towers["text"].register_forward_hook(lambda module, given, out: calls.append(given[0]))
    frozen = tcl.loss(batch, Step())["cma_image"]
    assert [type(given) for given in calls] == [torch.Tensor, Features]
    towers["text"].freeze("none")
    assert built(towers, mlm_weight=0).loss(batch, Step())["cma_image"] == frozen


def test_the_temperature_is_brought_back_to_its_range(towers):
    tcl = built(towers)
    with torch.no_grad():
        tcl.temperature.value.fill_(-3.0)
    tcl.after_step(Step())
    torch.testing.assert_close(tcl.temperature(), torch.tensor(0.01))


def test_the_temperature_can_be_held_and_its_floor_is_no_higher_than_its_start(towers):
    held = built(towers, learn_temperature=False)
    assert not held.temperature.value.requires_grad
    assert built(towers).temperature.value.requires_grad
    low = built(towers, temperature=0.005)
    low.after_step(Step())
    torch.testing.assert_close(low.temperature(), torch.tensor(0.005))
    lowest = built(towers, min_temperature=0.001)
    with torch.no_grad():
        lowest.temperature.value.fill_(-3.0)
    lowest.after_step(Step())
    torch.testing.assert_close(lowest.temperature(), torch.tensor(0.001))


def test_a_rate_for_small_data_does_not_carry_the_temperature_across_its_range(towers):
    tcl = built(towers)
    with torch.no_grad():
        moved_by = [1e-3 * tcl.lr_factor("temperature", Step(index=index, total=1000), 50) for index in range(1000)]
    assert sum(moved_by) < 0.01  # AdamW moves it by its learning rate at every step


def test_the_temperature_has_a_learning_rate_of_its_own(towers):
    tcl = built(towers)
    optimiser = build_optimizer(
        [(name, parameter) for name, parameter in tcl.named_parameters() if parameter.requires_grad],
        TrainingConfig(),
        tcl.group,
    )
    groups = {group["name"]: group["params"] for group in optimiser.param_groups}
    assert [id(parameter) for parameter in groups["temperature"]] == [id(tcl.temperature.value)]
    factors = [tcl.lr_factor("temperature", Step(index=index, total=10), 2) for index in (0, 1, 6, 10)]
    assert factors == pytest.approx([0.005, 0.01, 0.005, 0.0])
    assert built(towers, temperature_lr=1.0).lr_factor("temperature", Step(index=1, total=10), 2) == 1


# --- matching ---


def test_matching_is_cross_entropy_of_right_pairs_and_two_wrong_ones_each(towers, batch):
    two = {name: value[:2] for name, value in batch.items() if name != "image_views"}
    tcl = built(towers)
    mine, slow = sides(tcl, two)

    def logits(text, image):
        words, patches = mine["text_tokens"][[text]], mine["image_tokens"][[image]]
        fused = tcl.fusion(Features(words, words, mine["text_mask"][[text]]), Features(patches, patches))
        return tcl.matching(fused[:, 0])[0].log_softmax(dim=0)

    right = logits(0, 0)[1] + logits(1, 1)[1]
    wrong = 2 * (logits(0, 1)[0] + logits(1, 0)[0])  # of two rows the other one is the only candidate
    torch.testing.assert_close(tcl._matching_loss(mine, slow, two, torch.Generator()), -(right + wrong) / 6)


def test_wrong_pairs_are_hard_ones_and_never_right(towers, batch, monkeypatch):
    tcl = built(towers)
    mine, slow = sides(tcl, batch)
    like = torch.tensor([[1.0, 0.0, 0.9, 0.0], [0.0, 1.0, 0.0, 0.9], [0.9, 0.0, 1.0, 0.0], [0.0, 0.9, 0.0, 1.0]])
    slow |= {"image": torch.eye(4), "text": torch.eye(4)}
    mine |= {"text": like, "image": like, "text_pooled": torch.arange(4.0), "image_pooled": torch.arange(4.0)}
    seen = []

    def recorded(text, image):
        seen.append((text.pooled.tolist(), image.pooled.tolist()))
        return torch.zeros(12, 2)

    monkeypatch.setattr(tcl, "_match", recorded)
    for turn in range(20):
        tcl._matching_loss(mine, slow, batch, torch.Generator().manual_seed(turn))
    for texts, images in seen:
        assert texts[:8] == [0, 1, 2, 3, 0, 1, 2, 3]
        assert images[:4] + images[8:] == [0, 1, 2, 3, 0, 1, 2, 3]
        assert all(text != image for text, image in zip(texts[4:], images[4:], strict=True))
    hard = [abs(a - b) == 2 for texts, images in seen for a, b in zip(texts[4:], images[4:], strict=True)]
    assert sum(hard) > 0.98 * len(hard)  # e^(0.9 / 0.07) to 1


def test_matching_needs_two_rows(towers, batch):
    one = {name: value[:1] for name, value in batch.items() if name != "image_views"}
    with pytest.raises(ShapeError, match="at least two candidates"):
        built(towers).loss(one, Step())


# --- words ---


def test_hidden_words_are_learnt_from_the_labels_and_from_the_teacher(towers, batch):
    tcl = moved(built(towers, mask_share=0.5))
    mine, slow = sides(tcl, batch)
    found = tcl._language_loss(mine, slow, batch["text"], alpha=0.4, draws=torch.Generator().manual_seed(7))
    ids, mask, special = batch["text"], batch["text_mask"], towers["text"].input.tokenizer.special
    marks = (ids == special.pad) | (ids == special.start) | (ids == special.end)
    size = towers["text"].input.tokenizer.vocabulary
    draws = torch.Generator().manual_seed(7)
    hidden, labels = mlm_mask(ids, marks, size, 0.5, mask_id=special.mask, generator=draws)

    def log_probability(encoder, fusion, words, patches):
        image = Features(patches[:, 0], patches)
        logits = words(fusion(encoder(hidden, mask), image), encoder.embedding.weight)
        return logits.log_softmax(dim=-1)  # (B, L, V)

    named = log_probability(towers["text"], tcl.fusion, tcl.words, mine["image_tokens"])
    teacher = tcl.momentum.module
    taught = log_probability(teacher["text"], teacher["fusion"], teacher["words"], slow["image_tokens"]).exp()
    losses = [
        -0.6 * named[row, place, labels[row, place]] - 0.4 * (taught[row, place] * named[row, place]).sum()
        for row, place in (labels >= 0).nonzero().tolist()
    ]
    assert len(losses) > 3
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_without_a_hidden_word_the_loss_is_zero_with_a_graph(towers, batch):
    tcl = built(towers, mask_share=1e-9)
    loss = tcl._language_loss(*sides(tcl, batch), batch["text"], alpha=0.4, draws=torch.Generator())
    loss.backward()
    assert loss == 0
    assert not tcl.words.bias.grad.any()


def test_the_word_head_shares_the_encoders_table_where_that_fits(towers):
    table = token_table(towers["text"], towers["text"].input.tokenizer.vocabulary)
    assert table is towers["text"].embedding.weight
    assert built(towers).words.table is None
    assert token_table(towers["text"], 99) is None
    assert TokenHead(16, 99, tied=False)(torch.zeros(2, 16)).shape == (2, 99)


# --- use ---


def test_rescoring_gives_the_log_odds_of_every_pair_in_both_directions(towers, batch, monkeypatch):
    tcl = built(towers).eval()
    tokens = tcl.token_features(batch)
    text, image = tokens["text"].select(torch.arange(3)), tokens["image"]
    scores = tcl.rescore(text, image, "text")
    for row in range(3):
        for column in range(4):
            pair = (text.select(torch.tensor([row])), image.select(torch.tensor([column])))
            no, yes = tcl._match(*pair)[0]
            torch.testing.assert_close(scores[row, column], yes - no, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tcl.rescore(image, text, "image"), scores.T)
    monkeypatch.setattr(fusion_room, "CHUNK_ELEMENTS", 500)  # a few pairs at a time
    torch.testing.assert_close(tcl.rescore(text, image, "text"), scores, rtol=1e-4, atol=1e-5)


def test_without_matching_nothing_is_rescored_and_without_words_nothing_hidden(towers, batch):
    tcl = built(towers, **ALIGN_ONLY)
    assert Rescores.of(tcl) is None
    assert not hasattr(tcl, "fusion")
    assert set(tcl.momentum.module) == {"image", "text", "projections"}
    assert Rescores.of(built(towers, mlm_weight=0))


def test_embeddings_have_unit_norm_and_follow_the_batch(towers, batch):
    tcl = built(towers).eval()
    assert set(tcl.embed({"image": batch["image"]})) == {"image"}
    for vectors in tcl.embed(batch).values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


def test_views_are_two_of_a_kind_and_their_changes_can_be_left_out(towers):
    first, second = built(towers).views
    assert first == second
    assert (first.scale, first.jitter_p, first.rand_augment) == ((0.2, 1.0), 0.8, (2, 0.7))
    plain = built(towers, colour=False, rand_augment=None, flip=0).views[0]
    assert (plain.jitter, plain.gray, plain.blur, plain.flip, plain.rand_augment) == (None, 0, 0, 0, None)


def test_a_saved_model_has_no_teacher_and_no_queues(towers, batch, tmp_path):
    tcl = built(towers).eval()
    save_model(tmp_path, tcl, {})
    loaded = load_model(tmp_path).method
    for name, vectors in tcl.embed(batch).items():
        assert torch.equal(loaded.embed(batch)[name], vectors)
    tokens = tcl.token_features(batch)
    assert torch.equal(loaded.rescore(*tokens.values(), "image"), tcl.rescore(*tokens.values(), "image"))
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith(("momentum", "queues"))]  # noqa: SIM118


# --- wrong input ---


class NoMask:
    """A tokenizer that has never heard of masks."""


def test_a_tokenizer_without_mask_is_refused_with_the_remedy(towers):
    towers["text"].input = TextInput(NoMask())
    with pytest.raises(ConfigError, match="tokenizer has none: choose another text encoder, or set mlm_weight = 0"):
        built(towers)
    assert Rescores.of(built(towers, mlm_weight=0))


def test_tokens_of_another_width_than_the_vector_are_refused(towers):
    towers["image"].dim = 32
    with pytest.raises(ConfigError, match="those of the image encoder have 16 and 32 dimensions"):
        built(towers)


def test_heads_that_do_not_divide_the_width_are_refused(towers):
    with pytest.raises(ConfigError, match="fusion_heads = 3: must divide the text encoder's width, 16"):
        built(towers, fusion_heads=3)


# --- training ---


def test_the_step_runs_in_half_precision_with_embeddings_in_single(towers, batch):
    tcl = built(towers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = tcl.loss(batch, Step(epoch=1))
        vectors = tcl.embed(batch)
    terms["total"].backward()
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    assert all(side.dtype == torch.float32 for side in vectors.values())


def pictures_with_words(rows=48) -> Corpus:
    random = np.random.default_rng(0)
    kinds = random.integers(4, size=rows)
    colours = np.array([[220, 30, 30], [30, 30, 220], [30, 180, 30], [220, 220, 30]])
    pixels = colours[kinds][:, None, None] + random.integers(-25, 25, (rows, 16, 16, 3))
    images = [Image.fromarray(picture.clip(0, 255).astype(np.uint8)) for picture in pixels]
    found = corpus_from_items("image", images)
    table = found.rows.add_column("text", [WORDS[kind] for kind in kinds])
    return Corpus("pictures", table, Columns(image="image", text=("text",)), np.arange(rows))


class Killed(BaseException):
    """What a kill looks like from inside."""


def trained(towers, folder, *, kill_at=None, resume=False):
    tcl = built(copy.deepcopy(towers), rows=48, momentum=0.9, colour=False, rand_augment=None, crop_scale=(0.8, 1.0))
    step, done = tcl.after_step, []

    def counted(where):
        step(where)
        done.append(where)
        if len(done) == kill_at:
            raise Killed

    tcl.after_step = counted
    config = {"epochs": 3, "batch_size": 16, "lr": 5e-3, "checkpoint_every": 2, "log_every": 1, "accelerator": "cpu"}
    corpus = pictures_with_words()
    fit(tcl, corpus, TrainingConfig.parse(config), folder, resume=resume, progress=False)
    return tcl


def test_a_killed_run_resumes_to_the_same_bits(towers, tmp_path):
    whole = trained(towers, tmp_path / "whole").state_dict()
    with pytest.raises(Killed):
        trained(towers, tmp_path / "killed", kill_at=7)
    again = trained(towers, tmp_path / "killed", resume=True).state_dict()
    assert whole["momentum.step"] == 9
    assert whole["queues.text.filled"] == 4
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


def test_training_learns_to_align_to_match_and_to_name_words(towers, batch):
    tcl = built(towers, momentum=0.9, mask_share=0.5).train()
    optimiser = torch.optim.AdamW([parameter for parameter in tcl.parameters() if parameter.requires_grad], lr=1e-2)
    losses = []
    for index in range(60):
        torch.manual_seed(index)
        terms = tcl.loss(batch, Step(epoch=index // 10, seed=index))
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        tcl.after_step(Step(index=index))
        losses.append({name: float(term.detach()) for name, term in terms.items()})
    for name in ("cma_image", "itm", "mlm"):
        early, late = (np.mean([loss[name] for loss in part]) for part in (losses[:5], losses[-5:]))
        assert late < 0.7 * early, name
    tokens = tcl.eval().token_features(batch)
    assert tcl.rescore(tokens["image"], tokens["text"], "image").argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert tcl.rescore(tokens["text"], tokens["image"], "text").argmax(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("settings", [{"alpha": 0.4}, {"same_row": True}])
def test_two_processes_contrast_as_one_with_all_rows(settings):
    one, two = share_of(0, settings, rows=ROWS), run_two_processes(share_of, settings)
    torch.testing.assert_close((two[0][0] + two[1][0]) / 2, one[0])
    for name, gradient in one[1].items():
        mean = (two[0][1][name] + two[1][1][name]) / 2  # DistributedDataParallel averages over the processes
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert torch.equal(two[0][2], two[1][2])
    torch.testing.assert_close(two[0][2], one[2])
