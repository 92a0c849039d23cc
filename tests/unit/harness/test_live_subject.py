"""The real allocator on this machine: what it writes is what the witnesses read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.evidence import observe
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Outcome, ReservationPath
from tests.unit.harness import samples

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> Record:
    """Start the allocator, read its maps whenever it holds, and keep what there is to see."""
    with subprocess.Popen(
        [sys.executable, "-m", "allocator", "--hold", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        stdout, maps = b"", {}
        for line in process.stdout:
            stdout += line
            if line.startswith(b'{"event":"hold"'):
                moment = "end" if b'"end"' in line else "reserved"
                maps[moment] = Path(f"/proc/{process.pid}/maps").read_text()
                process.stdin.write(b"\n")
                process.stdin.flush()
        stderr = process.stderr.read()
        return Record(
            argv=(),
            pid=process.pid,
            ending=Ending(status=process.wait()),
            stdout=stdout,
            stderr=stderr,
            maps=maps,
        )


@pytest.mark.parametrize("policy", ["before", "after", "modern", "modern-arm64", "modern-1.24"])
def test_the_allocator_is_understood(policy: str) -> None:
    seen = observe(run("--policy", policy), Cell(guest="native", limits=Limits(), policy=policy))
    assert seen.contradictions == ()
    assert seen.outcome is Outcome.ALLOCATES
    assert seen.path in (ReservationPath.HIGH, ReservationPath.LOW)


def test_a_trace_does_not_disturb() -> None:
    assert observe(run("--policy", "after", "--trace")).contradictions == ()


def test_a_subject_that_only_pretends_is_found_out() -> None:
    """On the model of a kernel, it says all the right words and maps nothing."""
    seen = observe(run("--policy", "after", "--kernel", "model"))
    assert samples.says(seen.contradictions, Code.REPORT_VS_CELL, "kernel", "model", "real")
    assert samples.says(seen.contradictions, Code.REPORT_VS_MAPS, "no arena")
    assert seen.outcome is None


def test_a_modern_subject_that_lies_of_its_arena_is_found_out() -> None:
    cell = Cell(guest="native", limits=Limits(), policy="modern")
    honest = run("--policy", "modern")
    seen = observe(honest, cell)
    assert (seen.contradictions, seen.path) == ((), ReservationPath.HIGH)
    there = b"824633720832"  # 0xc0 << 32, of the report
    assert there in honest.stdout
    elsewhere = honest.stdout.replace(there, b"1924145348608")  # the second hint
    told = observe(replace(honest, stdout=elsewhere), cell).contradictions
    assert samples.says(told, Code.REPORT_VS_MAPS, "0x1c000000000")
    bare = dict.fromkeys(honest.maps, "")
    told_of_maps = observe(replace(honest, maps=bare), cell).contradictions
    assert samples.says(told_of_maps, Code.REPORT_VS_MAPS, "no arena")
