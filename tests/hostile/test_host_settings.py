"""Root in a guest changes settings of its kernel: those of this machine stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.model.verdict import Result
from tests.guests.conftest import open_or_skip

OWN_KERNEL = ("uml-6.1", "uml-7.2", "qemu-x86_64", "gvisor")
KERNEL_OF_HOST = ("bubblewrap", "nspawn", "docker")
COUNTERS = {
    "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/aio-nr",
    "kernel/ns_last_pid", "kernel/pty/nr", "kernel/random/uuid", "kernel/random/entropy_avail",
}  # fmt: skip

# each value differs from the usual one; core_pattern names a program that the kernel executes
WRITE = """
cd /proc/sys
echo '|/bin/false' > kernel/core_pattern
echo changed > kernel/hostname
echo 12345 > kernel/threads-max
echo 1 > kernel/panic
echo 7 > vm/swappiness
echo 12345 > vm/max_map_count
echo 12345 > fs/file-max
exit 0
"""
# Opens without writing, which would change this machine. The guest has a network of its own.
OPEN = """
for file in $(find /proc/sys -type f ! -path '/proc/sys/net/*'); do
    { true >> $file; } 2>/dev/null && echo $file
done
exit 0
"""


def settings() -> dict[str, str]:
    """Return the settings of this machine by name, without counters and networks. A file
    that cannot be written is a statistic.
    """
    root = Path("/proc/sys")
    files = [each for name in ("fs", "kernel", "vm") for each in (root / name).rglob("*")]
    return {
        str(name): _read(path)
        for path in files
        if str(name := path.relative_to(root)) not in COUNTERS
        and path.is_file()
        and path.stat().st_mode & 0o222
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:  # some cannot be read, such as vm/compact_memory
        return str(error)


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator[OpenGuest]:
    with open_or_skip(request.param) as opened:
        yield opened


@pytest.mark.parametrize("guest", OWN_KERNEL, indirect=True)
def test_settings_of_a_guest_are_not_those_of_this_machine(guest: OpenGuest) -> None:
    before = settings()
    assert len(before) > 100
    verdict = guest.run_cell("guest:/bin/sh", "-c", WRITE)
    assert verdict.result is Result.PASS, str(verdict)
    assert settings() == before


@pytest.mark.parametrize("guest", KERNEL_OF_HOST, indirect=True)
def test_settings_of_this_machine_cannot_be_opened_for_writing(guest: OpenGuest) -> None:
    before = settings()
    verdict = guest.run_cell("guest:/bin/busybox", "sh", "-c", OPEN)
    assert verdict.result is Result.PASS, str(verdict)
    assert (Path(verdict.artefacts) / "stdout").read_text() == ""
    assert settings() == before
