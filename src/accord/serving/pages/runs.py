"""Runs: what was trained, with what settings and outcome."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from accord.serving.places import RUN
from accord.serving.rendering import page
from accord.serving.workshop import Shop

router = APIRouter()


@router.get("/runs", include_in_schema=False)
def runs(request: Request, shop: Shop) -> Response:
    """The table of runs."""
    return page(request, "runs", runs=shop.places.all(RUN))
