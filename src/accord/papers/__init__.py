"""The catalogue: one card per paper, search over cards and new papers, and digests of these by mail.

>>> from accord.papers import get_card
>>> get_card("capro").year
2023
"""

from __future__ import annotations

from accord.papers.catalogue import PaperCard, Setting, get_card, list_cards, settings_of
from accord.papers.headline import Headline, headline

__all__ = ["Headline", "PaperCard", "Setting", "get_card", "headline", "list_cards", "settings_of"]
