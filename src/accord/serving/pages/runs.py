"""Runs: what was trained, with what settings and outcome; several beside each other; one that is being trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from accord.errors import ConfigError
from accord.pipeline.compared import read_comparison
from accord.pipeline.folder import QUARANTINE
from accord.pipeline.measured import in_words
from accord.pipeline.record import REPORT, Record, read_metrics, read_record
from accord.pipeline.summary import read_left_out
from accord.report.html import drawn_sections
from accord.report.summary import Arm, Comparison
from accord.serving.curves import charts_of_run, charts_of_runs, curves_of
from accord.serving.downloads import file_answer, is_offered
from accord.serving.numbers import Number
from accord.serving.places import COMPARED, RUN, Place
from accord.serving.rendering import page
from accord.serving.run_list import ORDERS, Brief, Listed, listed_runs, metric_names, ordered, wanted
from accord.serving.workshop import Shop, Workshop

router = APIRouter()
_MOST = 12  # runs beside each other


class Detail(Brief):
    """A run, with its settings, numbers and files.

    Attributes:
        settings: by their dotted names.
        metrics: what was measured on held-out rows.
        files: name -> bytes, of those that can be downloaded.
        next_steps: commands to try.
    """

    settings: dict[str, Any]
    metrics: list[Number]
    files: dict[str, int]
    next_steps: list[str]


# ---- for programs ----------------------------------------------------------------------------------------------------


@router.get("/api/runs")
def list_runs(shop: Shop, words: str = "", method: str = "", state: str = "") -> list[Brief]:
    """All runs, the newest first; those that have the words, the method and the state."""
    return [run.brief() for run in wanted(listed_runs(shop.places), words, method, state)]


@router.get("/api/runs/{key:path}/curves")
def curves(shop: Shop, key: str, points: Annotated[int, Query(ge=2, le=20_000)] = 800) -> dict[str, list[list[float]]]:
    """Training curves: stage/term -> [step, value], neighbours averaged so that there are at most so many."""
    found = curves_of(_run(shop, key).folder, points)
    return {name: [[step, value] for step, value in line] for name, line in found.items()}


@router.get("/api/runs/{key:path}/metrics")
def metrics(shop: Shop, key: str) -> list[Number]:
    """What was measured on held-out rows, with intervals and levels of chance."""
    return [Number.of(metric) for metric in read_metrics(_run(shop, key).folder)]


@router.get("/api/runs/{key:path}")
def detail(shop: Shop, key: str) -> Detail:
    """One run."""
    place = _run(shop, key)
    record = read_record(place.folder)
    return Detail(
        **Listed(place, record).brief().model_dump(),
        settings={name: _plain(value) for name, value in record.settings.items()},
        metrics=[Number.of(metric) for metric in record.metrics],
        files=_files(place),
        next_steps=list(record.next_steps()),
    )


# ---- pages -----------------------------------------------------------------------------------------------------------


@router.get("/runs", include_in_schema=False)
def runs(
    request: Request,
    shop: Shop,
    words: str = "",
    method: str = "",
    state: str = "",
    order: str = "changed",
    down: bool = True,
) -> Response:
    """The table of runs; of a request for its part alone, that part."""
    all_runs = listed_runs(shop.places)
    names = metric_names(all_runs)
    order = order if order in (*ORDERS, *names) else "changed"
    shown = ordered(wanted(all_runs, words, method, state), order, down)
    chosen = {"words": words, "method": method, "state": state, "order": order, "down": down}
    return page(
        request,
        "runs_table" if "hx-request" in request.headers else "runs",
        runs=shown,
        total=len(all_runs),
        methods=sorted({run.record.method for run in all_runs if run.record}),
        states=sorted({run.state for run in all_runs}),
        orders=[*ORDERS, *names],
        chosen=chosen,
        comparisons=shop.places.all(COMPARED),
    )


@router.get("/runs/compare", include_in_schema=False)
def compare(request: Request, shop: Shop, key: Annotated[list[str] | None, Query()] = None) -> Response:
    """Several runs beside each other."""
    keys = list(dict.fromkeys(key or ()))
    if not 2 <= len(keys) <= _MOST:
        raise HTTPException(400, f"Choose from 2 to {_MOST} runs to compare; {len(keys)} were chosen.")
    places = {name: _run(shop, name) for name in keys}
    records = {name: read_record(place.folder) for name, place in places.items()}
    arms = tuple(Arm(name, record.metrics) for name, record in records.items())
    return page(
        request,
        "runs_compare",
        records=records,
        comparison=Comparison(arms, seeds=1),
        charts=charts_of_runs({name: place.folder for name, place in places.items()}),
        differences=differences(records),
    )


@router.get("/runs/{key:path}/live", include_in_schema=False)
def live(request: Request, shop: Shop, key: str) -> Response:
    """How far a training is; when it has ended, word to load the page anew."""
    place = _run(shop, key)
    record = read_record(place.folder)
    if not record.at_work:
        return Response(headers={"hx-refresh": "true"})
    return page(request, "run_live", **_about(place, record))


@router.get("/runs/{key:path}/state", include_in_schema=False)
def state(request: Request, shop: Shop, key: str) -> Response:
    """The state of a run, for the table."""
    place = _run(shop, key)
    return page(request, "run_state", place=place, record=read_record(place.folder))


@router.get("/runs/{key:path}/files/{name:path}", include_in_schema=False)
def file(shop: Shop, key: str, name: str) -> Response:
    """A file of a run or comparison."""
    place = _place(shop, key)
    try:
        path = place.file(name)
    except (ConfigError, ValueError) as error:  # the latter of a name that no file can have
        raise HTTPException(404, str(error)) from None
    return file_answer(path)


@router.get("/runs/{key:path}", include_in_schema=False)
def run(request: Request, shop: Shop, key: str) -> Response:
    """One run, or one comparison."""
    place = _place(shop, key)
    if place.kind == COMPARED:
        return page(request, "comparison", place=place, compared=read_comparison(place.folder), files=_files(place))
    record, report = read_record(place.folder), place.folder / REPORT
    return page(
        request,
        "run",
        **_about(place, record),
        tasks=by_task(record),
        charts=charts_of_run(place.folder),
        groups=_groups(record.settings),
        left_out=read_left_out(place.folder / QUARANTINE, f"/runs/{place.key}/files/{QUARANTINE}"),
        files=_files(place),
        report=report.is_file(),
        drawn=drawn_sections(report.read_text(errors="replace")) if report.is_file() else {},
        next_steps=record.next_steps(),
    )


def by_task(record: Record) -> dict[str, list[Any]]:
    """The metrics of each task; those of a task alone have no name before them."""
    found: dict[str, list[Any]] = {}
    for metric in record.metrics:
        task, colon, _ = metric.name.partition(": ")
        found.setdefault(task if colon else "", []).append(metric)
    return found


def differences(records: Mapping[str, Record]) -> dict[str, list[str]]:
    """Dotted name -> the value of each run, in words, of the settings in which the runs differ."""
    settings = [{name: _said(value) for name, value in record.settings.items()} for record in records.values()]
    names = dict.fromkeys(name for own in settings for name in own)
    sides = {name: [own.get(name, "") for own in settings] for name in names}
    return {name: values for name, values in sides.items() if len(set(values)) > 1}


def _groups(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Settings by what they are about, without those that nobody set to anything."""
    found: dict[str, dict[str, str]] = {}
    for name, value in settings.items():
        group, _, rest = name.partition(".")
        if said := _said(value):
            found.setdefault(group, {})[rest or group] = said
    return found


def _plain(value: Any) -> Any:
    """A setting as JSON can say it."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    exact = isinstance(value, bool | int | str | None) or (isinstance(value, float) and math.isfinite(value))
    return value if exact or value == {} else str(value)


def _said(value: Any) -> str:
    """A setting in words; empty for none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return "" if value is None or value == {} else f"{value:g}" if isinstance(value, float) else str(value)


def _about(place: Place, record: Record) -> dict[str, Any]:
    standing = record.standing
    left = standing.seconds_left if standing else None
    return {"place": place, "record": record, "left": None if left is None else in_words(left)}


def _files(place: Place) -> dict[str, int]:
    """Name -> bytes of the files that are given away."""
    held: Iterable[Any] = sorted(place.folder.iterdir())
    return {path.name: path.stat().st_size for path in held if path.is_file() and is_offered(path)}


def _run(shop: Workshop, key: str) -> Place:
    return _place(shop, key, RUN)


def _place(shop: Workshop, key: str, kind: str | None = None) -> Place:
    try:
        return shop.places.get(key, kind)
    except ConfigError as error:
        raise HTTPException(404, str(error)) from None
