from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch

from accord.data.draws import Draws
from accord.data.inputs import TextInput
from accord.data.loading.features import Features
from accord.data.modalities import get_modality
from accord.encoders import build_encoder
from accord.encoders.generation import Decoding
from accord.errors import ConfigError
from accord.functional import fit_gap, noise_for_cosine
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import Answers, Captions, Classifies, Embeds
from accord.methods.multimodal.close import Close
from accord.methods.multimodal.transfer import CloseConfig

WORDS = ["a red ball", "a blue cup", "the green tree rustles", "one yellow star"]
SMALL = {"width": 16, "depth": 1, "heads": 2, "hidden": 8}
CLASSES = DataInfo(classes=("toy", "thing"))
GREEDY = Decoding(method="greedy", max_tokens=5)
WRITTEN = {"classification": "label", "entailment": "label", "answers": "answers", "captions": "text_raw"}


@pytest.fixture
def towers():
    torch.manual_seed(0)
    image = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    options = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2, "length": 20}
    return {"image": image, "text": build_encoder("text", options, texts=WORDS)}


def built(towers, data=CLASSES, **settings) -> Close:
    torch.manual_seed(2)
    return get_method("close")({**SMALL, **settings}, towers, data)


def several(towers, rows, field):
    """A batch entry of several texts a row."""
    spec = TextInput(towers["text"].input.tokenizer, "all")
    draws = Draws(0, 0, torch.arange(len(rows)).numpy(), False)
    return get_modality("text").collate(field, rows, spec, (), draws)


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    questions, mask = towers["text"].input.tokenizer(["what is it", "which colour", "where", "how many stars"])
    return {
        **text_batch(towers, WORDS),
        "label": torch.tensor([0, 1, 1, 0]),
        "input_text": questions,
        "input_text_mask": mask,
        **several(towers, [[text] for text in WORDS], "text_raw"),
        **several(towers, [["red", "a ball"], ["blue"], ["green"], ["one", "1"]], "answers"),
    }


@pytest.fixture
def pictures(batch):
    """The same rows with a picture in the place of the text."""
    rest = {name: value for name, value in batch.items() if name not in ("text", "text_mask")}
    return {**rest, "image": torch.randn(4, 3, 16, 16)}


def pairs(rows=40, dim=16, gap=0.3):
    draws = torch.Generator().manual_seed(3)
    text = F.normalize(torch.randn(rows, dim, generator=draws), dim=1)
    image = F.normalize(text + gap + 0.1 * torch.randn(rows, dim, generator=draws), dim=1)
    return {"image": image, "text": text}


# --- vectors of texts are moved in training, those of pictures never ---


def test_noise_moves_texts_in_training_anew_at_every_step_and_never_in_use(towers, batch):
    close = built(towers, noise=0.3).train()
    plain = close.space.embed(batch)["text"]
    first, again, other = (close.training_features(batch, Step(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.05)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(4))
    close.eval()
    torch.testing.assert_close(close.test_features(batch), plain)


@pytest.mark.parametrize("adapter", ["noise", "shift", "linear", "cov", "random", "none"])
def test_pictures_are_taken_as_they_are_by_every_adapter(towers, batch, pictures, adapter):
    close = built(towers, adapter=adapter)
    close.fit_pairs(pairs())
    plain = close.space.embed({"image": pictures["image"]})["image"]
    for mode in (True, False):
        assert torch.equal(close.train(mode).test_features(pictures), plain)
    assert torch.equal(close.test_features({**batch, **pictures}), plain)  # a text beside a picture is not looked at
    moved = close.train().training_features(batch, Step(seed=1))
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(4))


def test_the_mean_shift_stays_on_texts_in_use_and_is_the_difference_of_the_pairs(towers, batch):
    close, held = built(towers, adapter="shift", noise=0.0), pairs()
    close.fit_pairs(held)
    shift = (held["image"] - held["text"]).mean(dim=0)
    plain = close.space.embed(batch)["text"]
    torch.testing.assert_close(close.eval().test_features(batch), plain + shift)
    moved = close.train().training_features(batch, Step())
    torch.testing.assert_close(moved, F.normalize(plain + shift, dim=1))


def test_noise_with_covariance_is_three_times_that_of_the_gap_on_top_of_the_shift(towers, batch):
    close, held = built(towers, adapter="cov", noise=0.0), pairs(rows=200)
    close.fit_pairs(held)
    gap = fit_gap(held["image"], held["text"])
    torch.testing.assert_close(close.adapter.root @ close.adapter.root.T, gap.cov, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(close.adapter.shift, gap.mean_diff)
    assert close.adapter.factor == 3.0


def test_a_random_shift_is_kept_with_the_model(towers):
    first, second = built(towers, adapter="random"), built(towers, adapter="random", shift_scale=1.0)
    torch.manual_seed(9)
    second.adapter.delta.normal_()
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.adapter.delta, first.adapter.delta)
    torch.testing.assert_close(first.adapter.delta.norm(), torch.tensor(1.0))


