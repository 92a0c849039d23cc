"""Consoles: recorded, bounded, and read for signs of death."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport import console
from foothold_lab.harness.transport.console import Console, diagnose

CONSOLES = Path(__file__).parents[2] / "data" / "consoles"


class Told:
    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self.event = threading.Event()

    def __call__(self, error: GuestError) -> None:
        self.messages.append((error.code, str(error)))
        self.event.set()


def play(tmp_path: Path, data: bytes, told: Told) -> Console:
    """A console on which a guest prints `data` and ends."""
    one = Console(tmp_path / "console.log", told)
    guest = os.dup(one.guest_end)
    one.start()
    view = memoryview(data)
    while view:
        view = view[os.write(guest, view[:65536]) :]
    os.close(guest)
    one.join(30)
    return one


def test_records_every_byte(tmp_path: Path) -> None:
    data = b"a line\r\n\x1b[31mred\x1b[0m \x00\xff\n" + b"x" * 10000
    with play(tmp_path, data, Told()):
        pass
    assert (tmp_path / "console.log").read_bytes() == data


def test_has_everything_that_was_printed_before_drain(tmp_path: Path) -> None:
    one = Console(tmp_path / "log", Told())
    guest = os.dup(one.guest_end)
    one.start()
    for number in range(200):
        os.write(guest, b"%d\n" % number)
        one.drain()
        assert (tmp_path / "log").read_bytes().endswith(b"%d\n" % number)
    os.close(guest)
    one.close()
    one.drain()  # reads nothing


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that a pseudo-terminal reaches in a moment."""
    monkeypatch.setattr(console, "MOST", 1 << 20)


@pytest.mark.usefixtures("small")
def test_bounds_a_flood_on_disk_and_in_memory(tmp_path: Path) -> None:
    told = Told()
    with play(tmp_path, b"y\n" * (1 << 20), told) as one:
        assert len(one._tail) <= console.TAIL
    assert (tmp_path / "console.log").stat().st_size == console.MOST
    assert told.messages == [(Code.GUEST_CONSOLE, "the guest flooded its console: more than 1 MiB")]


@pytest.mark.usefixtures("small")
def test_bounds_a_flood_in_one_line(tmp_path: Path) -> None:
    told = Told()
    with play(tmp_path, b"\0" * (2 << 20), told) as one:
        assert len(one._line) <= console.LONGEST
    assert told.event.is_set()


def test_reports_a_sign_of_death_once_even_in_pieces(tmp_path: Path) -> None:
    told = Told()
    one = Console(tmp_path / "console.log", told)
    guest = os.dup(one.guest_end)
    one.start()
    for piece in (
        b"Kernel pan",
        b"ic - not syn",
        b"cing: no init\nKernel panic - not syncing: two\n",
    ):
        os.write(guest, piece)
    assert told.event.wait(10)
    os.close(guest)
    one.close()
    assert told.messages == [(Code.GUEST_PANIC, "kernel panic: no init")]


def recorded() -> list[Path]:
    return sorted(CONSOLES.glob("*.log"))


@pytest.mark.parametrize("log", recorded(), ids=lambda path: path.stem)
def test_recognises_recorded_consoles(log: Path) -> None:
    """Each real console, and in `.expected` what it must be taken for (`-`: a healthy guest)."""
    found = [
        meaning
        for line in log.read_text(errors="replace").splitlines()
        if (meaning := diagnose(line))
    ]
    expected = log.with_suffix(".expected").read_text().strip()
    assert (str(found[0]) if found else "-") == expected


def test_has_recorded_consoles() -> None:
    assert len(recorded()) >= 6


@pytest.mark.parametrize("line", [b"", b"qemu-system-" * 341], ids=["empty", "almost a death"])
def test_a_flood_takes_little_time(tmp_path: Path, line: bytes) -> None:
    """A guest prints what costs most: 16 MiB of empty lines took 14 s, of the other ones 5 s."""
    told = Told()
    with Console(tmp_path / "console.log", told) as one:
        one.start()
        block = (line + b"\n") * (65536 // (len(line) + 1))
        before = time.thread_time()
        for _ in range(console.MOST // len(block) // 4):
            one._record(block)
        assert time.thread_time() - before < 1
    assert not told.messages


def test_every_sign_of_death_has_its_needle() -> None:
    for death in console.DEATHS:
        assert len(death.needle) >= 4
        assert death.needle.decode() in death.pattern.pattern.replace("\\", "")
