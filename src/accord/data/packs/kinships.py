"""Who calls whom by which term of kinship."""

from __future__ import annotations

from accord.data.packs.triples import triples_pack

PACK = triples_pack(
    "kinships",
    summary="104 people of the Alyawarra and the 25 terms of kinship by which they call each other",
    about="Terms of kinship among people of the Alyawarra in Central Australia; names are numbers.",
    credit="Woodrow Denham; triples packaged by PyKEEN (MIT).",
    rows=104,
)
