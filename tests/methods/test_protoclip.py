from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from protoclip_parts import (
    COLOURS,
    MIDDLE,
    ROWS,
    SMALL,
    EpisodeLoader,
    built,
    captions,
    clustered,
    encoders,
    rows_of,
)
from torch import Tensor

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.errors import ConfigError
from accord.functional import info_nce
from accord.methods import DataInfo, Stage, Step, get_method
from accord.methods.image_text.protoclip import ProtoClip
from accord.training.artifact import load_model, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward
from accord.training.optimiser import parameter_groups


def corpus(rows: int = 64) -> Corpus:
    """Squares of four colours, one in each corner of a grey picture, and what they are called."""
    pictures = []
    for row in range(rows):
        pixels = np.full((16, 16, 3), 128, dtype=np.uint8)
        corner = (slice(0, 8), slice(8, 16))
        pixels[corner[row // 4 % 2], corner[row // 8 % 2]] = list(COLOURS.values())[row % 4]
        pictures.append(Image.fromarray(pixels))
    found = corpus_from_items("image", pictures)
    return replace(
        found,
        name="squares",
        rows=found.rows.add_column("text", captions(rows)),
        columns=Columns(image="image", text=("text",)),
    )


# --- the loss ---


def soft_cross_entropy(x: Tensor, prototypes: Tensor, labels: Tensor, scale: Tensor, near: Tensor | None) -> Tensor:
    """Row by row as the paper writes it; ``near`` are the teacher's centroids, None for a one-hot target."""
    losses = []
    for row, label in zip(x, labels, strict=True):
        log_p = (scale * prototypes @ row).log_softmax(dim=0)
        target = F.one_hot(label, len(prototypes)).float()
        if near is not None:
            target = (near @ near[label] / 0.01).softmax(dim=0)
        losses.append(-(target * log_p).sum())
    return torch.stack(losses).mean()


def features(method: ProtoClip, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Projected unit features, written out."""
    found = {}
    for modality, encoder in method.encoders.items():
        output = method.projections[modality](encoder(batch[modality], batch.get(f"{modality}_mask")).pooled)
        found[modality] = F.normalize(method.heads[modality](output), dim=1)
    return found


@pytest.mark.parametrize("back_translation", [True, False])
@pytest.mark.parametrize("teacher", [None, "tiny_text"])
def test_the_loss_is_the_sum_of_the_papers_three(back_translation, teacher):
    weights = {"contrastive_weight": 0.5, "prototype_weight": 2.0, "teacher_weight": 3.0}
    method = clustered(back_translation=back_translation, teacher=teacher, mask_empty=False, **weights)
    batch = rows_of(method, torch.tensor([1, 4, 9, 16, 23, 2]))
    terms = method.loss(batch, MIDDLE)
    x, embedded, scale = features(method, batch), method.embed(batch), method.prototype_scale()
    sides, place = method.clusters, batch["place"]
    expected = 0.5 * info_nce(embedded["image"], embedded["text"], method.logit_scale())
    for student, other in (("image", "text"), ("text", "image")):
        found = sides[other]
        prototypes = found.prototypes(student) if back_translation else found.centroids
        side = soft_cross_entropy(x[student], prototypes, found.labels[place], scale, found.centroids)
        torch.testing.assert_close(terms[f"clusters_{other}"], side)
        expected = expected + 2.0 * side / 2
        if teacher:
            outside = sides["teacher"]
            own = soft_cross_entropy(x[student], outside.prototypes(student), outside.labels[place], scale, None)
            expected = expected + 3.0 * own / 2
    torch.testing.assert_close(terms["total"], expected)
    assert ("clusters_teacher" in terms) == bool(teacher)


def test_one_hot_targets_when_there_is_no_temperature():
    method = clustered(target_temperature=None, mask_empty=False)
    batch = rows_of(method, torch.arange(6))
    x, found = features(method, batch), method.clusters["text"]
    expected = F.cross_entropy(method.prototype_scale() * x["image"] @ found.prototypes("image").T, found.labels[:6])
    torch.testing.assert_close(method.loss(batch, MIDDLE)["clusters_text"], expected)


def gradients(method: ProtoClip) -> set[str]:
    return {name for name, parameter in method.named_parameters() if parameter.grad is not None}


def test_the_clusters_train_towers_heads_and_their_own_scale():
    method = clustered(contrastive_weight=0.0)
    method.loss(rows_of(method, torch.arange(8)), MIDDLE)["total"].backward()
    reached = {name for name in gradients(method) if dict(method.named_parameters())[name].grad.abs().sum() > 0}
    for part in ("encoders.image", "encoders.text", "projections.image", "heads.image", "heads.text"):
        assert any(name.startswith(part) for name in reached), part
    assert "prototype_scale.log_scale" in reached
    assert "logit_scale.log_scale" not in reached


def test_the_heads_get_nothing_from_info_nce():
    method = clustered(prototype_weight=0.0)
    method.loss(rows_of(method, torch.arange(8)), MIDDLE)["total"].backward()
    assert not [name for name in gradients(method) if name.startswith(("heads", "prototype_scale"))]
    assert not method.clusters


def test_a_feature_as_it_was_clustered_is_not_stale():
    method = clustered().eval()  # batch norm as in the clustering
    terms = method.loss(rows_of(method, torch.arange(8)), MIDDLE)
    torch.testing.assert_close(terms["staleness"], torch.tensor(0.0), atol=1e-6, rtol=0)
    for bank in method.bank.values():
        bank.features.neg_()
    terms = method.loss(rows_of(method, torch.arange(8)), MIDDLE)
    torch.testing.assert_close(terms["staleness"], torch.tensor(2.0))
    assert 1 < terms["effective_clusters"] <= 4


def test_both_scales_are_clamped_after_a_step():
    method = built()
    for scale in (method.logit_scale, method.prototype_scale):
        torch.testing.assert_close(scale(), torch.tensor(1 / 0.07))
        torch.nn.init.constant_(scale.log_scale, 9.0)
    method.after_step(MIDDLE)
    torch.testing.assert_close(method.logit_scale(), torch.tensor(100.0))
    torch.testing.assert_close(method.prototype_scale(), torch.tensor(100.0))


def test_the_heads_start_identical_and_are_two():
    method = built()
    image, text = method.heads["image"].state_dict(), method.heads["text"].state_dict()
    assert all(torch.equal(value, text[name]) for name, value in image.items())
    torch.nn.init.zeros_(method.heads["image"][0].weight)
    assert method.heads["text"][0].weight.abs().sum() > 0


# --- episodes ---


def test_an_episode_is_clustered_in_eval_mode_place_by_place():
    method = clustered().eval()
    whole = features(method, rows_of(method, torch.arange(ROWS)))
    for side, other in (("image", "text"), ("text", "image")):
        torch.testing.assert_close(method.bank[side].features, whole[side])
        found = method.clusters[side]
        nearest = torch.cdist(whole[side], found.centroids).argmin(dim=1)
        assert torch.equal(found.labels, nearest)
        for cluster in range(4):
            torch.testing.assert_close(
                found.prototypes(other)[cluster], whole[other][found.labels == cluster].mean(dim=0)
            )


def test_the_first_episode_is_clips_and_lets_only_batch_norm_learn():
    method = built()
    first = Step(epoch=0, epochs=4)
    method.before_epoch(first, EpisodeLoader(method))
    assert not method.bank["image"].seen.any()
    batch = rows_of(method, torch.arange(8))
    terms = method.loss(batch, first)
    assert set(terms) == {"total", "contrastive", "logit_scale"}
    embedded = method.embed(batch)
    torch.testing.assert_close(terms["total"], info_nce(embedded["image"], embedded["text"], method.logit_scale()))
    terms["total"].backward()
    assert not [name for name in gradients(method) if name.startswith("heads")]
    norm = method.heads["text"][1]
    assert norm.num_batches_tracked == 1
    assert norm.running_mean.abs().sum() > 0


@pytest.mark.parametrize(
    ("epochs", "settings", "grouping"),
    [
        (1, {}, [0]),
        (4, {}, [1, 2, 3]),
        (5, {"infonce_warmup": 2, "lit_episodes": 1}, [2, 3]),
        (3, {"infonce_warmup": 9}, [2]),
        (3, {"infonce_warmup": 1, "lit_episodes": 9}, [0]),
        (100, {}, list(range(1, 98))),
    ],
)
def test_episodes_of_each_kind(epochs, settings, grouping):
    method = built(**settings)
    assert [epoch for epoch in range(epochs) if method._groups(Step(epoch=epoch, epochs=epochs))] == grouping


def test_the_image_tower_comes_to_rest_where_the_tail_begins(golden):
    method = built(lit_episodes=1)
    want = golden("protoclip")["lr_schedule"][:, 0]  # 100 steps, the last quarter with the image tower at rest
    steps = [Step(epoch=index // 25, index=index, total=100, epochs=4) for index in range(100)]
    got = torch.tensor([5e-4 * method.lr_factor("visual", step, 10) for step in steps], dtype=torch.float64)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-18)
    assert not method._groups(steps[-1])


def test_a_warm_up_longer_than_what_precedes_the_tail_still_ends_there():
    method = built(lit_episodes=3)
    assert method.lr_factor("visual", Step(index=3, total=16, epochs=4), 8) == 0.5
    assert method.lr_factor("visual", Step(epoch=1, index=4, total=16, epochs=4), 8) == 0


def test_the_image_tower_has_a_group_and_heads_have_no_decay():
    method = built()
    groups = {
        (group["name"], group["weight_decay"]): {id(parameter) for parameter in group["params"]}
        for group in parameter_groups(method.named_parameters(), 0.5, method.group)
    }
    named = dict(method.named_parameters())
    assert id(named["projections.image.weight"]) in groups["visual", 0.5]
    assert id(named["projections.text.weight"]) in groups["", 0.5]
    assert id(named["heads.image.0.weight"]) in groups["", 0.0]
    assert id(named["prototype_scale.log_scale"]) in groups["", 0.0]


# --- the outside teacher ---


def test_the_teacher_reads_the_first_captions_and_clusters_for_both_sides():
    method = clustered(teacher="tiny_text", teacher_dim=6)
    known = method.teacher_features
    assert known.shape == (ROWS, 6)
    assert torch.equal(known[0], known[16])  # equal captions
    torch.testing.assert_close(known.mean(dim=0), torch.zeros(6), atol=1e-5, rtol=0)
    found = method.clusters["teacher"]
    assert found.students == ("image", "text")
    by_place = known[5 * torch.arange(ROWS) % ROWS]
    assert torch.equal(found.labels, torch.cdist(by_place, found.centroids).argmin(dim=1))
    assert not any(name.startswith("teacher") for name, _ in method.named_parameters())


def test_a_teacher_of_few_dimensions_is_padded(monkeypatch):
    method = built(teacher="tiny_text", teacher_dim=64)
    monkeypatch.setattr(method, "teacher_vectors", lambda loader: torch.eye(ROWS, 5))
    method.before_stage(Stage(), EpisodeLoader(method))
    assert (method.teacher_features[:, 5:] == 0).all()
    assert method.teacher_features[:, :3].abs().sum() > 0


def test_without_teacher_nothing_is_kept_for_one():
    method = built(teacher="tiny_text", teacher_weight=0.0)
    method.before_stage(Stage(), EpisodeLoader(method))
    assert method.teacher_features.numel() == 0
    assert set(method.clusters) == {"image", "text"}


# --- sizes and settings ---


def test_clusters_and_episode_follow_the_data_unless_set():
    method = built(rows=200, clusters=None)
    assert method.sampling.rows is None
    assert len(method.clusters["text"].sizes) == 20
    assert len(method.bank["image"]) == 200
    method = built(rows=200, clusters=None, episode_size=50)
    assert method.sampling.rows == 50
    assert len(method.clusters["text"].sizes) == 5


def test_more_clusters_than_pairs_are_refused():
    with pytest.raises(ConfigError, match=r"method\.clusters = 30: expected at most 24"):
        built(clusters=30)


def test_a_wrong_setting_names_the_field_and_what_is_allowed():
    with pytest.raises(ConfigError, match=r"target_temperature = 0.0: input should be greater than 0"):
        built(target_temperature=0.0)


# --- training ---

TRAINING = {"epochs": 4, "batch_size": 16, "checkpoint_every": 3, "log_every": 1, "lr": 3e-3, "accelerator": "cpu"}


class Killed(Exception):
    pass


class Mortal(ProtoClip):
    """Dies after the optimiser has moved the weights."""

    name = "mortal"
    steps_left = -1

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        self.steps_left -= 1
        if self.steps_left == 0:
            raise Killed


def trainee(kill_at: int = -1, **settings: Any) -> ProtoClip:
    torch.manual_seed(1)
    towers = encoders()
    torch.manual_seed(1)
    method = Mortal({**SMALL, **settings}, towers, DataInfo(rows=64))
    method.steps_left = kill_at
    return method


@pytest.mark.parametrize("kill_at", [2, 7, 11])
def test_a_run_killed_amid_an_episode_resumes_to_the_same_bits(kill_at, tmp_path):
    settings = {"teacher": "tiny_text", "lit_episodes": 1}
    config = TrainingConfig.parse(TRAINING)  # four steps an episode, of which the first and the last are CLIP's
    whole = trainee(**settings)
    fit(whole, corpus(), config, tmp_path / "whole", progress=False)
    with pytest.raises(Killed):
        fit(trainee(kill_at, **settings), corpus(), config, tmp_path / "killed", progress=False)
    again = trainee(**settings)
    fit(again, corpus(), config, tmp_path / "killed", resume=True, progress=False)
    state = again.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, state[name]), name
    lines = [
        [
            {name: value for name, value in json.loads(line).items() if name != "rows_per_second"}
            for line in (tmp_path / run / "train.jsonl").read_text().splitlines()
        ]
        for run in ("whole", "killed")
    ]
    assert lines[0] == lines[1]
    assert [("clusters_teacher" in line) for line in lines[0]] == [False] * 4 + [True] * 8 + [False] * 4


def test_the_image_tower_rests_in_the_tail(tmp_path):
    before = trainee(lit_episodes=2, kill_at=9)  # the first step of the tail
    with pytest.raises(Killed):
        fit(before, corpus(), TrainingConfig.parse(TRAINING), tmp_path / "a", progress=False)
    after = trainee(lit_episodes=2)
    fit(after, corpus(), TrainingConfig.parse(TRAINING), tmp_path / "b", progress=False)
    assert torch.equal(before.projections["image"].weight, after.projections["image"].weight)
    assert not torch.equal(before.projections["text"].weight, after.projections["text"].weight)


def test_training_tells_the_clusters_of_the_other_side_apart():
    method = clustered(contrastive_weight=0.0)
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-2)
    batch, losses = rows_of(method, torch.arange(ROWS)), []
    for _ in range(30):
        optimiser.zero_grad()
        terms = method.loss(batch, MIDDLE)
        terms["total"].backward()
        optimiser.step()
        losses.append(terms["clusters_text"].item())
    assert losses[-1] < losses[0] - 0.1
    assert terms["staleness"] > 0.01


def test_the_finished_model_is_clip_alone(tmp_path):
    torch.manual_seed(1)
    method = get_method("protoclip")({**SMALL, "teacher": "tiny_text"}, encoders(), DataInfo(rows=64))
    save_model(tmp_path, method, {"data": {"source": "squares"}})
    model = load_model(tmp_path)
    batch = rows_of(method, torch.arange(4))
    for modality, vectors in method.eval().embed(batch).items():
        torch.testing.assert_close(model.method.embed(batch)[modality], vectors)
    from safetensors.torch import load_file

    parts = {name.split(".")[0] for name in load_file(tmp_path / "model.safetensors")}
    assert parts == {"encoders", "projections", "logit_scale"}


# --- many rows ---


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_gradient_caching_gives_the_gradient_of_the_whole_batch(micro_batch):
    whole, cached = clustered(), clustered()
    batch = rows_of(whole, torch.arange(8))
    whole.loss(batch, MIDDLE)["total"].backward()
    cached_backward(cached, batch, MIDDLE, micro_batch, lambda scalar, synchronise: scalar.backward())
    found = dict(cached.named_parameters())
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, atol=1e-5, rtol=1e-3, msg=name)
    for norm in (method.heads["image"][1] for method in (whole, cached)):
        assert norm.num_batches_tracked == 1
