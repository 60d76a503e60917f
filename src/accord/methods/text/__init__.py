"""Texts alone: encoders of sentences and documents, trained by views of a text, by its words, or by its labels."""
