"""How programs start, wait, hang and end, in real guests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import CellOptions, OpenGuest, open_guest
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Outcome, ReservationPath, Result, Verdict
from foothold_lab.images import processes
from tests.guests.conftest import open_or_skip
from tests.host_compiler import host_compiler

GUESTS = ("native", "uml-6.1", "uml-7.2", "qemu-x86_64")
SERVER = """#!/usr/bin/python3
import socket, sys, threading, time
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
threading.Thread(target=threading.Event().wait, daemon=True).start()
listener.listen()
listener.accept()
"""


@pytest.fixture(scope="module", params=GUESTS)
def guest(request: pytest.FixtureRequest) -> Iterator[OpenGuest]:
    with open_or_skip(request.param) as opened:
        yield opened


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the programs of this test, linked statically."""
    directory = tmp_path_factory.mktemp("programs")
    for name in ("churn", "probe"):
        source = Path(__file__).with_name(f"{name}.c")
        done = processes.run(
            [*host_compiler(static=True), "-O1", "-static-pie", "-o", directory / name, source]
        )
        if done.returncode:
            pytest.skip(f"no C compiler: {done.stderr.strip()}")
    (directory / "server").write_text(SERVER)
    (directory / "server").chmod(0o755)
    return directory


def seen(verdict: Verdict) -> tuple[Result, Outcome | None, str]:
    assert verdict.observed, str(verdict)
    return verdict.result, verdict.observed.outcome, verdict.observed.evidence["ending"]


def short_timeout(guest: OpenGuest) -> float:
    """Return a timeout, which is 15 times as long in an emulated guest; the program may run twice."""
    return 0.2 if guest.name.startswith("qemu") else 1


def test_a_program_that_says_that_it_is_ready_and_ends_starts(guest: OpenGuest) -> None:
    for _ in range(20):
        verdict = guest.run_cell("/bin/echo", "ok", ready_pattern="ok")
        assert verdict.passed, str(verdict)


def test_a_program_gets_long_arguments_and_variables(guest: OpenGuest) -> None:
    """A command line of SSH has at most 9,000 bytes, and a UML line stalls at 4,095."""
    script = 'echo "${#1} ${#2} ${#LONG}"'
    verdict = guest.run_cell(
        "/bin/sh", "-c", script, "sh", "x" * 5_000, "y" * 100_000,
        environment={"LONG": "z" * 5_000}, expect="says:^5000 100000 5000$",
    )  # fmt: skip
    assert verdict.result is Result.PASS, str(verdict)
    assert "arguments of" not in verdict.reason


@pytest.mark.parametrize("count", [1, 40], ids=["one argument", "all arguments"])
def test_arguments_that_the_kernel_refuses_are_an_error_of_usage(
    count: int, guest: OpenGuest
) -> None:
    words = ["x" * (150_000 if count == 1 else 100_000)] * count
    verdict = guest.run_cell("/bin/true", *words)
    assert (verdict.result, verdict.blame) == (Result.ERROR, Blame.USAGE), str(verdict)
    [finding] = verdict.findings
    assert finding.code is Code.USAGE_ERROR
    assert finding.text.startswith("the kernel refuses arguments of")
    assert "--stdin" in verdict.remedy


def test_maps_and_trace_are_of_one_moment(guest: OpenGuest, compiled: Path) -> None:
    for _ in range(2 if guest.name.startswith("qemu") else 5):
        verdict = guest.run_cell(compiled / "churn", timeout=short_timeout(guest) / 2)
        assert (verdict.result, verdict.findings) == (Result.PASS, ()), str(verdict)
        assert verdict.observed
        assert "stopped" not in verdict.observed.evidence  # then they were compared


def test_a_server_is_ready_when_it_is_idle(guest: OpenGuest, compiled: Path) -> None:
    started = time.monotonic()
    result, outcome, ending = seen(guest.run_cell(compiled / "server"))
    assert (result, outcome) == (Result.PASS, Outcome.STARTS)
    assert "it was ready" in ending
    assert "it waits in" in ending
    assert "2 threads" in ending
    if guest.name == "native":
        assert time.monotonic() - started < 3


