"""What a call changed before it failed, and memory that is executable without a request for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest, open_guest
from foothold_lab.harness.model.verdict import Result
from foothold_lab.images import processes
from tests.guests.conftest import open_or_skip
from tests.host_compiler import host_compiler

HERE = Path(__file__).parent
GUESTS = ("native", "uml-6.1", "uml-7.2", "qemu-x86_64")
PT_GNU_STACK = b"\x51\xe5\x74\x64"


@pytest.fixture(scope="module", params=GUESTS)
def guest(request: pytest.FixtureRequest) -> Iterator[OpenGuest]:
    with open_or_skip(request.param) as opened:
        yield opened


def compiled(source: str, directory: Path, *options: str) -> Path:
    program = directory / source.partition(".")[0]
    done = processes.run([*host_compiler(), *options, "-o", program, HERE / source])
    if done.returncode:
        pytest.skip(f"no C compiler: {done.stderr.strip()}")
    return program


@pytest.mark.parametrize("source", ["partial_protect.c", "implied_exec.c"])
def test_trace_and_maps_agree(guest: OpenGuest, tmp_path: Path, source: str) -> None:
    program = compiled(source, tmp_path, "-O1", "-static-pie")
    # under the ceiling the agent is the tracer
    for limits in ("none", "ceiling=39bit") if guest.name == "native" else ("none",):
        verdict = guest.run_cell(program, limits=limits, expect="starts")
        assert (verdict.result, verdict.findings) == (Result.PASS, ()), str(verdict)


@pytest.mark.parametrize("name", ["qemu-x86_64", "qemu-i386"])
def test_an_old_program_has_executable_memory(name: str, tmp_path: Path) -> None:
    options = ("-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-z,execstack")
    program = compiled("old_program.S", tmp_path, *options)
    binary = program.read_bytes()
    assert binary.count(PT_GNU_STACK) == 1
    program.write_bytes(binary.replace(PT_GNU_STACK, bytes(4)))
    with open_guest(name) as guest:
        verdict = guest.run_cell(program, timeout=2, expect="starts")
    assert (verdict.result, verdict.findings) == (Result.PASS, ()), str(verdict)
    assert verdict.observed
    assert "64M rwx" in verdict.observed.evidence["maps while running"]
