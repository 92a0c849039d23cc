"""Guests that die, hang, flood and vanish: reported with cause, console and command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foothold_lab.harness.guests.architectures import X86_64
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.qemu import Qemu, QemuKernel
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, SubjectError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Outcome, ReservationPath, Result
from foothold_lab.harness.transport import console
from foothold_lab.images.builder import Builder
from tests.guests.conftest import BootGuest, happen

MakeUml = Callable[..., VirtualMachine]


def boot_failure(guest: VirtualMachine, seconds: float) -> GuestError:
    try:
        with pytest.raises(GuestError) as caught:
            guest.boot(Deadline.after(seconds))
        return caught.value
    finally:
        guest.stop()


def test_reports_a_panic_at_boot_at_once(place: GuestConfig, uml: MakeUml) -> None:
    started = time.monotonic()
    error = boot_failure(uml(place, append=["init=/nowhere"]), 60)
    assert time.monotonic() - started < 30, "it must not wait for the deadline"
    assert "kernel panic: Requested init /nowhere failed" in str(error)
    assert "Kernel panic" in error.console
    assert any("init=/nowhere" in word for word in error.argv)
    assert "Kernel panic" in (place.directory / "console.log").read_text(errors="replace")


def test_reports_a_panic_under_qemu(place: GuestConfig) -> None:
    kernel = QemuKernel(append=("rdinit=/nowhere", "root=/none"))
    guest = VirtualMachine("q", Qemu(X86_64, place, kernel, accelerators=["tcg"]))
    error = boot_failure(guest, 120)
    assert "panic" in str(error) or "no root file system" in str(error)
    assert error.console


def test_stops_a_guest_that_hangs_silently(place: GuestConfig, uml: MakeUml) -> None:
    started = time.monotonic()
    error = boot_failure(uml(place, append=["init=/bin/cat"]), 3)
    assert 2.5 < time.monotonic() - started < 20
    assert "before its deadline" in str(error)


def test_rejects_a_file_that_is_not_a_kernel(
    place: GuestConfig, uml: MakeUml, tmp_path: Path
) -> None:
    fake = tmp_path / "linux"
    fake.write_text("#!/bin/sh\nexit 0\n")
    assert "not an ELF program" in str(boot_failure(uml(place, custom=fake), 10))
    assert "is not a file" in str(boot_failure(uml(place, custom=tmp_path / "absent"), 10))


def test_reports_an_elf_program_that_is_not_a_kernel(
    place: GuestConfig, uml: MakeUml, builder: Builder
) -> None:
    error = boot_failure(uml(place, custom=builder.image("agent") / "agent"), 10)
    assert "ended by itself, status 120" in str(error)
    assert "usage: agent" in error.console


def test_stops_a_guest_that_floods_its_console(
    place: GuestConfig, uml: MakeUml, boot: BootGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a UML console takes about 80 kB/s, and once took 0.4 kB/s: the bound of 16 MiB would take minutes
    monkeypatch.setattr(console, "MOST", 20_000)
    guest = uml(place)
    boot(guest)
    flood = ["/bin/sh", "-c", "yes | head -c 1000000000 > /dev/console"]
    with pytest.raises(GuestError, match="flooded its console"):
        run_program(guest, flood, Limits(), Deadline.after(120))
    assert (place.directory / "console.log").stat().st_size == 20_000


def test_reports_a_guest_that_powers_off_under_a_subject(
    place: GuestConfig, uml: MakeUml, boot: BootGuest
) -> None:
    guest = uml(place)
    boot(guest)
    with pytest.raises(GuestError, match="ended by itself, status 0"):
        run_program(guest, ["/bin/busybox", "poweroff", "-f"], Limits(), Deadline.after(60))


def test_kills_a_subject_at_the_deadline_but_not_the_guest(
    place: GuestConfig, uml: MakeUml, boot: BootGuest
) -> None:
    guest = uml(place)
    boot(guest)
    with pytest.raises(SubjectError, match="still running after"):
        run_program(guest, ["/bin/busybox", "sleep", "1000"], Limits(), Deadline.after(1))
    left = run_program(guest, ["/bin/busybox", "ps"], Limits(), Deadline.after(60))
    assert b"sleep" not in left.stdout


def test_cuts_the_output_of_a_subject_that_prints_too_much(
    place: GuestConfig, uml: MakeUml, boot: BootGuest
) -> None:
    guest = uml(place)
    boot(guest)
    argv = ["/bin/sh", "-c", "yes | head -c 9000000"]
    record = run_program(guest, argv, Limits(), Deadline.after(120))
    assert (record.ending.status, record.cut, len(record.stdout)) == (0, ("stdout",), 4 << 20)
    assert (
        run_program(guest, ["/bin/busybox", "true"], Limits(), Deadline.after(60)).ending.status
        == 0
    )


def test_reports_a_subject_that_does_not_exist(
    place: GuestConfig, uml: MakeUml, boot: BootGuest
) -> None:
    guest = uml(place)
    boot(guest)
    with pytest.raises(SubjectError, match="cannot execute /nowhere: No such file"):
        run_program(guest, ["/nowhere"], Limits(), Deadline.after(60))


def test_kills_processes_that_outlive_a_subject(
    place: GuestConfig, uml: MakeUml, boot: BootGuest
) -> None:
    guest = uml(place)
    boot(guest)
    daemon = ["/bin/sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo started"]
    record = run_program(guest, daemon, Limits(), Deadline.after(60))
    assert record.stdout == b"started\n"
    assert record.ending.outlived >= 1
    assert (
        b"sleep"
        not in run_program(guest, ["/bin/busybox", "ps"], Limits(), Deadline.after(60)).stdout
    )


def test_applies_a_limit_to_the_subject(place: GuestConfig, uml: MakeUml, boot: BootGuest) -> None:
    guest = uml(place)
    boot(guest)
    record = run_program(
        guest, ["/bin/sh", "-c", "ulimit -v"], Limits(rlimit_as=300 << 20), Deadline.after(60)
    )
    assert record.stdout == b"307200\n"


def test_hides_the_host_from_a_guest(
    place: GuestConfig, uml: MakeUml, boot: BootGuest, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("of the host")
    guest = uml(place)
    boot(guest)
    if any("not confined" in note for note in guest.boot_record.notes):
        pytest.skip("this host refuses namespaces")
    script = (
        "mkdir -p /tmp/h; mount -t hostfs none /tmp/h -o /; ls /tmp/h /tmp/h/etc; ls /sys/class/net"
    )
    record = run_program(guest, ["/bin/sh", "-c", script], Limits(), Deadline.after(60))
    assert b"run" in record.stdout, "the mount itself works: it is the host that is not there"
    assert b"etc" not in record.stdout.split()
    # of the directories of the host, only those above the image store and the share exist
    above = {str(each) for path in (place.builder.cache.root, place.share) for each in path.parents}
    has_home = b"home" in record.stdout.split()
    assert has_home is ("/home" in above)
    listed = ["/bin/sh", "-c", "cd /tmp/h/home 2>/dev/null && ls -A"]
    homes = run_program(guest, listed, Limits(), Deadline.after(60)).stdout.decode().split()
    assert {f"/home/{name}" for name in homes} <= above
    script = (
        f"cat /tmp/h{tmp_path}/secret /tmp/h/../../..{tmp_path}/secret; ls -d /sys/class/net/eth*"
    )
    record = run_program(guest, ["/bin/sh", "-c", script], Limits(), Deadline.after(60))
    assert record.stdout == b""


def test_copies_files_in_and_out(
    place: GuestConfig, uml: MakeUml, boot: BootGuest, tmp_path: Path
) -> None:
    guest = uml(place)
    boot(guest)
    data = bytes(range(256)) * 1000
    (tmp_path / "in").write_bytes(data)
    guest.push(tmp_path / "in", "/tmp/file")
    guest.pull("/tmp/file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.uml
def test_a_run_continues_after_a_guest_died(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell under which the guest went is an error; the others get a guest of their own."""
    from foothold_lab.harness import subjects

    guest = f"uml-{builder.kernel_release('uml-trixie')}"
    cells = [Cell(guest=guest, limits=Limits(), policy=policy) for policy in ("before", "after")]
    real = subjects.command
    monkeypatch.setattr(
        subjects,
        "command",
        lambda subject, cell, paths, *, trace: (
            ("/bin/busybox", "poweroff", "-f")
            if cell.policy == "before"
            else real(subject, cell, paths, trace=trace)
        ),
    )
    happened = happen(cells, builder, tmp_path)
    hurt, whole = (happened.verdicts[cell.id] for cell in cells)
    assert hurt.result is Result.ERROR
    assert hurt.findings[0].code is Code.GUEST_DIED
    assert whole.result is Result.PASS
    assert whole.observed
    assert (whole.observed.path, whole.observed.outcome) == (ReservationPath.LOW, Outcome.ALLOCATES)
