"""What the report of a failed test shows of its guests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.model.verdict import Verdict

_USED: pytest.StashKey[list[tuple[OpenGuest, int]]] = pytest.StashKey()
_MAPS_LINES = 60


def note_use(item: pytest.Item, guest: OpenGuest) -> None:
    """Note that a test uses a guest, which may have run cells of other tests before."""
    item.stash.setdefault(_USED, []).append((guest, len(guest.verdicts)))


def sections(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Return titles and texts: the console of each guest, and the evidence of the test's last cell."""
    for guest, cells_before in item.stash.get(_USED, []):
        yield f"console of {guest.name}", guest.console or "(silent)"
        for verdict in guest.verdicts[cells_before:][-1:]:
            yield f"last cell of {guest.name}", "\n".join(_lines(verdict))
            yield from _maps(verdict)


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"{verdict.cell}: {verdict.result}"
    yield from map(str, verdict.findings)
    yield from verdict.notes
    if verdict.observed:
        yield from (f"{witness}: {saw}" for witness, saw in verdict.observed.evidence.items())


def _maps(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Return the last maps of the program that were read."""
    for maps in sorted(Path(verdict.artefacts).glob("maps-*"))[-1:] if verdict.artefacts else ():
        lines = maps.read_text().splitlines()
        more = [f"… {len(lines) - _MAPS_LINES} more lines"] if len(lines) > _MAPS_LINES else []
        yield f"{maps.name} of {verdict.cell}", "\n".join(lines[:_MAPS_LINES] + more)
