"""Why an answer: what in a picture, clip or sequence and in a text makes them match.

Each way to explain is a file that ends with its declaration: which ability it lives on, and what it reads. Of the ways
that a method has, the first is taken.
"""

from accord.explaining import concepts, parts, times, words
from accord.explaining.base import Explanation, Way
from accord.explaining.concepts import ConceptExplanation, SharedConcept, Witness, explain_concepts
from accord.explaining.figure import draw_concepts, draw_parts, draw_times, draw_words
from accord.explaining.parts import PartsExplanation, explain_parts
from accord.explaining.times import TimeExplanation, explain_times
from accord.explaining.words import WordExplanation, WordMap, explain_words

__all__ = [
    "WAYS",
    "ConceptExplanation",
    "Explanation",
    "PartsExplanation",
    "SharedConcept",
    "TimeExplanation",
    "Way",
    "Witness",
    "WordExplanation",
    "WordMap",
    "draw_concepts",
    "draw_parts",
    "draw_times",
    "draw_words",
    "explain_concepts",
    "explain_parts",
    "explain_times",
    "explain_words",
]

WAYS = (words.WAY, concepts.WAY, times.WAY, parts.WAY)
