"""CiCo: its loss and score from windows and words, sentences with several videos, and the encoder that is adapted."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny_bundles
from accord import pipeline
from accord.data.corpus import open_corpus
from accord.data.loading.order import OneOfEach
from accord.encoders import build_encoder
from accord.encoders.bundles import load_bundle
from accord.errors import ConfigError, DataError
from accord.evaluation.retrieval import evaluate_retrieval, rank_queries
from accord.methods import DataInfo, Stage, Step, get_method
from accord.methods.video.cico import Cico
from accord.methods.video.sign_windows import SignWindows
from accord.training.artifact import load_model
from accord.training.gradcache import cached_backward

TEXTS = ["one two three", "three one", "two two one", "three"]
SIZES = {"dim": 8, "width": 8, "depth": 1, "heads": 2}
POSES = {"name": "windows:tiny_sequence", "of": {"features": 4, "width": 8, "depth": 1, "heads": 2}, "window": 4}


def cico(**settings: Any) -> Cico:
    torch.manual_seed(0)
    towers = {
        "sequence": build_encoder("sequence", {"name": "steps", "features": 4, "length": 9}),
        "text": build_encoder("text", {"name": "tiny_text", "width": 8, "depth": 1, "heads": 2}, texts=TEXTS),
    }
    return Cico({**SIZES, **settings}, towers, DataInfo(rows=4))


def batch(method: Cico, changed: list[str] | None = None) -> dict[str, Any]:
    made = torch.Generator().manual_seed(1)
    tokenizer = method.encoders["text"].input.tokenizer
    ids, mask = tokenizer(TEXTS)
    seen = torch.arange(9) < torch.tensor([9, 5, 1, 7])[:, None]
    steps = {"sequence": torch.randn(4, 9, 4, generator=made), "sequence_mask": seen}
    views = {} if changed is None else {"text_views": [tokenizer(changed)]}
    return {**steps, "text": ids, "text_mask": mask, **views}


def aligned(query: Tensor, key: Tensor, temperature: float = 0.07) -> Tensor:
    """The mean over a side's tokens of the softmax-weighted mean of their cosines, of real tokens alone."""
    cosines = query @ key.T
    return ((cosines / temperature).softmax(dim=1) * cosines).sum(dim=1).mean()


def both_ways(logits: Tensor) -> Tensor:
    own = torch.arange(len(logits))
    entropy = torch.nn.functional.cross_entropy
    return (entropy(logits, own) + entropy(logits.T, own)) / 2


def test_the_loss_reads_words_as_they_stand_one_way_and_changed_the_other():
    method = cico(mix=0.3)
    made = batch(method, ["two one three", "one three", "two one two", "three"])
    towers = method.towers(made)
    real = {
        name: [one[there] for one, there in zip(towers[f"{name}_tokens"], towers[f"{name}_mask"], strict=True)]
        for name in ("sequence", "text", "changed")
    }
    there = torch.stack([torch.stack([aligned(a, b) for b in real["text"]]) for a in real["sequence"]])
    back = torch.stack([torch.stack([aligned(b, a) for b in real["changed"]]) for a in real["sequence"]])
    scale = method.logit_scale()
    wanted = 0.3 * both_ways(scale * there) + 0.7 * both_ways(scale * back)
    torch.testing.assert_close(method.loss(made, Step())["total"], wanted, rtol=1e-4, atol=1e-4)


def test_the_scale_starts_at_a_hundred_and_is_held_there():
    method = cico()
    assert method.logit_scale().item() == pytest.approx(100.0)
    method.logit_scale.log_scale.data.fill_(9.0)
    method.after_step(Step())
    assert method.logit_scale().item() == pytest.approx(100.0)


def test_padding_of_either_side_changes_nothing():
    method = cico().eval()
    made = batch(method)
    other = torch.where(made["sequence_mask"][..., None], made["sequence"], 5.0)
    longer = {**made, "sequence": other}
    longer["text"] = torch.nn.functional.pad(made["text"], (0, 3), value=2)
    longer["text_mask"] = torch.nn.functional.pad(made["text_mask"], (0, 3))
    for name, value in method.embed(made).items():
        torch.testing.assert_close(method.embed(longer)[name], value)
    torch.testing.assert_close(method.loss(longer, Step())["total"], method.loss(made, Step())["total"])
    released = cico(mask_inner=False).eval()
    shifted = {**batch(released), "text": longer["text"], "text_mask": longer["text_mask"]}
    assert not torch.allclose(released.loss(shifted, Step())["total"], released.loss(batch(released), Step())["total"])


