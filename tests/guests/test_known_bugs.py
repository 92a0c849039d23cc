"""Public bugs come out by themselves: the plan `known-bugs`, and one of them in a quick guest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from foothold_lab.harness.plan import Selection
from foothold_lab.harness.subjects.packaged import subject
from foothold_lab.images.builder import Builder
from tests.guests.conftest import check_all_pass, run_plan
from tests.guests.test_runtimes import verdicts


def test_jemalloc_of_oxlint_refuses_pages_of_16_kib(builder: Builder, tmp_path: Path) -> None:
    """oxc-project/oxc#3783, under qemu-user, which needs no kernel with such pages."""
    if not builder.ready("oxlint-arm64") and not shutil.which("npm"):
        pytest.skip("npm is not installed")
    oxlint = subject("oxlint-arm64", builder)
    guests = ("qemu-user-arm64", "qemu-user-arm64-16k")
    small, large = (
        verdict.observed for verdict in verdicts(builder, tmp_path / "run", guests, oxlint).values()
    )
    assert small
    assert large
    assert str(small).endswith("starts")
    assert "<jemalloc>: Unsupported system page size" in large.last_output
    assert str(large).endswith("memory allocation of 56 bytes failed")


@pytest.mark.weekly
@pytest.mark.timeout(1800)
def test_every_known_bug_comes_out(builder: Builder, tmp_path: Path) -> None:
    done = run_plan("known-bugs", builder, tmp_path / "run", Selection())
    check_all_pass(done)
