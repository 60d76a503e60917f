"""HBI's answers: the terms of the loss, what is pooled and dropped, answers that are not in the list, and their use."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.encoders import build_encoder
from accord.encoders.generation import Decoding
from accord.errors import ConfigError
from accord.functional import info_nce_from_similarity, kl_rows, weighted_interaction
from accord.methods import DataInfo, Step
from accord.methods.video.hbi_answers import AnswerList, HbiAnswers
from accord.pipeline.build import data_info
from accord.training.gradcache import cached_backward

ASKED = ["which colour is it", "does it move", "what comes first and what follows", "what is it"]
ANSWERS = ("yes", "red", "a ball")
GIVEN = ["Red", "yes", "a ball", "nothing at all"]
IMAGE = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
TRAIN = Step(stage="train", seed=3)


def built(**settings) -> HbiAnswers:
    torch.manual_seed(0)
    towers = {
        "video": build_encoder("video", {"name": "frames", "image": IMAGE, "frames": 6}, weights=False),
        "text": build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=ASKED),
    }
    torch.manual_seed(1)
    sizes = {"dim": 16, "heads": 2, "head_width": 4, "answer_width": 8, "answer_dropout": 0.0}
    return HbiAnswers({**sizes, **settings}, towers, DataInfo(answers=ANSWERS))


@pytest.fixture
def batch():
    method = built()
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[3, 4:] = False
    video = torch.randn(4, 6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    (asked, words), (given, known) = (
        method.inputs[field].tokenizer(texts) for field, texts in (("input_text", ASKED), ("answers", GIVEN))
    )
    said = {"input_text": asked, "input_text_mask": words, "answers": given, "answers_mask": known}
    return {"video": video, "video_mask": mask, **said}


def logits_of(method: HbiAnswers, batch) -> list[Tensor]:
    """By hand: tokens pooled by their votes, a linear map each, the clip's numbers first."""
    found = []
    for head, level in zip(method.classifiers, method.levels_in(method.towers(batch), TRAIN), strict=True):
        text, video = (torch.bmm(side.votes[:, None], side.values)[:, 0] for side in level)
        found.append(head.classifier(torch.cat([head.video(video), head.text(text)], dim=1)))
    return found


def test_the_loss_is_half_of_contrast_and_game_answers_at_all_levels_and_what_distils_them(batch):
    method = built(interaction_weight=0.5, distill_weight=3.0)
    levels = method.levels_in(method.towers(batch), TRAIN)
    contrast = torch.zeros(())
    for text, video in levels:
        score = weighted_interaction(text.values, video.values, text.votes, video.votes, text.mask, video.mask)
        contrast = contrast + info_nce_from_similarity(score, score.T, method.logit_scale())
    game = sum(method._misread(number, *level) for number, level in enumerate(levels))
    logits = logits_of(method, batch)
    known, wanted = [0, 1, 2], torch.tensor([1, 0, 2])  # nobody taught "nothing at all"
    errors = sum(F.cross_entropy(each[known], wanted) for each in logits)
    drawn = sum(kl_rows(each, logits[0]) for each in logits[1:])
    terms = method.loss(batch, TRAIN)
    torch.testing.assert_close(terms["answers"], errors.detach())
    torch.testing.assert_close(terms["distillation"], drawn.detach())
    torch.testing.assert_close(terms["total"], (contrast + 0.5 * game) / 2 + errors + 3 * drawn)


def test_the_teacher_learns_first_and_no_answers(batch):
    method = built()
    assert [stage.name for stage in method.stages] == ["teacher", "train"]
    assert set(method.loss(batch, Step(stage="teacher"))) == {"total", "error"}


def test_what_is_dropped_is_drawn_by_the_step_alone(batch):
    method = built(answer_dropout=0.5)
    first, again = (method.loss(batch, TRAIN)["total"] for _ in range(2))
    assert first == again
    assert first != method.loss(batch, Step(stage="train", seed=4))["total"]
    assert method.eval().answer(batch)[0].score == method.answer(batch)[0].score


def test_a_batch_whose_answers_are_all_unknown_teaches_the_classifiers_nothing(batch):
    method = built(distill_weight=0.0)
    batch = {**batch, "answers_mask": torch.zeros(4, 1, dtype=torch.bool)}
    terms = method.loss(batch, TRAIN)
    terms["total"].backward()
    assert terms["answers"] == 0
    assert all(parameter.grad.abs().sum() == 0 for parameter in method.classifiers.parameters())


def test_how_far_questions_are_padded_changes_no_answer(batch):
    method = built().eval()
    longer = {
        **batch,
        "input_text": F.pad(batch["input_text"], (0, 3), value=7),
        "input_text_mask": F.pad(batch["input_text_mask"], (0, 3), value=False),
    }
    for found, expected in zip(method.answer(longer), method.answer(batch), strict=True):
        assert found == expected
        assert found.score == pytest.approx(expected.score, abs=1e-5)


def test_the_answer_is_the_likeliest_at_the_level_of_words_and_frames(batch):
    method = built().eval()
    logits = logits_of(method, batch)[0].log_softmax(dim=1)
    found = method.answer(batch, Decoding(method="beam"))
    assert [str(answer) for answer in found] == [ANSWERS[place] for place in logits.argmax(dim=1)]
    torch.testing.assert_close(torch.tensor([answer.score for answer in found]), logits.max(dim=1).values)


def test_gradients_of_a_batch_in_parts_are_those_of_the_whole(batch):
    whole, parts = built(answer_dropout=0.3), built(answer_dropout=0.3)
    whole.loss(batch, TRAIN)["total"].backward()
    cached_backward(parts, batch, TRAIN, 2, lambda loss, last: loss.backward())
    for (name, one), (_, other) in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_a_text_that_is_searched_by_stands_in_the_place_of_the_question(batch):
    method = built().eval()
    ids, mask = method.encoders["text"].input.tokenizer(ASKED[::-1])
    searched = method.embed({**batch, "text": ids, "text_mask": mask})["text"]
    torch.testing.assert_close(searched.flip(0), method.embed(batch)["text"])


def test_the_commonest_answers_come_first_whatever_their_case():
    rows = datasets.Dataset.from_dict({"video": ["a", "b", "c"], "answer": [["Red", "blue"], ["red"], ["Yes", "red"]]})
    facts = data_info(Corpus("asked", rows, Columns(video="video", answers=("answer",)), np.arange(3)), {})
    assert facts.answers == ("red", "blue", "yes")
    ids, mask = AnswerList(facts.answers[:2])(["RED", "yes"])
    assert (ids[0, 0].item(), mask[:, 0].tolist()) == (0, [True, False])


def test_as_many_answers_are_told_apart_as_asked_for_and_two_at_least():
    assert built(most_answers=2).listed.answers == ANSWERS[:2]
    with pytest.raises(ConfigError, match="at least 2 different answers, got 1"):
        HbiAnswers({}, dict(built().encoders.items()), DataInfo(answers=("yes",)))
