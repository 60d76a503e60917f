"""The catalogue of methods: one card per paper, read by people and by the documentation.

>>> from accord.papers import get_card
>>> get_card("capro").year
2023
"""

from __future__ import annotations

from accord.papers.catalogue import PaperCard, Setting, get_card, list_cards, settings_of

__all__ = ["PaperCard", "Setting", "get_card", "list_cards", "settings_of"]
