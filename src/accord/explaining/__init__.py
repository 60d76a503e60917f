"""Why an answer: what in a picture or clip and in a text makes them match.

Each way to explain is a file that ends with its declaration: which ability it lives on, and what it reads. Of the ways
that a method has, the first is taken.
"""

from accord.explaining import concepts, frames, parts, words
from accord.explaining.base import Explanation, Way
from accord.explaining.concepts import ConceptExplanation, SharedConcept, Witness, explain_concepts
from accord.explaining.figure import draw_concepts, draw_frames, draw_parts, draw_words
from accord.explaining.frames import FrameExplanation, explain_frames
from accord.explaining.parts import PartsExplanation, explain_parts
from accord.explaining.words import WordExplanation, WordMap, explain_words

__all__ = [
    "WAYS",
    "ConceptExplanation",
    "Explanation",
    "FrameExplanation",
    "PartsExplanation",
    "SharedConcept",
    "Way",
    "Witness",
    "WordExplanation",
    "WordMap",
    "draw_concepts",
    "draw_frames",
    "draw_parts",
    "draw_words",
    "explain_concepts",
    "explain_frames",
    "explain_parts",
    "explain_words",
]

WAYS = (words.WAY, frames.WAY, concepts.WAY, parts.WAY)