def test_gradients_of_a_few_rows_at_a_time_are_those_of_the_batch():
    whole, parts = cico(), cico()
    made = batch(whole, ["two one three", "one three", "two one two", "three"])
    whole.loss(made, Step())["total"].backward()
    cached_backward(parts, made, Step(), 3, lambda scalar, synchronise: scalar.backward())
    for (name, one), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_both_directions_have_the_same_score_the_mean_of_both_alignments():
    method = cico().eval()
    features = method.token_features(batch(method))
    by_text = method.rescore(features["text"], features["sequence"], "text")
    torch.testing.assert_close(by_text, method.rescore(features["sequence"], features["text"], "sequence").T)
    words, steps = (features[name].tokens[1][features[name].sequence()[1][1]] for name in ("text", "sequence"))
    torch.testing.assert_close(by_text[1, 1], (aligned(words, steps) + aligned(steps, words)) / 2)


def test_order_in_time_is_seen():
    method = cico().eval()
    made = batch(method)
    turned = {**made, "sequence": made["sequence"].flip(1), "sequence_mask": made["sequence_mask"].flip(1)}
    assert not torch.allclose(method.embed(made)["sequence"][0], method.embed(turned)["sequence"][0])


def test_clips_are_matched_frame_by_frame_or_window_by_window():
    vit = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 8, "depth": 1, "heads": 2}
    frames = {"name": "frames", "image": vit, "frames": 6}
    for encoder in (frames, {"name": "windows", "of": frames, "window": 3, "length": 6}):
        towers = {
            "video": build_encoder("video", encoder),
            "text": build_encoder("text", {"name": "tiny_text", "width": 8, "depth": 1, "heads": 2}, texts=TEXTS),
        }
        method = Cico({**SIZES, "modality": "video"}, towers, DataInfo())
        ids, mask = towers["text"].input.tokenizer(TEXTS)
        seen = torch.arange(6) < torch.tensor([6, 4, 2, 6])[:, None]
        clips = {
            "video": torch.rand(4, 6, 3, 16, 16),
            "video_mask": seen,
            "video_times": torch.arange(6.0).expand(4, 6),
        }
        made = {**clips, "text": ids, "text_mask": mask}
        method.loss(made, Step())["total"].backward()
        times = method.eval().word_times(made)
        count = 6 if encoder is frames else 4
        assert times.seconds[0].tolist() == list(range(count))
        assert times.mask.sum(dim=1).tolist() == ([6, 4, 2, 6] if encoder is frames else [4, 2, 1, 4])


def test_ranks_and_recalls_are_those_of_the_reference_values(golden):
    arrays = golden("cico")
    found = rank_queries(arrays["met_sim"], [[row] for row in range(40)]).rank
    assert (found - 1).tolist() == arrays["met_ranks"].tolist()
    recalls = [100 * (found <= k).mean() for k in (1, 5, 10)]
    assert [*recalls, np.median(found), found.mean()] == pytest.approx(arrays["met_vals"].tolist())


class Texts:
    def texts(self) -> list[list[str]]:
        return [["a"], ["b"], ["a"], ["c"]]


def test_of_rows_with_one_sentence_a_round_draws_one():
    method = cico()
    assert method.sampling is None
    method.before_stage(Stage(), Texts())  # type: ignore[arg-type]
    assert method.sentences.tolist() == [0, 1, 0, 2]
    assert isinstance(method.sampling, OneOfEach)
    every = cico(one_of_each=False)
    every.before_stage(Stage(), Texts())  # type: ignore[arg-type]
    assert every.sampling is None


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="heads = 3 must divide width = 8"):
        cico(heads=3)


# --- the encoder of signs ---


def signs(threshold: float = 0.6, **settings: Any) -> SignWindows:
    """A classifier of two signs that reads the first number of the last step of a window, to be adapted."""
    torch.manual_seed(0)
    encoder = build_encoder("sequence", {**POSES, "length": 60})
    facts = DataInfo(rows=2)
    return SignWindows(
        {"adapt": True, "signs": ("up", "down"), "threshold": threshold, **settings}, {"sequence": encoder}, facts
    )


