"""Altered captions: grammatical, with one change, and none where nothing is certain."""

from __future__ import annotations

import re

import pytest

from accord.data.making.counterfactuals import KINDS, Altered, counterfactuals, sound, usual_words
from accord.data.making.grammar import find_directions, find_nouns, find_verbs
from accord.data.making.lexicon import VERB_FORMS, lexicon


def texts(caption: str, *kinds: str, count: int = 100) -> list[str]:
    return [new.text for new in counterfactuals(caption, kinds=kinds or ("action",), count=count)]


def verbs(caption: str) -> list[str]:
    words = re.findall(r"[a-z']+", caption.lower())
    return [place.word for place in find_verbs(words, [False] * len(words))]


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("a man is playing a guitar", ["play"]),
        ("two men are fighting in a ring", ["fight"]),
        ("a dog runs across the grass", ["run"]),
        ("children play soccer", ["play"]),
        ("a monkey is being chased by a dog", ["chase"]),
        ("the ball is thrown by the player", ["throw"]),
        ("the man picked up the ball and threw it", ["pick_up", "throw"]),
        ("a video of a man riding a horse", ["ride"]),
        ("a woman explains how to bake a cake", ["bake"]),
        ("a man lying on the beach reads a book", ["lie", "read"]),
        ("he opens the door and leaves the room", ["open", "leave"]),
        ("she sang and danced", ["sing", "dance"]),
    ],
)
def test_verbs_are_found_in_their_forms(caption: str, found: list[str]) -> None:
    assert verbs(caption) == found


@pytest.mark.parametrize(
    "caption",
    [
        "a tall building near the river",
        "there are two cooks in a kitchen",
        "a green plant in a pot",
        "the swimming pool",
        "fried chicken",
        "a box of brushes",
        "a long walk",
        "three plays",
        "",
        "?!",
    ],
)
def test_what_is_not_certain_to_be_a_verb_is_left_alone(caption: str) -> None:
    assert verbs(caption) == []
    assert counterfactuals(caption) == []


def test_a_compound_keeps_its_name() -> None:
    altered = texts("a boy is swimming in a swimming pool")
    assert altered
    assert all(text.endswith("in a swimming pool") for text in altered)


def test_a_verb_with_an_object_is_replaced_by_one_that_takes_one() -> None:
    known = lexicon()
    takes = {word for (frame, _), words in known.classes.items() if frame == "t" for word in words}
    forms = {known.inflect(word, "ing") for word in takes}
    altered = texts("a man is kicking a ball")
    assert altered
    assert {text.removeprefix("a man is ").removesuffix(" a ball") for text in altered} <= forms


def test_nothing_but_the_verb_changes_and_its_form_stays() -> None:
    for caption, ending in (("a girl sits on a chair", "s"), ("a girl is sitting on a chair", "ing")):
        for text in texts(caption):
            verb = text.removeprefix("a girl ").removeprefix("is ").removesuffix(" on a chair")
            assert verb.endswith(ending)
            assert " " not in verb


def test_a_passive_gets_a_participle_and_a_pronoun_no_particle() -> None:
    participles = {lexicon().inflect(word, "participle") for word in lexicon().fitting("throw", "t")}
    passive = texts("the ball is thrown by the player")
    assert {text.removeprefix("the ball is ").removesuffix(" by the player") for text in passive} <= participles
    assert not [text for text in texts("a boy kicks it") if "up it" in text or "down it" in text]


def test_words_that_mean_the_same_are_no_alteration() -> None:
    assert not {"a cat is leaping", "a cat is hopping"} & set(texts("a cat is jumping"))
    assert "a woman is repairing a car" not in texts("a woman is fixing a car")


def test_directions_are_turned_round_where_they_are_directions() -> None:
    assert texts("a man walks into the house", "direction") == ["a man walks out of the house"]
    assert texts("the dot moves from left to right", "direction") == ["the dot moves from right to left"]
    assert set(texts("a car drives down the left lane", "direction")) == {
        "a car drives up the left lane",
        "a car drives down the right lane",
    }
    assert texts("a woman picks up a phone", "direction") == []
    assert texts("a man sits down", "direction") == []
    assert texts("a clock runs clockwise", "direction") == ["a clock runs anticlockwise"]


