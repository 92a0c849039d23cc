"""Guests that stay booted know which files they have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.model import events
from foothold_lab.harness.runner import RunOptions, kept_guests
from foothold_lab.harness.runner.booted_guest import BootedGuest, BootRequest
from foothold_lab.harness.runner.kept_guests import KeptGuests
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder


class FakeGuest:
    """A guest that is there at once."""


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_replaced_during_the_boot_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"old")
    subject = Subject(name="program", files={"program": program})
    builder = Builder()
    options = RunOptions(directory=tmp_path, builder=builder)

    @contextlib.contextmanager
    def boot(request: BootRequest, *_: object) -> Iterator[BootedGuest]:
        guest: Any = FakeGuest()
        facts: Any = None
        if replaced:
            program.write_bytes(b"new")
        yield BootedGuest(
            kind=request.kind, guest=guest, facts=facts, directory=tmp_path, options=options
        )

    monkeypatch.setattr(kept_guests, "boot_guest", boot)
    kind = catalogue(builder)["native"]
    request = BootRequest(kind=kind, boot="native", processor=0, subjects=[subject])
    heard: list[events.AnyEvent] = []
    with KeptGuests() as guests:
        booted = guests.take(request, options, heard.append)
        assert booted.deployed == ({} if replaced else {subject.place: subjects.content(subject)})