def poses(method: SignWindows) -> dict[str, Tensor]:
    x = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(2))
    return {"sequence": x, "sequence_mask": torch.arange(20) < torch.tensor([20, 9])[:, None], "index": torch.arange(2)}


def test_windows_that_the_classifier_is_sure_of_are_labelled_in_the_rows_they_are_of():
    method = signs(threshold=0.0, merge=0, suppress=0)
    made = poses(method)
    found = method.pseudo_labels(made)
    assert [len(one) for one in found] == [17, 6]
    windows = made["sequence"].unfold(1, 4, 1).movedim(3, 2)  # (B, 17, 4, F)
    for row, segments in enumerate(found):
        for one in segments:
            shares = method.classifier(method.encoders["sequence"].of(windows[row, one.start][None]).pooled).softmax(1)
            assert (int(shares.argmax()), one.end - one.start) == (one.label, 4)
            assert one.score == pytest.approx(float(shares.max()), abs=1e-5)


def test_adaptation_moves_the_copy_alone_and_learns_the_labels():
    method = signs(threshold=0.0, merge=0, suppress=0, adapt_lr=0.1)
    made = poses(method)
    (stage,) = method.stages
    method.before_stage(stage, [made])  # type: ignore[arg-type]
    assert (method.segments[..., 0] >= 0).sum(dim=1).tolist() == [17, 6]
    before = {name: value.clone() for name, value in method.state_dict().items()}
    sgd = torch.optim.SGD([one for one in method.parameters() if one.requires_grad], lr=0.1, momentum=0.9)
    losses = []
    for number in range(12):
        terms = method.loss(made, Step(seed=number))
        sgd.zero_grad()
        terms["total"].backward()
        sgd.step()
        losses.append(terms["total"].item())
    assert losses[-1] < 0.5 * losses[0]
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(stage.train) for name in moved)
    assert float(terms["segments"]) == 23


def test_a_batch_without_any_segment_teaches_nothing_and_breaks_nothing():
    method = signs()
    loss = method.loss(poses(method), Step())["total"]
    loss.backward()
    assert loss.item() == 0
    assert all(one.grad is None or one.grad.isfinite().all() for one in method.parameters())


def test_a_classifier_that_is_sure_of_nothing_says_what_to_do():
    method = signs(threshold=0.999)
    with pytest.raises(DataError, match=r"more than 100% probability: lower method.threshold"):
        method.before_stage(method.stages[0], [poses(method)])  # type: ignore[arg-type]


