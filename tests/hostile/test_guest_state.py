"""A subject that changes its guest, or leaves a limit: the next cell is not spoiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.model.events import GuestReady
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from tests.hostile.conftest import Attack, Attackers

GUESTS = ("uml-6.1", "uml-7.2", "qemu-x86_64")
CHANGES = {
    "max-map-count": "echo 60 > /proc/sys/vm/max_map_count",
    "overcommit": "echo 2 > /proc/sys/vm/overcommit_memory",
    "overcommit-limit": "echo 65536 > /proc/sys/vm/overcommit_kbytes",
    "low-addresses": "echo 1048576 > /proc/sys/vm/mmap_min_addr",
    "randomisation": "echo 0 > /proc/sys/kernel/randomize_va_space",
    "clock": "date -s 2001-01-01 >/dev/null",
    "device": "chmod 600 /dev/null",
}
NAMES = {
    "max-map-count": "max_map_count was", "overcommit": "overcommit_memory was",
    "overcommit-limit": "CommitLimit: was",
    "low-addresses": "mmap_min_addr was", "randomisation": "randomize_va_space was",
    "clock": "clock was", "device": "/dev/null was",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("guest", GUESTS)
def test_replaces_a_guest_that_a_cell_has_changed(
    guest: str, change: str, attackers: Attackers
) -> None:
    vandal = Attack(attackers.script("a-vandal", CHANGES[change]))
    victim = Attack(attackers.script("b-victim", "exit 0"))
    done = attackers.run(guest, vandal, victim)
    first, second = done.verdicts.values()
    assert (first.result, second.result) == (Result.PASS, Result.PASS)
    [note] = [each for each in first.notes if f"[{Code.GUEST_CHANGED}]" in each]
    assert NAMES[change] in note
    assert any("fresh boot" in each and "a-vandal" in each for each in second.notes)
    assert sum(isinstance(each, GuestReady) for each in done.events) == 2


SETTINGS = {
    "/proc/sys/vm/swappiness": "1",
    "/proc/sys/kernel/core_pattern": "|/bin/false",
    "/proc/sys/kernel/threads-max": "500",
    "/proc/sys/fs/inotify/max_queued_events": "1",
}


@pytest.mark.parametrize("guest", GUESTS)
def test_names_every_setting_that_a_cell_writes(guest: str, attackers: Attackers) -> None:
    """Huge pages are a setting of some kernels only. To drop caches changes nothing."""
    huge = "/sys/kernel/mm/transparent_hugepage/defrag"
    script = "".join(f"echo '{value}' > {name}; " for name, value in SETTINGS.items())
    script += f"[ ! -e {huge} ] || {{ echo never > {huge} && echo changed; }}"
    vandal = Attack(attackers.script("a-vandal", script))
    drop = Attack(attackers.script("b-drop", "echo 1 > /proc/sys/vm/drop_caches"))
    first, second = (done := attackers.run(guest, vandal, drop)).verdicts.values()
    printed = (Path(first.artefacts) / "stdout").read_text()
    named = [*SETTINGS, huge] if printed else [*SETTINGS]
    [note] = [each for each in first.notes if f"[{Code.GUEST_CHANGED}]" in each]
    assert f"it wrote {', '.join(named)}" in note
    assert any("fresh boot" in each and "a-vandal" in each for each in second.notes)
    assert not [each for each in second.notes if Code.GUEST_CHANGED in each]
    assert sum(isinstance(each, GuestReady) for each in done.events) == 2


@pytest.mark.parametrize("guest", GUESTS)
def test_what_is_mounted_ends_with_the_cell(guest: str, attackers: Attackers) -> None:
    mounts = "mount --bind /dev/null /bin/sh && mount -t tmpfs none /etc"
    done = attackers.run(
        guest,
        Attack(attackers.script("a-vandal", mounts)),
        Attack(attackers.script("b-victim", "[ -e /etc/passwd ]")),
    )
    assert [each.result for each in done.verdicts.values()] == [Result.PASS] * 2


@pytest.mark.parametrize("guest", GUESTS)
def test_keeps_a_guest_that_no_cell_has_changed(guest: str, attackers: Attackers) -> None:
    quiet = [Attack(attackers.script(name, "echo hello > /tmp/mine")) for name in ("a", "b", "c")]
    limited = Attack(attackers.script("d", "exit 0"), limits="memory=64M+max_map_count=500")
    done = attackers.run(guest, *quiet, limited, Attack(attackers.script("e", "exit 0")))
    assert {each.result for each in done.verdicts.values()} == {Result.PASS}
    notes = [note for each in done.verdicts.values() for note in each.notes]
    assert not [note for note in notes if Code.GUEST_CHANGED in note]
    assert sum(isinstance(each, GuestReady) for each in done.events) == 1


@pytest.mark.parametrize("guest", GUESTS)
def test_cannot_leave_its_memory_cgroup(guest: str, attackers: Attackers) -> None:
    leave = Attack(attackers.compile("leave_cgroup"), limits="memory=64M", expect="signal:SIGKILL")
    [verdict] = attackers.run(guest, leave).verdicts.values()
    assert verdict.result is Result.PASS, str(verdict)
