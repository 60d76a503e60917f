"""Why an answer: what in a picture and in a text makes them match."""

from accord.explaining.concepts import ConceptExplanation, SharedConcept, Witness, explain_concepts
from accord.explaining.figure import draw_concepts, draw_parts, draw_words
from accord.explaining.parts import PartsExplanation, explain_parts
from accord.explaining.words import WordExplanation, WordMap, explain_words

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
