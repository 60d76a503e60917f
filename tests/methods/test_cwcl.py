from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cwcl_share import half, share
from method_parts import FixedLoader, text_batch
from PIL import Image

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import info_nce, similarity_weights
from accord.methods import DataInfo, Stage, Step, get_method
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward
from two_processes import run_two_processes

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or leaves features in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: folder)


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, WORDS)}


def built(towers, **settings):
    """A CWCL whose picture encoder is locked."""
    torch.manual_seed(0)
    towers["image"].freeze("all")
    return get_method("cwcl")(settings, towers, DataInfo())


def by_hand(p, q, w, scale):
    """The sheet of the paper: soft rows over the trained side, plain columns over the frozen one."""
    z, n, total = scale * p @ q.T, len(p), 0.0
    for i in range(n):
        row = torch.log_softmax(z[i], dim=0)
        total = total - sum(w[i, j] * row[j] for j in range(n)) / w[i].sum() / n
        total = total - torch.log_softmax(z[:, i], dim=0)[i] / n
    return total


def test_the_loss_is_the_papers_with_trained_rows_and_frozen_weights(towers, batch):
    cwcl = built(towers)
    p, q = cwcl.embed(batch)["text"], cwcl.embed(batch)["image"]
    w = q @ q.T / 2 + 0.5
    terms = cwcl.loss(batch, Step())
    torch.testing.assert_close(terms["total"], by_hand(p, q, w, cwcl.logit_scale()))
    columns = F.cross_entropy(cwcl.logit_scale() * q @ p.T, torch.arange(4))
    torch.testing.assert_close(terms["reverse"], columns.detach())


def test_a_step_meets_the_public_reimplementation(golden, towers):
    data = golden("cwcl")
    cwcl = built(towers).double()
    with torch.no_grad():
        cwcl.logit_scale.log_scale.copy_(data["log_inv_tau"])
    reference = F.normalize(data["ref_single"].squeeze(1), dim=1)
    rows = {"text": data["anchor"].requires_grad_(), "image": data["other"].requires_grad_(), "reference": reference}
    terms = cwcl.objective(rows, {}, Step())
    terms["total"].backward()
    close = {"rtol": 1e-5, "atol": 1e-6, "check_dtype": False}  # the source's weights and our scale are in single
    torch.testing.assert_close(terms["total"], data["loss_single"], **close)
    torch.testing.assert_close(rows["text"].grad, data["grad_anchor_single"], **close)
    torch.testing.assert_close(rows["image"].grad, data["grad_other_single"], **close)
    torch.testing.assert_close(cwcl.logit_scale.log_scale.grad, data["grad_logtau_single"], **close)


@pytest.mark.parametrize(
    ("settings", "kernel"),
    [
        ({"kernel": "exp"}, lambda c: torch.exp((c - 1) / 0.1)),
        ({"kernel": "exp", "kernel_temperature": 0.5}, lambda c: torch.exp((c - 1) / 0.5)),
        ({"kernel": "topk", "top": 1}, lambda c: torch.eye(4)),
        ({"kernel": "topk", "top": 99}, lambda c: c / 2 + 0.5),
        ({"kernel": "topk", "top": 99, "kernel_temperature": 0.2}, lambda c: torch.exp((c - 1) / 0.2)),
        ({"kernel": "none"}, lambda c: torch.eye(4)),
    ],
)
def test_other_kernels_make_other_targets(towers, batch, settings, kernel):
    cwcl = built(towers, **settings)
    p, q = cwcl.embed(batch)["text"], cwcl.embed(batch)["image"]
    expected = by_hand(p, q, kernel(q @ q.T), cwcl.logit_scale())
    torch.testing.assert_close(cwcl.loss(batch, Step())["total"], expected)


def test_without_weights_it_is_locked_tuning(towers, batch):
    cwcl = built(towers, kernel="none")
    p, q = cwcl.embed(batch)["text"], cwcl.embed(batch)["image"]
    terms = cwcl.loss(batch, Step())
    torch.testing.assert_close(terms["total"], 2 * info_nce(p, q, cwcl.logit_scale()))
    assert terms["positives"] == 1


def test_the_mean_of_the_directions_is_half_of_their_sum(towers, batch):
    whole, half = (built(copy.deepcopy(towers), combination=how).loss(batch, Step()) for how in ("sum", "mean"))
    torch.testing.assert_close(whole["total"], 2 * half["total"])
    assert whole["kl"] == half["kl"]


def test_the_divergence_is_zero_where_the_scores_are_the_logarithms_of_the_weights(towers):
    cwcl = built(towers)
    frozen = torch.eye(4)  # all cosines 0, so the weights are 1 and 1/2
    learnt = F.normalize(torch.eye(4) + 1, dim=1)
    scale = np.log(2) * np.sqrt(7)  # each row of eye + 1 has length √7
    with torch.no_grad():
        cwcl.logit_scale.log_scale.fill_(np.log(scale))
    terms = cwcl.objective({"text": learnt, "image": frozen, "reference": frozen}, {}, Step())
    torch.testing.assert_close(terms["kl"], torch.tensor(0.0), atol=1e-6, rtol=0)
    target = torch.tensor([0.4, 0.2, 0.2, 0.2])
    torch.testing.assert_close(terms["positives"], torch.exp(-(target * target.log()).sum()))


