"""Why an answer: what in a picture and in a text makes them match."""

from accord.explain.concepts import ConceptExplanation, SharedConcept, Witness, explain_concepts
from accord.explain.figure import draw_concepts, draw_parts, draw_words
from accord.explain.parts import PartsExplanation, explain_parts
from accord.explain.words import WordExplanation, WordMap, explain_words

__all__ = [
    "ConceptExplanation",
    "PartsExplanation",
    "SharedConcept",
    "Witness",
    "WordExplanation",
    "WordMap",
    "draw_concepts",
    "draw_parts",
    "draw_words",
    "explain_concepts",
    "explain_parts",
    "explain_words",
]
