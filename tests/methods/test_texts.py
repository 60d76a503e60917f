"""What is each family's own, of the methods of texts alone: "simcse", "simcse_supervised", "mirror_bert", "declutr",
"contrastive_tension", "cert", "cline", "supcon_text" and "label_matching"."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import nt_xent, simcse_loss
from accord.methods import DataInfo, Method, Step, get_method
from accord.methods.abilities import Classifies

WORDS = [
    "a red ball on the green grass of the garden",
    "the blue cup is full of hot black tea",
    "two old trees stand beside the little house",
    "a small dog runs after the yellow car",
]
LABELS = torch.tensor([0, 0, 1, 1])
QUIET = Step(watched=False, seed=3)


def encoder(pool: str = "mean", width: int = 16) -> Encoder:
    torch.manual_seed(0)
    options = {"name": "tiny_text", "width": width, "depth": 1, "heads": 2, "pool": pool}
    return build_encoder("text", options, texts=WORDS)


def made(name: str, pool: str = "mean", facts: DataInfo | None = None, **settings: Any) -> Method:
    torch.manual_seed(0)
    return get_method(name)(settings, {"text": encoder(pool)}, facts or DataInfo(rows=64))


def batch_of(method: Method, *views: list[str]) -> dict[str, Any]:
    read = method.encoders["text"].input.tokenizer
    ids, mask = read(WORDS)
    found = {"text": ids, "text_mask": mask, "index": torch.arange(len(ids)), "label": LABELS}
    return {**found, "text_views": [read(view) for view in views]} if views else found


def pooled(method: Method, texts: list[str]) -> Tensor:
    ids, mask = method.encoders["text"].input.tokenizer(texts)
    return method.pooled(method.encoders["text"](ids, mask))


# --- SimCSE and Mirror-BERT ---


def test_simcse_is_the_loss_of_two_readings_through_the_head() -> None:
    method = made("simcse").eval()
    others = WORDS[::-1]
    total = method.loss(batch_of(method, others), QUIET)["total"]
    first, second = (method.head(pooled(method, texts)) for texts in (WORDS, others))
    torch.testing.assert_close(total, simcse_loss(first, second, temperature=0.05))


def test_two_readings_of_one_text_differ_by_dropout_alone() -> None:
    method = made("simcse", head="none", pooling="mean")
    batch = batch_of(method, WORDS)
    first, second = method.of_views([(batch["text"], batch["text_mask"]), batch["text_views"][0]])
    assert not torch.allclose(first, second)
    first, second = method.eval().of_views([(batch["text"], batch["text_mask"]), batch["text_views"][0]])
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("head", ["training", "always"])
def test_the_head_is_used_after_training_only_where_settings_say_so(head: str) -> None:
    method = made("simcse", head=head).eval()
    vectors = pooled(method, WORDS)
    expected = vectors if head == "training" else method.head(vectors)
    torch.testing.assert_close(method.embed(batch_of(method))["text"], F.normalize(expected, dim=1))


def test_texts_of_other_lengths_are_read_as_if_alone() -> None:
    method = made("simcse", pooling="mean").eval()
    batch = batch_of(method, ["a ball", "tea", "trees", "dog"])
    together = method.of_views([(batch["text"], batch["text_mask"]), batch["text_views"][0]])
    torch.testing.assert_close(together[1], pooled(method, ["a ball", "tea", "trees", "dog"]))


def test_a_first_token_that_sees_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no token of this encoder sees later ones: set method\.pooling=encoder"):
        made("simcse", pool="end")
    made("simcse", pool="end", pooling="encoder")


def test_hard_negatives_are_columns_of_every_row() -> None:
    method, hard = made("simcse_supervised", hard_log_weight=0.7).eval(), WORDS[2:] + WORDS[:2]
    total = method.loss({**batch_of(method, WORDS[::-1]), "hard_text": hard}, QUIET)["total"]
    sides = [method.head(pooled(method, texts)) for texts in (WORDS, WORDS[::-1], hard)]
    torch.testing.assert_close(total, simcse_loss(*sides, temperature=0.05, hard_log_weight=0.7))


def test_mirror_bert_contrasts_both_sides_and_hides_characters() -> None:
    method = made("mirror_bert").eval()
    total = method.loss(batch_of(method, WORDS[::-1]), QUIET)["total"]
    torch.testing.assert_close(total, nt_xent(pooled(method, WORDS), pooled(method, WORDS[::-1]), 0.04))
    (view,) = method.text_views
    assert (view.caption, view.hide) == ("other", 5)


# --- DeCLUTR ---


def test_an_anchor_meets_the_mean_of_its_positives() -> None:
    method = made("declutr", mlm_weight=0.0, anchors=2, positives=2).eval()
    views = [WORDS[place:] + WORDS[:place] for place in (0, 1, 2, 3, 0, 1)]  # anchor, its two, anchor, its two
    total = method.loss(batch_of(method, *views), QUIET)["total"]
    vectors = [pooled(method, view) for view in views]
    anchors = torch.stack([vectors[0], vectors[3]], dim=1).flatten(0, 1)
    means = torch.stack([(vectors[1] + vectors[2]) / 2, (vectors[4] + vectors[5]) / 2], dim=1).flatten(0, 1)
    torch.testing.assert_close(total, nt_xent(anchors, means, 0.05))


# --- Contrastive Tension ---


def test_the_two_encoders_start_alike_and_part() -> None:
    method = made("contrastive_tension")
    before = [copy.deepcopy(part.state_dict()) for part in (method.encoders["text"], method.other)]
    assert all(torch.equal(value, before[1][name]) for name, value in before[0].items())
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    method.loss(batch_of(method), QUIET)["total"].backward()
    optimizer.step()
    first, second = method.encoders["text"].state_dict(), method.other.state_dict()
    assert not torch.allclose(first["embedding.weight"], second["embedding.weight"])


def test_equal_pairs_are_right_and_all_others_wrong() -> None:
    method = made("contrastive_tension", negatives=3).eval()
    vectors = pooled(method, WORDS)
    scores = vectors @ vectors.T
    own = torch.eye(4, dtype=torch.bool)
    total = method.loss(batch_of(method), QUIET)["total"]
    steps = torch.randint(1, 4, (4, 3), generator=QUIET.generator(torch.device("cpu")))
    wrong = scores.gather(1, (torch.arange(4)[:, None] + steps) % 4)
    each = torch.cat([-F.logsigmoid(scores[own]), -F.logsigmoid(-wrong).flatten()])
    torch.testing.assert_close(total, each.mean())


def test_the_rate_falls_in_steps_and_the_second_encoder_can_be_kept() -> None:
    method = made("contrastive_tension", falls_every=10, keep="second")
    factors = [method.lr_factor("tension", Step(index=index), 0) for index in (0, 10, 20, 30, 40, 90)]
    assert factors == [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    torch.nn.init.zeros_(method.other.embedding.weight)
    method.after_stage(method.stages[0], None)
    assert not method.encoders["text"].embedding.weight.any()


def test_a_frozen_encoder_has_no_tension() -> None:
    text = encoder()
    text.freeze("all")
    with pytest.raises(ConfigError, match=r"two copies of the text encoder: set encoders\.text\.freeze=none"):
        get_method("contrastive_tension")({}, {"text": text}, DataInfo())


# --- CERT ---


def test_a_rows_own_older_key_is_no_negative() -> None:
    method = made("cert", queue_size=4, dim=8).train()
    batch = batch_of(method, WORDS, WORDS[::-1])
    with torch.no_grad():
        method.queue.enqueue(torch.randn(4, 8), batch["index"])
    alone = made("cert", queue_size=4, dim=8).train()
    alone.queue.features = alone.queue.features.index_copy(0, torch.arange(4), method.queue.features)
    method.dropout = alone.dropout = 0.0
    of_others = method.loss(batch, QUIET)["total"]
    of_all = alone.loss(batch, QUIET)["total"]
    assert of_others < of_all
    assert method.queue.ids.tolist() == [0, 1, 2, 3]


def test_rewritings_are_synonyms_unless_there_is_a_translator() -> None:
    query, key = made("cert").text_views
    assert query.synonym == key.synonym == 0.5
    translated = type("Translated", (get_method("cert"),), {"rewrites": (None, lambda text, seed: text.upper())})
    method = translated({}, {"text": encoder()}, DataInfo(rows=64))
    assert [view.synonym for view in method.text_views] == [0.5, 0.0]
    assert method.text_views[1].rewrite("a", 0) == "A"


# --- CLINE ---


def test_replaced_words_are_told_from_kept_ones() -> None:
    method = made("cline", dropout=0.0).eval()
    kept, broken = ([text.replace(*words) for text in WORDS] for words in (("red", "scarlet"), ("hot", "icy")))
    batch = batch_of(method, kept, broken)
    torch.nn.init.zeros_(method.replaced.weight)
    chances = torch.tensor([0.7, 0.2, 0.1])  # of kept, synonym and antonym, whatever the token
    method.replaced.bias.data = chances.log()
    count = method.encoders["text"].input.tokenizer.offsets
    synonyms, antonyms = len(count("scarlet")), len(count("icy"))
    counted = sum(len(count(text.rpartition(" ")[0])) for text in kept + broken)  # the last word may have been cut
    others = counted - synonyms - antonyms
    expected = -(torch.tensor([others, synonyms, antonyms]) * chances.log()).sum() / counted
    torch.testing.assert_close(method.loss(batch, QUIET)["tokens"], expected)


def test_the_versions_are_of_the_text_of_the_batch() -> None:
    kept, broken = made("cline", strength=0.4).text_views
    assert kept.caption == broken.caption == "same"
    assert (kept.synonym, kept.antonym, broken.synonym, broken.antonym) == (1.0, 0.0, 0.0, 1.0)


# --- labels ---


FACTS = DataInfo(rows=4, classes=("toy", "dish"), definitions=("a ball to play with", "a cup of tea"))


def test_supervised_contrast_takes_one_label_a_row() -> None:
    several = DataInfo(rows=4, classes=("a", "b"), definitions=("a", "b"), multi_label=True)
    with pytest.raises(ConfigError, match=r"these have several: set method\.share=0"):
        made("supcon_text", facts=several)
    plain = made("supcon_text", facts=several, share=0)
    batch = {**batch_of(plain), "label": torch.tensor([[1.0, 0], [1, 1], [0, 0], [0, 1]])}
    expected = F.binary_cross_entropy_with_logits(plain.eval().classify(batch), batch["label"])
    torch.testing.assert_close(plain.loss(batch, QUIET)["total"], expected)


def test_a_class_is_matched_as_its_definition_would_be() -> None:
    method = made("label_matching", facts=FACTS).eval()
    batch = batch_of(method)
    torch.testing.assert_close(method.classify(batch), method.match(batch, FACTS.definitions))


@pytest.mark.parametrize("form", ["gile", "concat"])
def test_labels_of_each_text_its_own_score_as_in_the_table_of_all(form: str) -> None:
    matcher = made("label_matching", facts=FACTS, form=form).matcher
    texts, labels = torch.randn(4, 16), torch.randn(5, 16)
    torch.testing.assert_close(matcher(texts, labels.expand(4, -1, -1)), matcher(texts, labels))


def test_rows_without_a_label_train_by_words_alone() -> None:
    method = made("label_matching", facts=FACTS, pseudo=0).eval()
    batch = batch_of(method)
    some = method.loss({**batch, "label": torch.tensor([0, -1, 1, -1])}, Step(stage="labels", watched=False))["total"]
    rows = torch.tensor([0, 2])
    two = {name: value[rows] for name, value in batch.items()}
    torch.testing.assert_close(some, method.loss({**two, "label": torch.tensor([0, 1])}, Step(stage="labels"))["total"])


def test_words_come_first_where_epochs_are_given_them_and_alone_without_labels() -> None:
    assert [stage.name for stage in made("label_matching", facts=FACTS, pretrain_epochs=2).stages] == [
        "words",
        "labels",
    ]
    without = made("label_matching")
    assert [stage.name for stage in without.stages] == ["words"]
    assert Classifies.of(without) is None
    with pytest.raises(ConfigError, match="neither labels nor words"):
        made("label_matching", pseudo=0)


def test_only_words_with_a_meaning_stand_for_labels() -> None:
    method = made("label_matching")
    tokens = method.encoders["text"].input.tokenizer
    words = {tokens.decode([place]).strip() for place in method.may_label.nonzero().flatten().tolist()}
    assert "ball" in words
    assert not {"the", "a", "<mask>", ""} & words
