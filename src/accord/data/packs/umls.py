"""A semantic network of medical concepts."""

from __future__ import annotations

from accord.data.packs.triples import triples_pack

PACK = triples_pack(
    "umls",
    summary="135 kinds of medical concepts and 46 relations between them",
    about="The semantic network of the Unified Medical Language System: what causes, treats or is part of what.",
    credit="National Library of Medicine (UMLS); triples packaged by PyKEEN (MIT).",
    rows=135,
)
