"""What every route for programs says of itself holds, whatever it is asked that its description allows, or does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accord.serving import ServeConfig, build_app
from serving.reviews import cleaned, discovered, pictures

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def described(shop_floor: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The application's description of itself, over two runs, a cleaning and found classes."""
    folder = tmp_path_factory.mktemp("described")
    cleaned(folder / "runs" / "doubts", pictures(folder / "coloured", 24), 3)
    discovered(folder / "runs" / "found", folder / "coloured")
    config = ServeConfig(runs=(shop_floor / "runs", folder / "runs"), papers=folder / "papers.sqlite", models=())
    return schemathesis.openapi.from_asgi("/openapi.json", build_app(config), headers={"host": "localhost"})


ROUTES = [(verb.upper(), path) for path, verbs in build_app().openapi()["paths"].items() for verb in verbs]


@pytest.mark.parametrize(("verb", "path"), ROUTES, ids=lambda part: part)
def test_a_route_answers_as_it_is_described(described, verb, path):
    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=described[path][verb].as_strategy())
    def asked(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, headers={"host": "localhost"})

    asked()
