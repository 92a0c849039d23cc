"""Real programs at work, in the guests and under the limits of the plan `wild`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.plan import Selection
from foothold_lab.images.builder import Builder
from tests.guests.conftest import check_all_pass, run_plan


def check(verdicts: Mapping[str, Verdict]) -> None:
    """Every cell passes, unless this machine cannot boot its guest."""
    check_all_pass(verdicts)
    native = [verdict for name, verdict in verdicts.items() if name.startswith("native/none/")]
    assert any(verdict.result is Result.PASS for verdict in native)


@pytest.mark.weekly
def test_servers_and_scripts_start_for_the_stated_reason(builder: Builder, tmp_path: Path) -> None:
    """Six small programs, natively and in UML: several in one guest, each in a fresh directory."""
    verdicts = run_plan("wild", builder, tmp_path / "run", Selection(tags=("quick",)))
    assert len(verdicts) == 54
    check(verdicts)
    table = verdicts["native/rlimit_as=800M/memcached"].observed
    assert table
    assert "524292K rw- at anywhere: placed" in table.evidence["path"]
    compiler = verdicts["native/none/php"].observed
    assert compiler
    assert "256M rw-" in compiler.evidence["path"]


@pytest.mark.weekly
@pytest.mark.timeout(7200)
def test_every_program_starts_or_dies_for_the_stated_reason(
    builder: Builder, tmp_path: Path
) -> None:
    verdicts = run_plan("wild", builder, tmp_path / "run", Selection())
    check(verdicts)
