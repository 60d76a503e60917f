"""The smallest effects of interest that claims share, each with its reason."""

from __future__ import annotations

from typing import Any

UNMEASURED = "floor and ceiling are not measured yet"
POINT: dict[str, Any] = {
    "smallest": 1.0,
    "because": "another draw of the test rows moves it by a point",
    "scale": UNMEASURED,
}