def test_several_captions_are_averaged_as_long_as_they_are_and_then_made_unit_norm(towers):
    torch.nn.init.normal_(towers["text"].ln_final.bias)  # else all vectors are as long as each other
    close = built(towers, texts="mean").eval()
    rows = [["a red ball", "one yellow star"], ["a blue cup"]]
    batch = {**text_batch(towers, ["a red ball", "a blue cup"]), **several(towers, rows, "text_raw")}
    long = close.space.vectors(text_batch(towers, [text for row in rows for text in row]))["text"]
    mean = torch.stack([long[:2].mean(dim=0), long[2]])
    torch.testing.assert_close(close.test_features(batch), F.normalize(mean, dim=1))
    unit = F.normalize(F.normalize(long[:2], dim=1).mean(dim=0), dim=0)
    assert not torch.allclose(close.test_features(batch)[0], unit, atol=1e-4)


# --- how much noise ---


def test_without_pairs_the_noise_is_the_papers_at_the_same_cosine(towers):
    assert built(towers).noise == pytest.approx(0.08 * math.sqrt(768 / 16))
    assert built(towers, head="answers").noise == pytest.approx(0.04 * math.sqrt(768 / 16))
    assert built(towers, head="captions").noise == pytest.approx(0.12 * math.sqrt(768 / 16))
    assert built(towers, head="captions", targets="others").noise == pytest.approx(0.04 * math.sqrt(768 / 16))


def test_pairs_set_the_noise_by_their_mean_cosine_unless_it_is_said(towers):
    held = pairs()
    cosine = float((held["image"] * held["text"]).sum(dim=1).mean())
    close = built(towers)
    assert "mean cosine" in close.fit_pairs(held)
    assert close.noise == close.adapter.w == pytest.approx(noise_for_cosine(cosine, 16))
    assert close.measured.tolist() == pytest.approx([40, cosine, float(fit_gap(*held.values()).centroid_distance)])
    said = built(towers, noise=0.2)
    said.fit_pairs(held)
    assert said.adapter.w == 0.2


def test_adapters_that_are_made_of_pairs_are_not_trained_without(towers):
    for adapter in ("shift", "linear", "cov"):
        close = built(towers, adapter=adapter)
        with pytest.raises(
            ConfigError, match=f"adapter = {adapter} is measured on pairs: name rows with texts and image"
        ):
            close.stages  # noqa: B018
        close.fit_pairs(pairs())
        assert len(close.stages) == 1


def test_pairs_that_are_none_are_refused(towers):
    close = built(towers)
    with pytest.raises(ConfigError, match="at least two pairs of a text and image"):
        close.fit_pairs({"image": torch.randn(5, 16)})
    apart = F.normalize(torch.randn(5, 16), dim=1)
    with pytest.raises(ConfigError, match=r"mean cosine of -1.00, which is no level for noise"):
        close.fit_pairs({"image": apart, "text": -apart})


# --- heads ---


@pytest.mark.parametrize("head", list(WRITTEN))
def test_a_head_learns_from_texts_and_answers_about_pictures(towers, batch, pictures, head):
    close = built(towers, head=head, noise=0.05)
    moved = [parameter for parameter in close.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(moved, lr=3e-2)
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        loss = close.train().loss(batch, Step(seed=step))["total"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is None for encoder in towers.values() for parameter in encoder.parameters())
    close.eval()
    able = {kind for kind in (Classifies, Captions, Answers) if kind.of(close)}
    assert able == {{"answers": Answers, "captions": Captions}.get(head, Classifies)}
    for rows in (pictures, batch):
        if head == "answers":
            assert len(close.answer(rows, GREEDY)) == 4
        elif head == "captions":
            assert len(close.caption(rows, GREEDY)) == 4
            assert close.read_captions(rows).nll.shape == (4,)
        else:
            assert close.classify(rows).shape == (4, 2)


def test_the_loss_of_classes_is_cross_entropy_of_the_moved_vectors(towers, batch):
    close = built(towers, noise=0.2).train()
    logits = close.head(close.training_features(batch, Step(seed=4)))
    torch.testing.assert_close(close.loss(batch, Step(seed=4))["total"], F.cross_entropy(logits, batch["label"]))


def test_rows_of_several_classes_are_decided_one_by_one(towers, batch):
    close = built(towers, DataInfo(classes=("toy", "thing"), multi_label=True), noise=0.0).train()
    label = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    logits = close.head(close.training_features(batch, Step()))
    found = close.loss({**batch, "label": label}, Step())["total"]
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, label))


def test_all_answers_are_written_and_what_was_read_is_read_once(towers, batch):
    close = built(towers, head="answers", noise=0.0).train()
    reads = []
    close.head.model.encoder.register_forward_hook(lambda *_: reads.append(1))
    total = close.loss(batch, Step())["total"]
    assert len(reads) == 1
    singly, tokens = 0.0, 0
    for number, row in enumerate(batch["answers_row"].tolist()):
        one = {
            name: value[row : row + 1] for name, value in batch.items() if not name.startswith(("answers", "text_raw"))
        }
        ids, mask = batch["answers"][number : number + 1], batch["answers_mask"][number : number + 1]
        place = torch.tensor([0])
        one |= {"answers": ids, "answers_mask": mask, "answers_row": place, "answers_drawn": place}
        count = int(mask[:, 1:].sum())
        singly, tokens = singly + count * close.loss(one, Step())["total"], tokens + count
    torch.testing.assert_close(total, singly / tokens)