def test_nouns_keep_their_number_and_articles_follow() -> None:
    assert all(re.search(r"\ban? \w+$", text) for text in texts("a boy eats an apple", "object") if "a boy" in text)
    assert "a boy eats a banana" in texts("a boy eats an apple", "object")
    assert "a boy eats an orange" in texts("a boy eats an apple", "object")
    assert {text.split()[1] for text in texts("two horses", "object")} <= {
        lexicon().inflect(word, "many") for word in lexicon().classes["n", "beast"]
    }
    assert find_nouns(["people", "walk"], [False]) == []


def test_capitals_and_marks_stay() -> None:
    altered = texts("Dogs run, and a CAT sleeps!")
    assert altered
    assert all(text.startswith("Dogs ") and text.endswith("!") and "CAT" in text for text in altered)


def test_kinds_take_turns_and_are_named() -> None:
    found = counterfactuals("a man rides a horse into the field", kinds=KINDS, count=6)
    assert [new.kind for new in found][:3] == ["action", "direction", "object"]
    assert {new.kind for new in found} == set(KINDS)


def test_the_same_caption_and_seed_give_the_same_ones_and_another_seed_others() -> None:
    caption = "a man is throwing a ball"
    assert counterfactuals(caption, count=3) == counterfactuals(caption, count=3)
    drawn = {tuple(new.text for new in counterfactuals(caption, count=3, seed=seed)) for seed in range(5)}
    assert len(drawn) > 1
    assert len(counterfactuals(caption, count=3)) == 3


def test_words_that_captions_say_often_are_put_in_before_others() -> None:
    said = ["a man walks"] * 50 + ["a man crawls"] * 30 + ["a man limps"]
    usual = usual_words(said)
    assert usual["man"] == 81
    first = [counterfactuals(f"a man runs {place}", count=1, usual=usual)[0].text for place in ("by", "on", "up", "in")]
    assert {text.split()[2] for text in first} <= {"walks", "crawls"}
    every = counterfactuals("a man runs", count=100, usual=usual)
    assert len(every) == len(counterfactuals("a man runs", count=100))


def test_only_texts_that_differ_are_kept() -> None:
    given = [Altered(text, "action") for text in ("A dog runs.", "a dog sits", " a  dog sits ", "", "a dog barks")]
    assert [new.text for new in sound("a dog runs", given)] == ["a dog sits", "a dog barks"]


def test_every_form_of_the_lexicon_is_a_word_or_two_and_every_class_is_known() -> None:
    known = lexicon()
    for (frame, name), words in known.classes.items():
        assert len(set(words)) == len(words), name
        assert all((frame, other) in known.classes for other in known.others[frame, name])
        for word in words:
            for form in VERB_FORMS if frame != "n" else ("one",):
                assert re.fullmatch(r"[a-z]+( [a-z]+)?", known.inflect(word, form)), (word, form)
    verbs = {word.split("_")[0] for (frame, _), words in known.classes.items() if frame != "n" for word in words}
    assert set(known.verbs) <= verbs
    assert {word for group in known.same.values() for word in group} <= {
        word for words in known.classes.values() for word in words
    }


def test_most_of_a_list_of_captions_have_five_grammatical_versions() -> None:
    captions = [
        f"{who} {does}"
        for who in ("a man", "a woman", "the dog", "a little girl")
        for does in (
            "is running in the park",
            "walks across the street",
            "is eating an apple",
            "jumps over a fence",
            "is sitting on a bench",
            "kicks a ball",
        )
    ]
    rich = [caption for caption in captions if len(counterfactuals(caption, count=10)) >= 5]
    assert len(rich) >= 0.9 * len(captions)
    assert find_directions(["jumps", "out", "of"], [False] * 2)
