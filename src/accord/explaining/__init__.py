"""Why an answer: what in a picture, clip or sequence and in a text makes them match; what a method fills in.

Each way to explain is a file that ends with its declaration: which ability it lives on, and what it reads. Of the ways
that a method has, the first is taken. What a method finds in time is drawn by :func:`draw_moments`.
"""

from accord.explaining import concepts, filled, parts, times, words
from accord.explaining.base import Explanation, Way
from accord.explaining.concepts import ConceptExplanation, SharedConcept, Witness, explain_concepts
from accord.explaining.figure import draw_concepts, draw_parts, draw_words
from accord.explaining.filled import FilledExplanation, explain_filled
from accord.explaining.moments import MomentLine, draw_moments
from accord.explaining.parts import PartsExplanation, explain_parts
from accord.explaining.timelines import draw_filled, draw_frames, draw_times
from accord.explaining.times import FrameExplanation, TimeExplanation, explain_times
from accord.explaining.words import WordExplanation, WordMap, explain_words

__all__ = [
    "WAYS",
    "ConceptExplanation",
    "Explanation",
    "FilledExplanation",
    "FrameExplanation",
    "MomentLine",
    "PartsExplanation",
    "SharedConcept",
    "TimeExplanation",
    "Way",
    "Witness",
    "WordExplanation",
    "WordMap",
    "draw_concepts",
    "draw_filled",
    "draw_frames",
    "draw_moments",
    "draw_parts",
    "draw_times",
    "draw_words",
    "explain_concepts",
    "explain_filled",
    "explain_parts",
    "explain_times",
    "explain_words",
]

WAYS = (words.WAY, concepts.WAY, times.WAY, parts.WAY, filled.WAY)