def test_the_other_captions_are_written_and_not_the_one_that_is_read(towers, batch):
    close = built(towers, head="captions", targets="others", noise=0.0).train()
    rows = [["a red ball", "one yellow star"], ["a blue cup"]]
    two = {**text_batch(towers, ["a red ball", "a blue cup"]), **several(towers, rows, "text_raw")}
    swapped = {**text_batch(towers, ["a red ball", "a blue cup"])}
    swapped |= several(towers, [["one yellow star"], ["a blue cup"]], "text_raw")
    same = built(towers, head="captions", noise=0.0).train()
    torch.testing.assert_close(close.loss(two, Step())["total"], same.loss(swapped, Step())["total"])


def test_padding_beside_a_vector_is_hidden_from_the_encoder_too(towers, batch):
    close = built(towers, head="entailment").eval()
    longer = {name: batch[name] for name in ("text", "text_mask")}
    longer["input_text"] = F.pad(batch["input_text"], (0, 3), value=5)
    longer["input_text_mask"] = F.pad(batch["input_text_mask"], (0, 3))
    torch.testing.assert_close(close.classify(longer), close.classify(batch))


def test_it_writes_what_it_has_learnt_by_heart(towers):
    close = built(towers, head="captions", noise=0.0, width=32, heads=2)
    batch = {**text_batch(towers, WORDS), **several(towers, [[text.upper()] for text in WORDS], "text_raw")}
    trained = [parameter for parameter in close.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    for step in range(150):
        optimizer.zero_grad()
        close.train().loss(batch, Step(seed=step))["total"].backward()
        optimizer.step()
    assert [str(text) for text in close.eval().caption(batch, Decoding(beams=2))] == WORDS  # in lower case


# --- the space ---


def test_the_space_of_any_embedder_is_taken_as_it_is(towers, batch, pictures):
    torch.manual_seed(5)
    clip = get_method("clip")({"dim": 6}, towers, DataInfo(rows=4)).eval()
    expected = {name: clip.embed({**batch, **pictures})[name] for name in ("image", "text")}
    settings = Close.settings_from_space(clip)
    close = Close({**SMALL, **settings}, towers, CLASSES)
    close.take_space(clip)
    found = close.train().embed({**batch, **pictures})
    assert close.space.dim == 6
    for name, vectors in expected.items():
        torch.testing.assert_close(found[name], vectors)
    assert Embeds.of(close).cosine_scale == clip.cosine_scale
    assert not any(module.training for module in close.space.modules())
    assert not [name for name in close.state_dict() if name.startswith("space.method.encoders")]
    assert all(encoder.frozen for encoder in towers.values())


def test_its_settings_survive_a_file(towers):
    clip = get_method("clip")({"dim": 6}, towers, DataInfo(rows=4, classes=("a", "b")))
    settings = CloseConfig.parse({**SMALL, **Close.settings_from_space(clip)})
    assert CloseConfig.parse(settings.model_dump(mode="json")) == settings


def test_a_space_without_texts_or_without_anything_else_is_refused(towers):
    swav = get_method("multiview_infonce")({}, {"image": towers["image"]}, DataInfo(rows=4))
    with pytest.raises(ConfigError, match="space: method multiview_infonce embeds image; expected texts and something"):
        Close.settings_from_space(swav)
    with pytest.raises(ConfigError, match="method clip takes no space of another model: leave out space"):
        get_method("clip").settings_from_space(swav)


def test_what_does_not_fit_together_is_a_sentence(towers):
    with pytest.raises(ConfigError, match="head classification: needs labels of at least 2 classes, got 0"):
        built(towers, DataInfo())
    with pytest.raises(ConfigError, match="width = 10 is no multiple of heads = 4"):
        CloseConfig.parse({"width": 10, "heads": 4})
    with pytest.raises(ConfigError, match="targets = others leaves out the caption that is read"):
        CloseConfig.parse({"targets": "others", "texts": "mean"})


def test_stored_features_of_texts_serve_as_their_words_do(towers, batch):
    close = built(towers).eval()
    pooled = towers["text"](batch["text"], batch["text_mask"]).pooled
    torch.testing.assert_close(close.classify({"text": Features(pooled)}), close.classify(batch))


def test_it_reads_texts_alone_and_is_used_on_what_is_there(towers):
    close = built(towers, head="answers")
    assert close.reads(close.config) == ("text", "input_text", "answers")
    assert close.subjects_of(("image", "text", "input_text")) == ("image", "input_text")
    assert close.subjects == ("text", "input_text")
    assert built(towers).subjects_of(("text",)) == ("text",)
    copied = copy.deepcopy(close)
    assert copied.space.method.encoders is not None
