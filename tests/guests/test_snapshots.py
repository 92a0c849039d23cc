"""Snapshots: restored guests differ where they must; a broken snapshot is replaced."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.architectures import X86_64
from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.qemu import Qemu
from foothold_lab.harness.guests.snapshot import Snapshot
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.limits import Limits
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from tests.guests.conftest import BootGuest

ASK = """
import hashlib, os, time
key = open("/share/hostkey", "rb").read()
maps = open("/proc/self/maps").read()
print(time.time(), open("/proc/sys/kernel/random/uuid").read().strip(), os.urandom(16).hex(),
      hashlib.sha256(key).hexdigest(), maps.splitlines()[-3].split()[0])
"""


def emulated(place: GuestConfig, name: str) -> VirtualMachine:
    directory = place.directory / name
    (directory / "share").mkdir(parents=True)
    config = replace(place, directory=directory, share=directory / "share")
    return VirtualMachine("qemu-x86_64", Qemu(X86_64, config, accelerators=("tcg",)))


def asked(guest: Guest) -> list[str]:
    record = run_program(guest, [guest.paths.python, "-c", ASK], Limits(), Deadline.after(120))
    return record.stdout.decode().split()


def test_two_guests_from_one_snapshot_differ(place: GuestConfig, boot: BootGuest) -> None:
    one, other = emulated(place, "one"), emulated(place, "other")
    boot(one)
    boot(other)  # while the first one lives
    assert one.boot_record.provenance["snapshot"] == other.boot_record.provenance["snapshot"]
    before = time.time()
    first, second = asked(one), asked(other)
    for answer in (first, second):
        assert abs(float(answer[0]) - before) < 60  # the clock is of today
    for what, mine, theirs in zip(
        ("uuid", "random bytes", "host key", "stack"), first[1:5], second[1:5], strict=True
    ):
        assert mine != theirs, f"the same {what} twice"


def test_a_guest_does_not_change_the_snapshot(place: GuestConfig, boot: BootGuest) -> None:
    one, other = emulated(place, "one"), emulated(place, "other")
    boot(one)
    saved = place.builder.cache.root / "store" / one.boot_record.provenance["snapshot"]
    was = (saved / "memory").stat().st_mtime_ns
    wrote = run_program(
        one, ["/bin/sh", "-c", "echo mine > /etc/mark"], Limits(), Deadline.after(60)
    )
    assert wrote.ending.status == 0
    boot(other)
    looked = run_program(other, ["/bin/cat", "/etc/mark"], Limits(), Deadline.after(60))
    assert looked.ending.status != 0
    assert (saved / "memory").stat().st_mtime_ns == was


@pytest.mark.parametrize("broken", ["state", "memory"])
def test_removes_a_broken_snapshot(
    broken: str,
    place: GuestConfig,
    boot: BootGuest,
    builder: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a cache of its own for the snapshot alone, which is broken as soon as it is made
    cache = Cache(tmp_path / "cache")

    def obtain(name: str, key: str, build, *, space: int = 0):  # type: ignore[no-untyped-def]
        def spoil(directory: Path) -> object:
            made = build(directory)
            file = getattr(Snapshot(directory), broken)
            with file.open("r+b") as out:
                if broken == "state":
                    out.truncate(file.stat().st_size // 2)
                else:  # the kernel's own text and data
                    for at in range(0x1000000, 0x4000000, 1 << 20):
                        os.pwrite(out.fileno(), bytes(1 << 19), at)
            return made

        return cache.obtain(name, key, spoil, space=space)

    monkeypatch.setattr(builder, "obtain", obtain)
    guest = emulated(place, "one")
    boot(guest)
    assert asked(guest)
    [note] = guest.boot_record.notes
    assert note.startswith("booted without a snapshot, which was removed: "), note
    assert "snapshot" not in guest.boot_record.provenance
    assert not list(cache.entries())


def test_a_cold_boot_when_asked_for(place: GuestConfig, boot: BootGuest) -> None:
    guest = emulated(replace(place, snapshots=False), "one")
    boot(guest)
    assert "snapshot" not in guest.boot_record.provenance
    assert not guest.boot_record.notes
