"""Guests that are a sandbox for each program: gVisor, bubblewrap, systemd-nspawn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.bubblewrap import needs
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.images.builder import Builder
from tests.guests.conftest import open_or_skip
from tests.guests.processes import living, wait_until_gone
from tests.host_compiler import host_compiler

GVISOR = ("gvisor", "gvisor-ptrace")
GUESTS = (*GVISOR, "bubblewrap", "nspawn")


@pytest.fixture(scope="module", params=GUESTS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[OpenGuest]:
    with open_or_skip(request.param) as guest:
        yield guest


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("program") / "in_sandbox"
    source = Path(__file__).with_name("in_sandbox.c")
    subprocess.run([*host_compiler(), "-O1", "-o", made, source], check=True)
    return made


def passed(verdict: Verdict) -> Verdict:
    assert verdict.result is Result.PASS, str(verdict)
    assert not any("not traced" in note for note in verdict.notes)
    return verdict


def test_a_subject_reaches_nothing_of_the_host(
    sandbox: OpenGuest, program: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    verdict = passed(sandbox.run_cell(program, str(secret), str(os.getpid())))
    assert verdict.observed
    assert str(verdict.observed.path) == "high"
    place = Path(verdict.artefacts)
    said = (place / "stdout").read_text()
    assert "file of the host: No such file or directory\n" in said
    assert "process of the host: No such process\n" in said
    assert "interfaces: 0\n" in said
    assert not re.search(r"write /(share/written|init): done", said), said
    if sandbox.name not in GVISOR:  # its /proc is that of its own kernel
        assert said.count("may write /") == 5
        assert not re.search(r"may write \S+: yes", said), said
    assert "write kept: done\n" in said
    assert (place / "files/kept").read_text() == "x"
    assert not (sandbox.directory / "guests" / sandbox.name / "share/written").exists()


def test_a_subject_cannot_reach_the_agent(sandbox: OpenGuest) -> None:
    read = "head -c 1 /proc/$PPID/mem || exit 7"
    passed(sandbox.run_cell("guest:/bin/busybox", "sh", "-c", read, expect="status:7"))
    write = "echo forged > /proc/$PPID/fd/1 || exit 7"
    verdict = sandbox.run_cell("guest:/bin/busybox", "sh", "-c", write, expect="status:7")
    if sandbox.name in GVISOR:  # it lets root open the pipe of another process: the seal finds it
        assert [each.code for each in verdict.findings] == [Code.SUBJECT_FORGED]
    else:
        passed(verdict)


def test_nothing_of_a_cell_stays_for_the_next(sandbox: OpenGuest, builder: Builder) -> None:
    passwd = builder.image("root") / "etc/passwd"
    before = passwd.read_bytes()
    leave = "echo changed >> /etc/passwd; touch /tmp/left /run/left /left; true"
    passed(sandbox.run_cell("guest:/bin/busybox", "sh", "-c", leave))
    look = "! grep changed /etc/passwd && ! ls /tmp/left /run/left /left"
    passed(sandbox.run_cell("guest:/bin/busybox", "sh", "-c", look))
    assert passwd.read_bytes() == before


@pytest.mark.parametrize("policy", ["before", "after"])
def test_the_oracle_predicts_the_allocator(sandbox: OpenGuest, policy: str) -> None:
    for limits in ("none", "rlimit_as=300M"):
        verdict = passed(sandbox.run_cell(policy=policy, limits=limits))
        assert verdict.predicted, str(verdict)


def test_rlimit_as_is_enforced(sandbox: OpenGuest, program: Path) -> None:
    arguments = (str(program), str(os.getpid()))
    passed(sandbox.run_cell(program, *arguments, limits="rlimit_as=48M", expect="status:9"))


def test_noreplace_is_only_a_hint_in_gvisor(sandbox: OpenGuest, tmp_path: Path) -> None:
    """The release of Debian has google/gvisor#14008; the ledger says what the kernel did."""
    program = tmp_path / "noreplace"
    source = Path(__file__).with_name("noreplace.c")
    subprocess.run(
        [*host_compiler(static=True), "-O1", "-static", "-o", program, source], check=True
    )
    verdict = passed(sandbox.run_cell(program))
    assert verdict.observed
    said = (Path(verdict.artefacts) / "stdout").read_text()
    ledger = verdict.observed.evidence["trace"]
    if sandbox.name in GVISOR:
        assert said == "moved\n"
        assert "64M --- at exactly 0xf800000000: moved" in ledger
    else:
        assert said == "File exists\n"
        assert "64M --- at exactly 0xf800000000: refused, EEXIST" in ledger


def test_leaves_no_process(sandbox: OpenGuest, program: Path) -> None:
    passed(sandbox.run_cell("guest:/bin/busybox", "sleep", "1000", timeout=0.3))
    words = sandbox.guest.boot_record.argv
    places = (str(sandbox.directory), *(word[7:] for word in words if word.startswith("--root=")))
    assert [living(Path(each)) for each in places] == [[] for _ in places]


@pytest.mark.parametrize("name", GUESTS)
def test_a_killed_run_leaves_no_sandbox(name: str, tmp_path: Path) -> None:
    words = (
        "--guest",
        name,
        "--limit",
        "none",
        "--subject",
        "guest:/bin/busybox",
        "--arg",
        "sleep",
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "foothold_lab.harness.cli", "run", *words, "--arg", "1000",
         "--timeout", "60", "--ready-pattern", "never", "--run-dir", tmp_path / "run"],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while run.poll() is None and len(living(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    if run.poll() is not None:
        pytest.skip(f"{name} did not start: {run.communicate()}")
    run.kill()
    run.communicate()
    assert wait_until_gone(tmp_path, 10) == []


@pytest.mark.parametrize("guest", ["bubblewrap", "nspawn"])
def test_the_bwrap_of_this_machine_is_used_if_there_is_one(
    guest: str, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = builder.image("bubblewrap") / "usr/bin/bwrap"
    (tmp_path / "bwrap").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert not needs()
    with open_or_skip(guest) as opened:
        passed(opened.run_cell("guest:/bin/busybox", "true", expect="status:0"))


def test_no_cgroup_of_a_cell_stays(sandbox: OpenGuest) -> None:
    """On a host with both versions systemd-nspawn makes another one, of version 1."""
    passed(sandbox.run_cell("guest:/bin/busybox", "true", expect="status:0"))
    assert not [*Path("/sys/fs/cgroup").rglob(f"foothold-{os.getpid()}-*")]
