"""How a request is refused, for programs: one form for all routes, which their descriptions name."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Refusal(BaseModel):
    """Why something is not done."""

    detail: str


_REASONS = {
    400: "It cannot be done so.",
    401: "The token is missing.",
    403: "A browser sent it from elsewhere.",
    404: "There is no such thing.",
    405: "Not by this method.",
    409: "Not now, or others were faster.",
    413: "It is too large.",
    422: "It cannot be read.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": reason} for status, reason in _REASONS.items()
}
