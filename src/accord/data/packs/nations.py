"""Fourteen nations and fifty-five relations between them."""

from __future__ import annotations

from accord.data.packs.triples import triples_pack

PACK = triples_pack(
    "nations",
    summary="14 nations and 55 relations between them, such as treaties and exports",
    about="Political and economic relations of fourteen nations in the 1950s and 1960s.",
    credit="Rummel's Dimensionality of Nations project; triples packaged by PyKEEN (MIT).",
    rows=14,
)
