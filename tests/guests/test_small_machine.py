"""A machine with little memory: one guest after another, and all of them come to their verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.events import GuestBooting, GuestStopped
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.runner import guest_pool
from foothold_lab.images.builder import Builder
from tests.guests.conftest import happen

GUESTS = ("qemu-x86_64", "uml-bookworm", "uml-testing", "native")


@pytest.mark.uml
@pytest.mark.parametrize(
    ("memory", "at_once"),
    [
        (100, 1),  # MiB: less than any of them needs
        (600, 2),  # what 2 GB may have left
    ],
)
def test_runs_all_guests_within_the_memory(
    memory: int, at_once: int, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_pool, "available_memory", lambda: memory)
    cells = [
        Cell(guest=known_guests(builder)[name], limits=Limits(), policy="after") for name in GUESTS
    ]
    happened = happen(cells, builder, tmp_path, jobs=3)
    assert [happened.verdicts[cell.id].result for cell in cells] == [Result.PASS] * len(cells)
    alive, most = set(), 0
    for event in happened.events:
        if isinstance(event, GuestBooting):
            alive.add(event.boot)
        elif isinstance(event, GuestStopped):
            alive.discard(event.boot)
        most = max(most, len(alive))
    assert most <= at_once
