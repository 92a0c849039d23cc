"""The AMX work-around: the short write goes through, and nothing that it does not cover is lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from foothold_lab.harness.evidence import observe
from foothold_lab.harness.guests import uml as uml_module
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.host_probe import Host, probe_host
from foothold_lab.harness.guests.uml import XSTATE_BUFFER, Uml, UmlKernel
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.subjects.subject import ALLOCATOR, command
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64
from tests.guests.conftest import BootGuest
from tests.host_compiler import dynamic_compiler, need_glibc

SHORT = (
    1088  # bytes: less than the whole area of every host with AVX-512, more than the legacy part
)


@pytest.fixture(scope="module")
def tracer(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_glibc()
    out = tmp_path_factory.mktemp("tracer") / "tracer"
    source = Path(__file__).with_name("xstate_tracer.c")
    command = dynamic_compiler(builder, AMD64)
    subprocess.run([*command, "-O1", "-o", out, source], check=True)
    return out


def trace(tracer: Path, preload: Path | None) -> dict[str, int]:
    if probe_host().xstate <= SHORT:
        pytest.skip(
            f"this host's area has {probe_host().xstate} bytes: no write is too short for it"
        )
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    done = subprocess.run(
        [tracer, str(SHORT)], env=environment, capture_output=True, check=True, timeout=60
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_without_the_shim_a_short_write_is_refused(tracer: Path) -> None:
    assert trace(tracer, None)["set"] == -14


def test_with_the_shim_it_goes_through_and_the_rest_is_kept(tracer: Path, builder: Builder) -> None:
    found = trace(tracer, builder.image("shim") / "xstate.so")
    assert found["set"] == 0
    assert found["changed"] == 1, "what was written is there"
    assert found["rest_kept"] == 1, "what was not written is as it was"
    assert found["whole"] == probe_host().xstate


def test_every_other_request_is_passed_on_as_libc_would(tracer: Path, builder: Builder) -> None:
    plain, shimmed = trace(tracer, None), trace(tracer, builder.image("shim") / "xstate.so")
    for name in ("first", "got", "second", "peeked", "peek_errno", "bad", "bad_errno", "getregs"):
        assert shimmed[name] == plain[name], name
    assert (shimmed["peeked"], shimmed["peek_errno"]) == (-1, 0)


@pytest.mark.parametrize("image", ["uml-bullseye", "uml-bookworm", "uml-trixie"])
def test_a_guest_with_the_shim_runs_and_says_so(
    image: str, place: GuestConfig, uml: Callable[..., VirtualMachine], boot: BootGuest
) -> None:
    guest = uml(place, image, shim=True)
    boot(guest)
    assert any("xstate shim" in note for note in guest.boot_record.notes)
    assert any(word.startswith("LD_PRELOAD=") for word in guest.boot_record.argv)
    # the same in every libm, unlike a sine
    sums = "import math; print(math.fsum(math.sqrt(i) / (i + 1.1) for i in range(100000)))"
    record = run_program(guest, ["/usr/bin/python3", "-c", sums], Limits(), Deadline.after(60))
    local = subprocess.run([guest_python(), "-c", sums], capture_output=True, check=True)
    assert record.stdout == local.stdout
    cell = Cell(guest=guest.name, limits=Limits(), policy="after")
    record = run_program(
        guest, command(ALLOCATOR, cell, guest.paths, trace=False), Limits(), Deadline.after(60)
    )
    assert str(observe(record, cell)) == "low, allocates"


def guest_python() -> str:
    import sys

    return sys.executable


@pytest.mark.parametrize(
    ("area", "release", "needed"),
    [
        (XSTATE_BUFFER + 8, "6.1", True),
        (11008, "6.12", True),
        (11008, "6.13", False),
        (11008, "7.2", False),
        (XSTATE_BUFFER, "6.1", False),
        (2432, "6.12", False),
        (0, "6.1", False),
    ],
)
def test_the_host_decides(
    area: int, release: str, needed: bool, place: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(ptrace=0, namespaces=0, xstate=area, executable_tmpfs=True)
    monkeypatch.setattr(uml_module, "probe_host", lambda: host)
    kernel = UmlKernel(release=release, image="uml-bookworm")
    support = Uml(kernel, place).supported()
    assert support.ok
    assert any("xstate shim" in note for note in support.notes) is needed
