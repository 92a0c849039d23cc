"""The smallest limit under which each program starts, over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.results_db.models import StoredCell, StoredThreshold
from foothold_lab.harness.threshold.bisection import Edge, Search, Threshold

_NEAR = 1 / 16  # of a size: the precision of a search is a 64th, and ASLR adds to it


@dataclass(frozen=True, kw_only=True)
class ThresholdLine:
    """One kind of limit: its thresholds that differ from the one before, the oldest first.

    `count` is how often it was searched for.
    """

    kind: str
    steps: tuple[StoredThreshold, ...]
    count: int

    @property
    def newest(self) -> StoredThreshold:
        """The threshold that holds now."""
        return self.steps[-1]

    @property
    def earlier(self) -> tuple[StoredThreshold, ...]:
        """The thresholds before it, the newest first."""
        return self.steps[-2::-1]


class ThresholdBook:
    """The thresholds of all programs in all guests."""

    def __init__(self, thresholds: Iterable[StoredThreshold]) -> None:
        found: dict[tuple[str, str, str], dict[str, list[StoredThreshold]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for each in thresholds:
            found[each.guest, each.subject, each.policy][each.kind].append(each)
        self._lines: Mapping[tuple[str, str, str], list[ThresholdLine]] = {
            key: [_line(kind, line) for kind, line in kinds.items()] for key, kinds in found.items()
        }

    def of(self, cell: StoredCell) -> list[ThresholdLine]:
        """Return the thresholds of the program of a cell that has no limit, or a limit of that kind."""
        lines = self._lines.get((cell.guest, cell.subject, cell.policy), [])
        return [each for each in lines if cell.limits == str(Limits()) or each.kind in cell.limits]

    def changes(self) -> list[ThresholdLine]:
        """Return the lines whose thresholds changed, the last change first."""
        lines = [each for lines in self._lines.values() for each in lines if each.earlier]
        return sorted(lines, key=lambda each: -each.newest.at)


def describe(threshold: StoredThreshold) -> str:
    """Return a threshold in a few words."""
    try:
        edge = Edge(threshold.edge)
    except ValueError:  # of another Foothold
        return threshold.edge
    search = Search(edge=edge, smallest=threshold.smallest, largest=threshold.largest, probes=())
    return str(
        Threshold(
            guest=threshold.guest,
            subject=threshold.subject,
            policy=threshold.policy,
            kind=threshold.kind,
            search=search,
        )
    )


def _line(kind: str, found: Sequence[StoredThreshold]) -> ThresholdLine:
    steps = [found[0]]
    for each in found[1:]:
        if _differs(steps[-1], each):
            steps.append(each)
    return ThresholdLine(kind=kind, steps=tuple(steps), count=len(found))


def _differs(before: StoredThreshold, now: StoredThreshold) -> bool:
    if before.edge != now.edge or not (before.smallest and now.smallest):
        return (before.edge, before.smallest) != (now.edge, now.smallest)
    return abs(now.smallest - before.smallest) > _NEAR * before.smallest