# --- from poses to a search ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A classifier of single signs, its adaptation to sentences, and CiCo on what both make of them."""
    folder = tmp_path_factory.mktemp("signs")
    random = np.random.default_rng(0)
    looks = 2 * random.standard_normal((3, 4))
    single, sentences = [("poses", "label")], [("poses", "sentence")]
    for row in range(36):
        np.save(folder / f"sign{row}.npy", looks[row % 3] + 0.3 * random.standard_normal((6, 4)))
        single.append((f"sign{row}.npy", ("one", "two", "three")[row % 3]))
        digits = random.integers(0, 3, 3) if row % 6 else np.zeros(3, dtype=int)  # one sentence has several rows
        shown = np.concatenate([looks[digit] + 0.3 * random.standard_normal((5, 4)) for digit in digits[::-1]])
        np.save(folder / f"talk{row}.npy", 1.2 * shown)
        sentences.append((f"talk{row}.npy", " ".join(("one", "two", "three")[digit] for digit in digits)))
    for name, rows in (("signs", single), ("talks", sentences)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    training = {"batch_size": 8, "epochs": 8, "lr": 3e-3, "accelerator": "cpu"}

    def run(name: str, data: str, method: dict[str, Any], **rest: Any) -> Path:
        columns = {"sequence": "poses", "text": "sentence" if data == "talks" else None}
        place = {"source": str(folder / f"{data}.csv"), "columns": columns, "split": {"test": 0.25}}
        config = {"data": place, "method": method, "training": training, "evaluate": [], **rest}
        return Path(pipeline.train(config=config, out=folder / name, progress=False).path)

    options = {key: value for key, value in POSES.items() if key != "name"}
    first = run("first", "signs", {"name": "sign_windows"}, encoders={"sequence": {"options": options}})
    adapted = run(
        "adapted",
        "talks",
        {"name": "sign_windows", "adapt": True, "adapt_epochs": 2, "threshold": 0.4},
        space=str(first),
    )
    text = {"text": {"name": "tiny_text", "options": {"width": 8, "depth": 1, "heads": 2}}}
    last = run("last", "talks", {"name": "cico", **SIZES}, space=str(adapted), encoders=text)
    return {"folder": folder, "first": first, "adapted": adapted, "last": last}


def test_an_adapted_encoder_is_that_of_signs_with_a_copy_that_cico_takes_as_it_is(runs):
    first, adapted, last = (
        load_model(runs[name]).method.encoders["sequence"].state_dict() for name in ("first", "adapted", "last")
    )
    assert all(torch.equal(first[name], adapted[name]) for name in first)
    copies = {name for name in adapted if name.startswith("aware.")}
    assert any(not torch.equal(adapted[name], adapted[name.replace("aware.", "of.", 1)]) for name in copies)
    assert adapted.keys() == last.keys()
    assert all(torch.equal(adapted[name], last[name]) for name in adapted)


def test_rows_that_share_a_sentence_are_all_found_by_it_and_each_is_asked(runs):
    model = pipeline.load(runs["last"])
    rows = open_corpus(runs["folder"] / "talks.csv", columns={"sequence": "poses", "text": "sentence"}, quiet=True)
    found = {one.name: one for one in evaluate_retrieval(model, rows)}
    assert found["sequence→text R@1"].n == 36
    assert found["text→sequence R@1"].n == len({texts[0] for texts in rows.texts()}) < 36


def test_its_windows_explain_a_sentence(runs, tmp_path):
    talk = runs["folder"] / "talk0.npy"
    found = pipeline.explain(runs["last"], talk, "one two", out=tmp_path / "why.png")
    assert [row[0] for row in found.rows()] == ["one", "two"]
    assert (tmp_path / "why.png").stat().st_size > 1000


def test_only_windows_of_signs_can_be_adapted_and_taken(runs):
    with pytest.raises(ConfigError, match="adapts a run of sign_windows with an encoder of windows, got cico"):
        get_method("sign_windows").settings_from_space(load_model(runs["last"]).method)
    with pytest.raises(ConfigError, match="name a run of sign_windows"):
        get_method("cico").settings_from_space(cico())


def test_what_is_adapted_is_named_as_space():
    encoder = build_encoder("sequence", POSES)
    with pytest.raises(ConfigError, match="name the run as space"):
        SignWindows({"adapt": True}, {"sequence": encoder}, DataInfo(classes=("up", "down")))


def test_a_clip_bundle_brings_its_image_tower_for_the_windows(tmp_path):
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip', mlp=4)}")
    settings = Cico.settings_from(bundle)
    assert settings == {"dim": 24, "width": 32, "depth": 2, "heads": 2, "activation": "quick_gelu"}
    steps = build_encoder("sequence", {"name": "steps", "features": 4, "length": 9})
    method = Cico(settings, {"sequence": steps, "text": bundle.encoders["text"]}, DataInfo())
    fresh = {name: value.clone() for name, value in method.tower.state_dict().items()}
    taken = {"text projection", "logit scale", "tower of windows", "its projection"}
    assert taken <= set(method.start_from(bundle))
    model = bundle.encoders["image"].model
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        theirs = model.encoder(inputs_embeds=model.pre_layrnorm(x)).last_hidden_state
        theirs = model.post_layernorm(theirs) @ bundle.projections["image"].T
        ours = method.tower.leave(method.tower.last_norm(method.tower.transformer(method.tower.norm(x))))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    same = [name for name, value in method.tower.state_dict().items() if torch.equal(value, fresh[name])]
    assert same == ["positions", "enter.weight"]


def test_a_tower_of_another_size_than_the_bundles_starts_at_random(tmp_path):
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip', mlp=4)}")
    steps = build_encoder("sequence", {"name": "steps", "features": 4, "length": 9})
    settings = {**Cico.settings_from(bundle), "width": 16}
    method = Cico(settings, {"sequence": steps, "text": bundle.encoders["text"]}, DataInfo())
    assert method.start_from(bundle) == ("text projection", "logit scale")
