"""Why an answer: what in a picture and in a text makes them match."""

from accord.explain.concepts import ConceptExplanation, SharedConcept, Witness, explain_concepts
from accord.explain.figure import draw_concepts, draw_words
from accord.explain.words import WordExplanation, WordMap, explain_words

__all__ = [
    "ConceptExplanation",
    "SharedConcept",
    "Witness",
    "WordExplanation",
    "WordMap",
    "draw_concepts",
    "draw_words",
    "explain_concepts",
    "explain_words",
]
