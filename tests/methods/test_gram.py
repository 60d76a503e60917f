"""GRAM: volume as the logit, missing modalities, the matching head, any subset as a query."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import gram_contrastive_loss, info_nce, span_distance, tuple_volume, volume
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import RescoresTuples
from two_processes import run_two_processes

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star", "two red cups"]
SMALL = {"dim": 8, "fusion_depth": 1, "fusion_heads": 2}


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
    gram._matching_loss(features, z, gram._present(batch)).backward()
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
    for _ in range(60):
        optimizer.zero_grad()
        gram.loss(batch, Step())["total"].backward()
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
    torch.testing.assert_close(scores[:, 1], -volume(z["text"], z["image"])[:, 1])
    torch.testing.assert_close(scores[:, 3], -volume(z["text"], z["audio"])[:, 3])
    both = {"text": z["text"][:2], "image": z["image"][:2]}
    pairs = gram.score_tuples(both, {"image": z["image"], "audio": z["audio"]}, present)
    expected = tuple_volume(z["text"][:1], z["image"][:1], z["image"][1:2])
    torch.testing.assert_close(-pairs[0, 1], expected[0], rtol=1e-3, atol=1e-4)


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