READY = """#!/usr/bin/python3
import os, socket, sys, time
time.sleep(0.3)
if sys.argv[1] == "port":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 8099))
    listener.listen()
elif sys.argv[1] == "file":
    open("/tmp/ready.pid", "w").close()
elif sys.argv[1] == "notify":
    name = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"STATUS=up\\nREADY=1", name)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"ready_port": 8099}, "it listens on its port"),
        ({"ready_file": "/tmp/ready.pid"}, "its file is there"),
        ({"ready_notify": True}, "it has sent READY=1"),
    ],
    ids=["port", "file", "notify"],
)
def test_a_ready_condition_is_seen_by_the_agent(
    guest: OpenGuest, tmp_path: Path, condition: CellOptions, said: str
) -> None:
    program = tmp_path / "ready"
    program.write_text(READY)
    program.chmod(0o755)
    word = next(iter(condition)).removeprefix("ready_")
    result, outcome, ending = seen(guest.run_cell(program, word, timeout=5, **condition))
    assert (result, outcome) == (Result.PASS, Outcome.STARTS)
    assert said in ending
    result, outcome, _ = seen(
        guest.run_cell(program, "none", timeout=short_timeout(guest), **condition)
    )
    assert (result, outcome) == (Result.FAIL, Outcome.HANGS)


def test_a_program_that_sleeps_is_not_idle(guest: OpenGuest) -> None:
    result, outcome, ending = seen(guest.run_cell("/bin/sleep", "60", timeout=short_timeout(guest)))
    assert (result, outcome) == (Result.PASS, Outcome.STARTS)
    assert "it was still running" in ending
    assert "it waits in" in ending
    verdict = guest.run_cell("/bin/sh", "-c", "sleep 0.6; exit 5")
    assert verdict.observed
    assert (verdict.observed.outcome, verdict.observed.status) == (Outcome.DIES, 5)


def test_a_program_that_computes_starts(guest: OpenGuest) -> None:
    result, outcome, ending = seen(
        guest.run_cell("/bin/sh", "-c", "while :; do :; done", timeout=short_timeout(guest))
    )
    assert (result, outcome) == (Result.PASS, Outcome.STARTS)
    assert "(it runs)" in ending


def test_a_program_whose_reservations_are_all_refused_hangs(
    guest: OpenGuest, compiled: Path
) -> None:
    verdict = guest.run_cell(
        compiled / "probe", limits="rlimit_as=100M", timeout=short_timeout(guest)
    )
    assert verdict.observed
    assert verdict.result is Result.FAIL
    assert verdict.observed.outcome is Outcome.HANGS, str(verdict)
    assert verdict.observed.path is ReservationPath.REFUSED
    assert "all its large reservations were refused" in str(verdict.observed)


def test_a_script_whose_child_died_by_a_signal(guest: OpenGuest, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nsh -c 'kill -SEGV $$'\nexit $?\n")
    script.chmod(0o755)
    verdict = guest.run_cell(script, expect="status:139")
    _, outcome, ending = seen(verdict)
    assert outcome is Outcome.DIES
    assert ending == "status 139: a child was probably killed by SIGSEGV"


@pytest.mark.uml
@pytest.mark.timeout(600)  # 281 s on a busy machine
def test_more_pages_than_the_host_maps_hang(tmp_path: Path) -> None:
    """UML 7.2 ignores that the host refuses a mapping: the page fault repeats without end."""
    if int(Path("/proc/sys/vm/max_map_count").read_text()) > 80_000:
        pytest.skip("the host maps all pages of the program: vm.max_map_count is above 80,000")
    program = tmp_path / "scattered_pages"
    source = Path(__file__).with_name("scattered_pages.c")
    done = processes.run([*host_compiler(static=True), "-O1", "-static-pie", "-o", program, source])
    if done.returncode:
        pytest.skip(f"no C compiler: {done.stderr.strip()}")
    with open_guest("uml-7.2") as opened:
        # On a busy machine it takes longer until all mappings of the host are used.
        for timeout in (10, 60):
            started = time.monotonic()
            verdict = opened.run_cell(program, timeout=timeout)
            assert time.monotonic() - started < 4 * timeout + 50
            assert verdict.observed
            if verdict.observed.outcome is Outcome.HANGS:
                break
        assert verdict.observed.outcome is Outcome.HANGS, str(verdict)
        assert "its page faults give it no memory" in str(verdict.observed)


# what a program prints in the last moment before its kernel stops never leaves the guest
CRASH = (
    "/bin/sh", "-c", "echo about to crash; sleep 1; echo c > /proc/sysrq-trigger; sleep 60",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expect", "result"),
    [
        ("uml-6.1", "panics:sysrq triggered crash", Result.PASS),
        ("uml-7.2", "panics:sysrq triggered crash", Result.PASS),
        ("uml-7.2", "panics:another reason", Result.FAIL),
        ("uml-7.2", "starts", Result.ERROR),
    ],
)
def test_a_guest_that_panics_under_the_program(name: str, expect: str, result: Result) -> None:
    with open_guest(name) as guest:
        verdict = guest.run_cell(*CRASH, expect=expect)
        assert verdict.result is result, str(verdict)
        assert verdict.console.startswith("Kernel panic") or "sysrq" in verdict.console[:300]
        assert "Kernel panic - not syncing: sysrq triggered crash" in verdict.console
        assert guest.booted.damaged
        assert Path(verdict.artefacts, "stdout").read_text() == "about to crash\n"
        assert any("it had printed: about to crash" in note for note in verdict.notes)


def test_a_guest_that_was_to_panic_and_does_not(guest: OpenGuest) -> None:
    assert guest.run_cell("/bin/true", expect="panics:").result is Result.FAIL


@pytest.mark.parametrize("name", ["uml-7.2", "qemu-x86_64"])
def test_a_fault_of_the_kernel_is_a_finding(name: str) -> None:
    message = "BUG: Bad page map in process server  pte:8000 pmd:1000"
    with open_guest(name) as guest:
        sound = guest.run_cell("/bin/true")
        assert sound.passed, str(sound)
        verdict = guest.run_cell("/bin/sh", "-c", f"echo '<1>{message}' > /dev/kmsg")
        assert verdict.result is Result.FAIL
        assert [each.code for each in verdict.findings] == [Code.GUEST_KERNEL_WARNING]
        assert message in verdict.findings[0].text
        assert guest.booted.damaged
        tainted = guest.run_cell("/bin/sh", "-c", "echo 512 > /proc/sys/kernel/tainted")
        assert Code.GUEST_TAINT in [each.code for each in tainted.findings]
        assert "The taint of the kernel changed from" in str(tainted)
