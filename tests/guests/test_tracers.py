"""Which program records the system calls of a subject in a virtual machine."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace

import pytest

from foothold_lab.harness.guests import vm_process
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import known_guests, make
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts, Tools, parse_facts
from foothold_lab.harness.model.record import Supervision
from foothold_lab.images.builder import Builder
from tests.guests.conftest import BootGuest

ALLOW_ALL = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET, SECCOMP_RET_ALLOW


@pytest.mark.uml
@pytest.mark.parametrize("guest", ["uml-6.1", "uml-7.2"])
@pytest.mark.parametrize(
    ("refused", "how", "by_agent"),
    [
        pytest.param(0, Supervision(trace=True), True, id="agent"),
        pytest.param(errno.EINVAL, Supervision(trace=True), False, id="a-kernel-without-filters"),
        pytest.param(0, Supervision(trace=True, seccomp=ALLOW_ALL), False, id="a-profile"),
        pytest.param(0, Supervision(trace=True, trace_files=True), False, id="names-of-files"),
    ],
)
def test_the_agent_traces_where_it_sees_all_calls(
    guest: str, refused: int, how: Supervision, by_agent: bool, place: GuestConfig, builder: Builder,
    boot: BootGuest, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def parsed(text: bytes) -> Facts:
        return replace(parse_facts(text), tools=Tools(seccomp=refused))

    monkeypatch.setattr(vm_process, "parse_facts", parsed)
    machine = make(builder, known_guests(builder)[guest], place)
    boot(machine)
    argv = [machine.paths.python, "-I", "-S", "-c", "import mmap; mmap.mmap(-1, 1 << 26)"]
    record = run_program(machine, argv, Limits(), Deadline.after(60), how=how)
    assert record.ending.status == 0
    assert record.trace
    assert record.trace.startswith(b"agent: Process ") is by_agent
    assert (b"openat(" if how.trace_files else b"mmap(NULL, 67108864, ") in record.trace