def test_equal_frozen_rows_are_all_positives_of_each_other(towers, batch):
    cwcl = built(towers)
    terms = cwcl.loss({**batch, "image": batch["image"][:1].expand(4, -1, -1, -1)}, Step())
    torch.testing.assert_close(terms["positives"], torch.tensor(4.0))


def test_the_gradient_reaches_the_trained_side_and_stops_at_the_frozen_one(towers, batch):
    cwcl = built(towers)
    cwcl.loss(batch, Step())["total"].backward()
    assert all(parameter.grad is None for parameter in cwcl.encoders["image"].parameters())
    for name, parameter in cwcl.named_parameters():
        if not name.startswith("encoders.image"):
            assert parameter.grad is not None, name
    assert not cwcl.towers(batch)["reference"].requires_grad


@pytest.mark.parametrize("kernel", ["affine", "exp"])
def test_weights_never_come_from_behind_the_trained_map(towers, batch, kernel):
    cwcl = built(towers, dim=3, kernel=kernel)
    before = cwcl.loss(batch, Step())
    with torch.no_grad():
        cwcl.map.weight.copy_(cwcl.map.weight[:1].expand(3, -1))  # all rows on one line
    after = cwcl.loss(batch, Step())
    assert before["positives"] == after["positives"]
    q = F.normalize(cwcl.encoders["image"](batch["image"]).pooled, dim=1)
    rows = cwcl.embed(batch)
    expected = by_hand(rows["text"], rows["image"], similarity_weights(q, kernel), cwcl.logit_scale())
    torch.testing.assert_close(after["total"], expected)
    after["total"].backward()
    assert cwcl.map.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("centre", ["none", "weights", "both"])
def test_the_mean_of_the_whole_data_is_taken_out_where_it_is_asked_for(towers, batch, centre):
    cwcl = built(towers, centre=centre)
    rows = {
        "image": torch.randn(10, 3, 16, 16),
        "text": batch["text"][[0] * 10],
        "text_mask": batch["text_mask"][[0] * 10],
    }
    cwcl.before_stage(Stage(), FixedLoader(rows, size=4))
    features = cwcl.encoders["image"](rows["image"]).pooled
    plain = cwcl.encoders["image"](batch["image"]).pooled
    centred = F.normalize(plain - features.mean(dim=0), dim=1)
    towers_out = cwcl.towers(batch)
    expected = F.normalize(plain, dim=1) if centre == "none" else centred
    torch.testing.assert_close(towers_out["reference"], expected)
    torch.testing.assert_close(towers_out["image"], centred if centre == "both" else F.normalize(plain, dim=1))
    assert "centre.center" in cwcl.state_dict()


def test_centred_features_have_fewer_positives(towers, batch):
    loader = FixedLoader(batch, size=2)
    counts = []
    for centre in ("none", "weights"):
        cwcl = built(copy.deepcopy(towers), centre=centre)
        cwcl.before_stage(Stage(), loader)
        counts.append(cwcl.loss(batch, Step())["positives"])
    assert counts[1] < counts[0]


def test_a_trained_side_whose_encoder_is_frozen_is_standardised_and_one_that_learns_is_not(towers, batch):
    learning, frozen = built(copy.deepcopy(towers)), built(copy.deepcopy(towers))
    frozen.encoders["text"].freeze("all")
    for cwcl in (learning, frozen):
        cwcl.before_stage(Stage(), FixedLoader(batch, size=2))
    assert not learning.standardise.mean.any()
    pooled = frozen.encoders["text"](batch["text"], batch["text_mask"]).pooled
    torch.testing.assert_close(frozen.standardise.mean, pooled.mean(dim=0))
    assert [name for name, p in frozen.named_parameters() if p.requires_grad] == [
        "head.0.weight",
        "logit_scale.log_scale",
    ]


def test_heads_lead_to_the_width_of_the_frozen_side(towers, batch):
    text = build_encoder("text", {"name": "tiny_text", "width": 24, "depth": 1, "heads": 2}, texts=WORDS)
    for settings, width in (({}, 16), ({"head": "mlp"}, 16), ({"dim": 5}, 5)):
        cwcl = built({"image": towers["image"], "text": text}, **settings)
        embedded = cwcl.embed({**batch, **text_batch({"text": text}, WORDS)})
        assert {rows.shape for rows in embedded.values()} == {(4, width)}
        for rows in embedded.values():
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
    assert set(built(towers).embed({"image": batch["image"]})) == {"image"}


