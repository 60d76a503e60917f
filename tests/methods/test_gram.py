"""GRAM: volume as the logit, missing modalities, the matching head, any subset as a query."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import (
    contrastive_loss,
    gram_contrastive_loss,
    info_nce,
    span_distance,
    tuple_volume,
    volume,
)
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import RescoresTuples
from accord.methods.multimodal.gram import GramConfig
from two_processes import run_two_processes

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star", "two red cups"]
SMALL = {"dim": 8, "fusion_depth": 1, "fusion_heads": 2, "warm_start": 0.0}


def towers():
    torch.manual_seed(0)
    shape = {"width": 16, "depth": 1, "heads": 2}
    return {
        "image": build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, **shape}),
        "audio": build_encoder("audio", {"name": "tiny_audio", **shape}),
        "text": build_encoder("text", {"name": "tiny_text", "pool": "mean", **shape}, texts=WORDS),
    }


def built(encoders=None, **settings):
    encoders = encoders or towers()
    torch.manual_seed(0)
    return get_method("gram")({**SMALL, **settings}, encoders, DataInfo(rows=50))


def batch_of(encoders, rows=5):
    torch.manual_seed(1)
    return {
        "image": torch.randn(5, 3, 16, 16)[:rows],
        "audio": torch.randn(5, 80, 12)[:rows],
        "audio_mask": torch.ones(5, 12, dtype=torch.bool)[:rows],
        **{key: value[:rows] for key, value in text_batch(encoders, WORDS).items()},
    }


@pytest.fixture
def gram():
    return built()


@pytest.fixture
def batch(gram):
    return batch_of(gram.encoders)


def test_the_loss_is_the_contrast_of_volumes_and_the_matching_beside(gram, batch):
    z = gram.embed(batch)
    expected = gram_contrastive_loss(z["text"], z["image"], z["audio"], temperature=0.07)
    terms = gram.loss(batch, Step())
    torch.testing.assert_close(terms["volume"], expected.detach())
    torch.testing.assert_close(terms["score_of_pairs"], tuple_volume(*z.values()).mean().detach())
    torch.testing.assert_close(terms["total"].detach(), terms["volume"] + 0.1 * terms["matching"])
    alone = built(matching_weight=0.0, score="distance")
    z = alone.embed(batch)
    expected = gram_contrastive_loss(z["text"], z["image"], z["audio"], temperature=0.07, score="distance")
    torch.testing.assert_close(alone.loss(batch, Step())["total"], expected)


def test_gradient_reaches_every_part(gram, batch):
    gram.loss(batch, Step())["total"].backward()
    silent = [name for name, parameter in gram.named_parameters() if parameter.grad is None]
    assert silent == []


def test_the_matching_loss_trains_encoders_but_its_choice_of_negatives_does_not(gram, batch):
    features = {name: gram.encoders[name](batch[name], batch.get(f"{name}_mask")) for name in gram.needs}
    z = {name: gram._project(name, features[name].pooled) for name in gram.needs}
    there = gram._present(batch)
    gram._matching_loss(features, z, there, there, warm=False, step=Step()).backward()
    assert all(projection.weight.grad is None for projection in gram.projections.values())
    assert gram.encoders["image"].model.patch_embed.proj.weight.grad.any()
    assert gram.kinds["audio"].grad.any()


def test_rows_without_a_modality_are_compared_by_those_they_have(gram, batch):
    audio = torch.tensor([True, False, True, False, True])
    image = torch.tensor([True, True, False, True, True])
    there = {**batch, "audio_present": audio, "image_present": image}
    z = gram.embed(batch)
    present = torch.stack([image, audio], dim=1)
    expected = gram_contrastive_loss(z["text"], z["image"], z["audio"], temperature=0.07, present=present)
    torch.testing.assert_close(gram.loss(there, Step())["volume"], expected.detach())
    changed = {**there, "audio": torch.where(audio[:, None, None], there["audio"], torch.full((), 9.0))}
    torch.testing.assert_close(gram.loss(changed, Step())["volume"], expected.detach())  # a filler says nothing


def test_rows_without_the_anchor_or_without_anything_else_are_left_out(gram, batch):
    text = torch.tensor([True, True, True, True, False])
    lonely = torch.tensor([True, True, True, False, True])
    there = {**batch, "text_present": text, "audio_present": lonely, "image_present": lonely}
    z = {name: vectors[:3] for name, vectors in gram.embed(batch).items()}
    expected = gram_contrastive_loss(z["text"], z["image"], z["audio"], temperature=0.07)
    torch.testing.assert_close(gram.loss(there, Step())["volume"], expected.detach())
    nothing = {**batch, "text_present": torch.zeros(5, dtype=torch.bool)}
    terms = gram.loss(nothing, Step())
    assert terms["total"] == 0
    terms["total"].backward()


def test_absent_conditions_are_not_read(gram, batch):
    present = torch.tensor([True, False, True, True, True])
    here = {**batch, "audio_present": present}
    features = {name: gram.encoders[name](batch[name], batch.get(f"{name}_mask")) for name in gram.needs}
    before = gram._match(features["text"], gram._conditions(features, gram._present(here)))
    features["audio"].tokens[1] += 5.0
    after = gram._match(features["text"], gram._conditions(features, gram._present(here)))
    torch.testing.assert_close(before, after)


def test_features_of_frozen_encoders_take_the_place_of_raw_input(gram, batch):
    known = {name: gram.encoders[name](batch[name], batch.get(f"{name}_mask")) for name in gram.needs}
    masks = {name: mask for name, mask in batch.items() if name.endswith("_mask")}
    torch.manual_seed(2)
    expected = gram.loss(batch, Step())["total"]
    torch.manual_seed(2)
    torch.testing.assert_close(gram.loss({**known, **masks}, Step())["total"], expected)


def test_every_anchor_takes_its_turn(batch):
    gram = built(every_anchor=True, matching_weight=0.0)
    z = gram.embed(batch)
    turns = [
        gram_contrastive_loss(z[anchor], *(z[name] for name in gram.needs if name != anchor), temperature=0.07)
        for anchor in gram.needs
    ]
    torch.testing.assert_close(gram.loss(batch, Step())["total"], torch.stack(turns).mean())


def test_the_cosine_term_sees_signs(batch):
    gram = built(matching_weight=0.0, cosine_weight=1.0)
    z = {name: F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(7)), dim=1) for name in gram.needs}
    everything = {name: torch.ones(5, dtype=torch.bool) for name in gram.needs}
    agree = gram._contrast(z, everything, "text")
    opposed = gram._contrast({**z, "text": -z["text"]}, everything, "text")
    assert opposed["cosine"] > agree["cosine"] + 1
    torch.testing.assert_close(opposed["volume"], agree["volume"])


def test_the_cosine_term_is_the_contrast_of_the_anchor_with_the_mean_direction_of_what_is_there(batch):
    gram = built(matching_weight=0.0, cosine_weight=1.0)
    audio = torch.tensor([True, False, True, True, False])
    z = gram.embed(batch)
    mean = F.normalize(z["image"] + z["audio"] * audio[:, None], dim=1)
    terms = gram.loss({**batch, "audio_present": audio}, Step())
    torch.testing.assert_close(terms["cosine"], info_nce(z["text"], mean, 1 / 0.07).detach())


def test_the_head_learns_to_match_rows_and_scores_them_from_tokens(gram, batch):
    optimizer = torch.optim.Adam(gram.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        gram.loss(batch, Step(seed=step))["total"].backward()
        optimizer.step()
    tokens = gram.eval().token_features(batch)
    for name, z in gram.embed(batch).items():
        torch.testing.assert_close(tokens[name].pooled, z)
    with torch.no_grad():
        asked, given = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
        others = {name: tokens[name].select(given) for name in ("image", "audio")}
        odds = gram.rescore_tuples(tokens["text"].select(asked), others).view(5, 5)
    assert odds.argmax(dim=1).tolist() == list(range(5))
    assert odds.argmax(dim=0).tolist() == list(range(5))


def test_without_matching_there_is_no_second_stage(batch):
    plain = built(matching_weight=0.0)
    assert RescoresTuples.of(plain) is None
    assert RescoresTuples.of(built()).anchor == "text"


def test_any_subset_finds_any_other(gram, batch):
    z = gram.eval().embed(batch)
    for size in (1, 2):
        for asked in itertools.combinations(z, size):
            queries = {name: z[name][:3] for name in asked}
            candidates = {name: z[name] for name in z if name not in asked}
            scores = gram.score_tuples(queries, candidates)
            assert scores.shape == (3, 5)
            for a, b in ((0, 0), (2, 4)):
                together = [z[name][a : a + 1] for name in asked] + [z[name][b : b + 1] for name in candidates]
                torch.testing.assert_close(scores[a, b], -tuple_volume(*together)[0], rtol=1e-3, atol=1e-4)


def test_a_candidate_that_lacks_a_modality_is_scored_by_the_rest(gram, batch):
    z = gram.eval().embed(batch)
    present = torch.tensor([[True, True], [True, False], [True, True], [False, True], [True, True]])
    scores = gram.score_tuples({"text": z["text"]}, {"image": z["image"], "audio": z["audio"]}, present)
    torch.testing.assert_close(scores[:, 1], -(volume(z["text"], z["image"])[:, 1] ** 2))  # of the size of two sines
    torch.testing.assert_close(scores[:, 3], -(volume(z["text"], z["audio"])[:, 3] ** 2))
    both = {"text": z["text"][:2], "image": z["image"][:2]}
    pairs = gram.score_tuples(both, {"image": z["image"], "audio": z["audio"]}, present)
    expected = tuple_volume(z["text"][:1], z["image"][:1], z["image"][1:2]) ** 1.5  # of the size of three
    torch.testing.assert_close(-pairs[0, 1], expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("score", ["volume", "distance", "logvol"])
def test_search_scores_as_the_loss_does(batch, score):
    gram = built(score=score, matching_weight=0.0)
    z = gram.embed(batch)
    candidates = {"image": z["image"], "audio": z["audio"]}
    logits = gram.score_tuples({"text": z["text"]}, candidates) / 0.07
    expected = contrastive_loss(logits, label_smoothing=0.1, direction="both")
    torch.testing.assert_close(gram.loss(batch, Step())["total"], expected)
    torch.testing.assert_close(gram.score_tuples(candidates, {"text": z["text"]}), 0.07 * logits.T)


def test_distance_leaves_out_the_hub_that_a_flat_tuple_is():
    rows = F.normalize(torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(3)), dim=2)
    text, image, audio = rows
    audio[0] = F.normalize(image[0] + 0.01 * audio[0], dim=0)  # this row's own modalities nearly coincide
    asked, found = {"text": text}, {"image": image, "audio": audio}
    assert set(built(score="volume").score_tuples(asked, found).argmax(dim=1).tolist()) == {0}
    spread = built(score="distance").score_tuples(asked, found)
    torch.testing.assert_close(spread, -span_distance(text, image, audio))
    two = built(score="distance", dim=8).score_tuples({"text": text, "video": image.flip(0)}, found)
    expected = [
        -tuple_volume(*(x[i : i + 1] for x in (text, image.flip(0))), *(x[j : j + 1] for x in (image, audio)))
        / tuple_volume(image[j : j + 1], audio[j : j + 1])
        for i, j in ((1, 0), (3, 2))
    ]
    torch.testing.assert_close(torch.stack([two[1, 0], two[3, 2]]), torch.cat(expected), rtol=1e-3, atol=1e-4)


def test_a_tuple_that_lacks_a_modality_is_found_among_complete_ones():
    random = torch.Generator().manual_seed(5)
    text = F.normalize(torch.randn(200, 32, generator=random), dim=1)
    image, audio = (F.normalize(text + 0.15 * torch.randn(200, 32, generator=random), dim=1) for _ in range(2))
    present = torch.ones(200, 2, dtype=torch.bool)
    present[::2, 1] = False
    own, lacking = torch.arange(200), slice(0, None, 2)
    plain = -volume(text, image, audio, present=present)
    scores = built(dim=32).score_tuples({"text": text}, {"image": image, "audio": audio}, present)
    assert (plain.argmax(dim=1) == own)[lacking].float().mean() < 0.6
    assert (scores.argmax(dim=1) == own)[lacking].float().mean() > 0.9


def test_rows_of_other_modalities_are_compared_at_one_size_in_the_loss(gram, batch):
    audio = torch.tensor([True, False, True, False, True])
    z = gram.embed(batch)
    scores = volume(z["text"], z["image"], z["audio"], present=torch.stack([audio | True, audio], dim=1))
    scores = torch.where(audio, scores, scores.square())
    expected = contrastive_loss(-scores / 0.07, label_smoothing=0.1, direction="both")
    torch.testing.assert_close(gram.loss({**batch, "audio_present": audio}, Step())["volume"], expected.detach())


def test_training_begins_with_cosines_of_the_anchor(batch):
    gram = built(warm_start=0.5)
    z = gram.embed(batch)
    each = [
        contrastive_loss(z["text"] @ z[name].T / 0.07, label_smoothing=0.1, direction="both")
        for name in ("image", "audio")
    ]
    first, last = (gram.loss(batch, Step(index=index, total=10)) for index in (4, 5))
    torch.testing.assert_close(first["anchor_cosines"], (sum(each) / 2).detach())
    torch.testing.assert_close(first["total"].detach(), first["anchor_cosines"] + 0.1 * first["matching"])
    assert "volume" not in first
    assert "anchor_cosines" not in last
    torch.testing.assert_close(
        last["volume"], gram_contrastive_loss(*(z[n] for n in ("text", "image", "audio")), temperature=0.07).detach()
    )
    everywhere = built(warm_start=1.0, every_anchor=True, matching_weight=0.0)
    assert everywhere.loss(batch, Step(index=9, total=10))["anchor_cosines"] != first["anchor_cosines"]
    assert GramConfig().warm_start == 0.5


def test_the_warm_start_takes_the_pairs_that_are_there(batch):
    gram = built(warm_start=1.0, matching_weight=0.0)
    z, audio = gram.embed(batch), torch.tensor([True, True, True, False, False])
    expected = [
        contrastive_loss(z["text"][rows] @ z[name][rows].T / 0.07, label_smoothing=0.1, direction="both")
        for name, rows in (("image", slice(None)), ("audio", slice(3)))
    ]
    torch.testing.assert_close(gram.loss({**batch, "audio_present": audio}, Step())["total"], sum(expected) / 2)
    nobody = {**batch, "text_present": torch.zeros(5, dtype=torch.bool)}
    total = gram.loss(nobody, Step())["total"]
    total.backward()
    assert total == 0


def of_clips():
    """GRAM of texts and clips of up to four frames, and a batch, the second clip of which has two."""
    encoders = {"text": towers()["text"]}
    shape = {"width": 16, "depth": 1, "heads": 2, "size": 16, "patch": 8}
    encoders["video"] = build_encoder("video", {"name": "frames", "image": {"name": "tiny_vit", **shape}, "frames": 4})
    gram = built(encoders, modalities=("text", "video"))
    torch.manual_seed(1)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 4])
    batch = {"video": torch.randn(3, 4, 3, 16, 16), "video_mask": mask, **text_batch(encoders, WORDS[:3])}
    return gram, batch


def test_the_matching_head_knows_the_place_of_a_frame():
    gram, batch = of_clips()
    gram.eval().frames["video"].data.mul_(50)

    def odds(given):
        tokens = gram.token_features(given)
        return gram.rescore_tuples(tokens["text"], {"video": tokens["video"]})

    before = odds(batch)
    turned = {**batch, "video": batch["video"].flip(1), "video_mask": batch["video_mask"]}
    assert abs(odds(turned)[0] - before[0]) > 1e-4
    alone = {name: value[1:2] for name, value in batch.items()}
    short = {**alone, "video": alone["video"][:, :2], "video_mask": alone["video_mask"][:, :2]}
    torch.testing.assert_close(odds(short)[0], before[1])  # padding does not move a frame
    gram.loss(batch, Step())["total"].backward()
    assert gram.frames["video"].grad.abs().sum(dim=1).gt(0).all()


def test_a_model_of_before_frames_had_embeddings_is_loaded_without_them():
    gram, _ = of_clips()
    state = {name: value for name, value in gram.state_dict().items() if not name.startswith("frames.")}
    gram.load_state_dict(state)
    assert not gram.frames["video"].any()


def test_the_temperature_stays_in_range(gram):
    with torch.no_grad():
        gram.temperature.value.fill_(-1.0)
    gram.after_step(Step())
    assert gram.temperature().item() == pytest.approx(0.01)
    assert gram.group("temperature.value").name == "temperature"


def test_what_has_no_volume_is_refused():
    with pytest.raises(ConfigError, match="fewer dimensions than modalities"):
        built(dim=2)
    with pytest.raises(ConfigError, match="the anchor 'text' among them"):
        built(modalities=("image", "audio"))
    two = built(modalities=("text", "image"), matching_weight=0.0)
    assert set(two.encoders) == {"text", "image"}


def share_of(rank, rows=2):
    gram = built(matching_weight=0.0, cosine_weight=0.5)
    whole = batch_of(gram.encoders, 4) | {"audio_present": torch.tensor([True, True, False, True])}
    own = {key: value[rank * rows : (rank + 1) * rows] for key, value in whole.items()}
    total = gram.loss(own, Step())["total"]
    total.backward()
    return total.detach(), gram.projections["audio"].weight.grad, gram.temperature.value.grad


def test_two_processes_equal_one_with_all_rows():
    one, two = share_of(0, rows=4), run_two_processes(share_of)
    for position, expected in enumerate(one):
        mean = (two[0][position] + two[1][position]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-3, atol=1e-5)


def test_bf16_measures_volumes_in_single_precision(gram, batch):
    with torch.autocast("cpu", torch.bfloat16):
        terms = gram.loss(batch, Step())
    assert terms["total"].dtype == torch.float32
    assert 0 <= terms["score_of_pairs"] <= 1


def test_distance_is_the_volume_without_the_size_of_the_others(gram, batch):
    z = gram.embed(batch)
    size = tuple_volume(z["image"], z["audio"])
    torch.testing.assert_close(
        volume(z["text"], z["image"], z["audio"]), span_distance(z["text"], z["image"], z["audio"]) * size
    )
