"""MACIL-SD: bags, ramps, self-distillation, and what is said of each step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import cosine_momentum
from accord.methods.abilities import Classifies
from accord.methods.base import DataInfo, Step
from accord.methods.video.macil_sd import MacilSD

STREAMS = ("sequence", "second_sequence")
CLASSES = ("normal", "fight")


def made(
    classes: tuple[str, ...] = CLASSES, names: tuple[str, ...] = STREAMS, width: int = 8, **settings: Any
) -> MacilSD:
    torch.manual_seed(0)
    options = {"name": "step_projection", "width": width, "seconds_per_step": 0.5}
    encoders = {name: build_encoder("sequence", {**options, "features": 5 - place}) for place, name in enumerate(names)}
    config = {"dim": 8, "heads": 2, "dropout": 0.0, "ratio": 4, "modalities": names, **settings}
    return MacilSD(config, encoders, DataInfo(classes=classes))


def batch(rows: int = 4, lengths: tuple[int, ...] = (9, 7, 5, 9), steps: int = 9) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(steps) < torch.tensor(lengths)[:rows, None]
    found: dict[str, Any] = {"label": torch.tensor([0, 1, 0, 1])[:rows], "index": torch.arange(rows)}
    for place, name in enumerate(STREAMS):
        found[name] = torch.randn(rows, steps, 5 - place, generator=generator)
        found[f"{name}_mask"] = mask
        found[f"{name}_times"] = (0.5 * torch.arange(steps)).expand(rows, steps)
    return found


def at(index: int, **changes: Any) -> Step:
    return Step(**{"epoch": index // 10, "index": index, "total": 100, "epochs": 10, **changes})


class TestNetwork:
    def test_a_layer_before_it_is_the_layer_by_which_a_stream_enters(self) -> None:
        assert not list(made(width=8).network.entries.parameters())
        assert len(list(made(width=6).network.entries.parameters())) == 4

    def test_padding_changes_nothing_unless_it_is_read(self) -> None:
        longer = batch()
        noise = {
            name: longer[name].masked_scatter(~longer[f"{name}_mask"][..., None], torch.randn(200)) for name in STREAMS
        }
        for masked in (True, False):
            method = made(mask_keys=masked).eval()
            short = {name: value[:, :7] if value.ndim > 1 else value for name, value in batch(3, (7, 7, 5), 9).items()}
            whole = batch(3, (7, 7, 5), 9)
            same = torch.allclose(method.classify(whole), method.classify(short), atol=1e-6)
            assert same is masked
            if masked:
                torch.testing.assert_close(method.classify({**longer, **noise}), method.classify(longer))

    def test_streams_of_other_lengths_are_brought_to_the_first(self) -> None:
        method, given = made().eval(), batch()
        given["second_sequence"] = given["second_sequence"].repeat_interleave(2, dim=1)
        given["second_sequence_mask"] = given["second_sequence_mask"].repeat_interleave(2, dim=1)
        given["second_sequence_times"] = given["second_sequence_times"].repeat_interleave(2, dim=1)
        torch.testing.assert_close(method.classify(given), method.classify(batch()))

    def test_a_single_bag_of_one_step_is_scored(self) -> None:
        (found,) = made().eval().score_moments(batch(1, (1,)))
        assert found.scores.shape == (1,)
        assert found.spans.tolist() == [[0.0, 0.5]]


class TestTraining:
    def terms(self, method: MacilSD, given: dict[str, Any] | None = None, **step: Any) -> dict[str, Tensor]:
        return method.loss(given or batch(), at(0, **step))

    def test_the_contrast_waits_and_rises_by_steps(self) -> None:
        method = made(ramp=0.1, ramp_steps=10, background_weight=0.3, normal_weight=0.2, contrast_start=0.5)
        weights = [method.loss(batch(), at(index))["contrast_weight"].item() for index in (0, 50, 60, 70, 99)]
        assert weights == pytest.approx([0, 0, 0.1, 0.2, 0.3])
        terms = method.loss(batch(), at(99))
        wanted = terms["bags"] + 0.3 * terms["background"] + 0.2 * terms["normal"]
        torch.testing.assert_close(terms["total"].detach(), wanted)

    def test_bags_that_are_all_called_the_same_have_no_contrast_unless_labels_say(self) -> None:
        for kind, nothing in (("prediction", True), ("label", False), ("both", False)):
            method = made(bag_type=kind)
            with torch.no_grad():
                method.network.head.bias.fill_(9.0)
            terms = self.terms(method)
            assert (terms["background"].item() == 0) is nothing
        with torch.no_grad():
            method.network.head.bias.fill_(-9.0)
        assert self.terms(method)["normal"].item() == 0  # both: no row with the label is recognised

    def test_no_parameter_is_moved_by_two_losses(self) -> None:
        method = made()
        moved = {}
        for optimiser in ("main", "experts"):
            method.zero_grad()
            method.loss(batch(), at(50, optimiser=optimiser))["total"].backward()
            moved[optimiser] = {name for name, p in method.named_parameters() if p.grad is not None}
        assert moved["main"].isdisjoint(moved["experts"])
        assert all(name.startswith("experts.sequence.") for name in moved["experts"])
        assert moved["main"] | moved["experts"] == {name for name, _ in method.named_parameters()}

    def test_after_every_epoch_and_at_no_other_step_the_network_of_one_stream_is_blended_in(self) -> None:
        method = made(width=6)
        before = {name: value.clone() for name, value in method.state_dict().items()}
        method.after_step(at(8))
        assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
        method.after_step(at(19))
        after, m = method.state_dict(), float(cosine_momentum(1, 10, 0.91))
        for name, other in (
            ("network.head.weight", "experts.sequence.network.head.weight"),
            ("network.layer.attention.in_proj_weight", "experts.sequence.network.layer.attention.in_proj_weight"),
            ("network.entries.sequence.weight", "experts.sequence.network.entries.sequence.weight"),
            ("encoders.sequence.project.weight", "experts.sequence.encoder.project.weight"),
        ):
            torch.testing.assert_close(after[name], m * before[name] + (1 - m) * before[other])
            assert torch.equal(after[other], before[other])
        own = "network.entries.second_sequence.weight"
        assert torch.equal(after[own], before[own])

    def test_without_experts_there_is_one_optimiser_and_nothing_is_blended(self) -> None:
        method = made(experts=())
        assert [optimiser.name for optimiser in method.stages[0].optimisers] == ["main"]
        before = method.network.head.weight.clone()
        method.after_step(at(19))
        assert torch.equal(method.network.head.weight, before)

    def test_each_stream_may_have_an_expert(self) -> None:
        terms = made(experts=STREAMS).loss(batch(), at(0, optimiser="experts"))
        assert set(terms) == {"total", "sequence_bags", "second_sequence_bags"}
        torch.testing.assert_close(terms["total"].detach(), terms["sequence_bags"] + terms["second_sequence_bags"])

    def test_training_ends_before_the_cosine_does(self) -> None:
        factors = [made().lr_factor("all", at(index), 0) for index in (0, 60, 120)]
        assert factors == pytest.approx([1.0, 0.5, 0.0])
        assert made().group("experts.sequence.network.head.weight").lr_scale == 0.2


class TestLabels:
    @pytest.mark.parametrize(
        ("classes", "named", "nothing"),
        [(("fight", "normal"), None, 1), (("0", "1"), None, 0), (("calm", "fight"), None, 0), (("a", "b"), "b", 1)],
    )
    def test_the_class_of_nothing_is_found_or_named(self, classes, named, nothing) -> None:
        method = made(classes, background=named)
        assert method.nothing == nothing
        assert method.event == classes[1 - nothing]
        logits = method.eval().classify(batch())
        assert (logits[:, nothing] == 0).all()

    def test_any_other_class_is_an_event_also_among_several(self) -> None:
        method = made(("fight", "fire", "normal"))
        assert method.event == "event"
        assert method._happens(torch.tensor([0, 1, 2])).tolist() == [True, True, False]
        several = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1]])
        assert method._happens(several).tolist() == [True, False, False, True]
        assert Classifies.of(method) is None

    def test_a_class_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ConfigError, match=r"method\.background = 'calm': no class 'calm'"):
            made(background="calm")
        with pytest.raises(ConfigError, match="at least 2 classes, got 1"):
            made(("normal",))


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"modalities": ("sequence", "sequence")}, "each once"),
            ({"modalities": ("sequence", "text")}, "expected one of video, audio, sequence, second_sequence"),
            ({"experts": ("audio",)}, "'audio' is not among the modalities"),
            ({"heads": 3}, "must divide dim"),
        ],
    )
    def test_what_does_not_fit_is_one_sentence(self, settings, said) -> None:
        with pytest.raises(ConfigError, match=said):
            MacilSD.Config.parse(settings)


class TestScores:
    def test_each_step_has_its_seconds_and_the_sum_of_the_streams(self) -> None:
        found = made().eval().score_moments(batch())
        assert [len(one.scores) for one in found] == [9, 7, 5, 9]
        assert found[1].spans[-1].tolist() == [3.0, 3.5]
        for one in found:
            logits = torch.stack([scores.logit() for scores in one.streams.values()]).sum(dim=0)
            torch.testing.assert_close(one.scores.logit(), logits, rtol=1e-4, atol=1e-5)

    def test_clips_and_sound_are_streams_as_well(self) -> None:
        torch.manual_seed(0)
        vit = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
        encoders = {
            "video": build_encoder("video", {"name": "frames", "frames": 4, "image": vit}),
            "audio": build_encoder("audio", {"name": "tiny_audio", "mels": 8, "width": 16, "depth": 1, "heads": 2}),
        }
        method = MacilSD({"dim": 8, "heads": 2, "modalities": ("video", "audio")}, encoders, DataInfo(classes=CLASSES))
        given = {
            "video": torch.rand(2, 4, 3, 16, 16),
            "video_mask": torch.tensor([[True] * 4, [True, True, True, False]]),
            "video_times": torch.tensor([[1.0, 3.0, 5.0, 7.0]] * 2),
            "audio": torch.randn(2, 8, 20),
            "audio_mask": torch.ones(2, 20, dtype=torch.bool),
            "label": torch.tensor([0, 1]),
        }
        assert method.loss(given, at(50))["total"].isfinite()
        found = method.eval().score_moments(given)
        assert found[0].spans.tolist() == [[0, 2], [2, 4], [4, 6], [6, 8]]
        assert len(found[1].scores) == 3