def test_a_locked_encoder_that_would_be_trained_is_refused_when_training_begins(towers, batch):
    cwcl = get_method("cwcl")({}, towers, DataInfo())
    message = r"takes the image encoder as given.*encoders\.image\.freeze = all"
    with pytest.raises(ConfigError, match=message):
        cwcl.before_stage(Stage(), FixedLoader(batch))
    towers["image"].freeze(1)
    with pytest.raises(ConfigError, match=message):
        cwcl.before_stage(Stage(), FixedLoader(batch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"locked": "text"}, "locked = trained = 'text'"),
        ({"trained": "image"}, "locked = trained = 'image'"),
        ({"kernel_temperature": 0.1}, "the affine kernel has none"),
        ({"kernel": "none", "kernel_temperature": 0.1}, "the none kernel has none"),
        ({"kernel": "gauss"}, "kernel"),
        ({"top": 0}, r"top = 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_sentence(towers, settings, message):
    with pytest.raises(ConfigError, match=message):
        built(towers, **settings)


def test_a_missing_encoder_is_named(towers):
    with pytest.raises(ConfigError, match="needs an encoder for audio"):
        built(towers, trained="audio")


def test_speech_learns_from_a_locked_text_encoder(towers):
    audio = build_encoder("audio", {"name": "tiny_audio", "mels": 8, "width": 8, "depth": 1, "heads": 2})
    towers["text"].freeze("all")
    cwcl = get_method("cwcl")({"locked": "text", "trained": "audio"}, {**towers, "audio": audio}, DataInfo())
    assert set(cwcl.needs) == set(cwcl.encoders) == {"text", "audio"}
    assert cwcl.views == ()
    mask = torch.arange(12) < torch.tensor([[12], [5], [9], [12]])
    batch = {"audio": torch.randn(4, 8, 12), "audio_mask": mask, **text_batch(towers, WORDS)}
    cwcl.before_stage(Stage(), FixedLoader(batch))
    cwcl.loss(batch, Step())["total"].backward()
    assert audio.conv1.weight.grad.abs().sum() > 0
    assert {name: rows.shape for name, rows in cwcl.embed(batch).items()} == {"text": (4, 16), "audio": (4, 16)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"text": {"name": "tiny_text"}}),
        ({"locked": "text", "trained": "audio"}, {"audio": {"name": "tiny_audio"}}),
        (
            {"locked": "audio", "trained": "image"},
            {"audio": {"name": "whisper_tiny", "freeze": "all"}, "image": {"name": "tiny_vit"}},
        ),
    ],
)
def test_the_encoders_of_its_own_leave_the_trained_side_free(settings, expected):
    method = get_method("cwcl")
    assert method.default_encoders(method.Config.parse(settings)) == expected


def test_gradient_caching_gives_the_gradient_of_the_whole_batch(towers, batch):
    whole, cut = built(copy.deepcopy(towers), dim=6, kernel="exp"), built(copy.deepcopy(towers), dim=6, kernel="exp")
    whole.loss(batch, Step())["total"].backward()
    cached_backward(cut, batch, Step(), 3, lambda loss, last: loss.backward())
    found = dict(cut.named_parameters())
    for name, parameter in whole.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name].grad, parameter.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_two_processes_train_as_one_with_the_whole_batch():
    one, two = share(slice(4)), run_two_processes(half)
    assert len(one) == 3 + 5  # the map, the head, the scale, and two of the text encoder
    for position, expected in enumerate(one):
        mean = (two[0][position] + two[1][position]) / 2
        torch.testing.assert_close(mean, expected)
    assert torch.equal(two[0][0], two[1][0])


def pictures_with_words(rows: int = 48) -> Corpus:
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


TRAINING = {"epochs": 4, "batch_size": 16, "lr": 5e-3, "checkpoint_every": 2, "log_every": 1, "accelerator": "cpu"}


def trained(towers, folder, *, kill_at=None, resume=False, **settings):
    cwcl = built(copy.deepcopy(towers), centre="both", kernel="exp", **settings)
    step = cwcl.after_step
    done = []

    def counted(where):
        step(where)
        done.append(where)
        if len(done) == kill_at:
            raise Killed

    cwcl.after_step = counted
    corpus = pictures_with_words()
    fit(cwcl, corpus, TrainingConfig.parse(TRAINING), folder, resume=resume, progress=False)
    return cwcl


def test_training_brings_the_trained_side_to_the_frozen_one_which_stays_as_it_is(towers, tmp_path, batch):
    before = copy.deepcopy(towers["image"].state_dict())
    torch.manual_seed(0)
    first = built(copy.deepcopy(towers), centre="both", kernel="exp")
    first.before_stage(Stage(), FixedLoader(batch))
    cwcl = trained(towers, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in cwcl.encoders["image"].state_dict().items())
    assert cwcl.centre.center.any()
    log = [line for line in (tmp_path / "train.jsonl").read_text().splitlines() if line]
    assert len(log) == 12
    kl = [json.loads(line)["kl"] if "kl" in json.loads(line) else json.loads(line)["terms"]["kl"] for line in log]
    assert sum(kl[-3:]) < 0.6 * sum(kl[:3])


def test_a_killed_run_resumes_to_the_same_bits(towers, tmp_path):
    whole = trained(towers, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(towers, tmp_path / "killed", kill_at=7)
    again = trained(towers, tmp_path / "killed", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
