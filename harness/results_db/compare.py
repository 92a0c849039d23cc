"""Two runs, side by side: what is new in the second. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.results_db.models import BootRow, KeptCell, Run
from foothold_lab.harness.results_db.reader import Kept
from foothold_lab.harness.results_db.space import lasting, steady
from foothold_lab.harness.results_db.timing_stats import usual


@dataclass(frozen=True)
class Change:
    """What a cell came to before, and now; `finding` is the first of now, if there is one."""

    cell: str
    before: str
    now: str
    finding: str = ""


@dataclass(frozen=True)
class Other:
    """Something that is not what it was, of a guest (a fact, an image, a release) or of the run
    itself (what it was made with, its subjects): then `guest` is empty.
    """

    guest: str
    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Slower:
    """A cell that took longer than noise explains; seconds, `usual` over `samples` earlier runs."""

    cell: str
    seconds: float
    usual: float
    most: float
    samples: int


@dataclass(frozen=True)
class Comparison:
    """What is different in run `b`, seen from run `a`.

    `new_failures` did not fail in `a` or were not in it; `lost` had an answer in `a` and have none
    now; `flaky` came to something else when they were asked again; `made` is what the runs were
    made with, `kernels` are guests whose kernel or images changed under one name.
    """

    a: str
    b: str
    new_failures: tuple[Change, ...]
    repaired: tuple[Change, ...]
    paths: tuple[Change, ...]
    lost: tuple[Change, ...]
    flaky: tuple[str, ...]
    slower: tuple[Slower, ...]
    made: tuple[Other, ...]
    kernels: tuple[Other, ...]
    facts: tuple[Other, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    both: int

    @property
    def same(self) -> bool:
        """Is nothing different?"""
        told = (
            self.new_failures,
            self.repaired,
            self.paths,
            self.lost,
            self.flaky,
            self.slower,
            self.made,
            self.kernels,
            self.facts,
            self.only_a,
            self.only_b,
        )
        return not any(told)


def compare(a: Kept, b: Kept, earlier: Mapping[str, Sequence[float]]) -> Comparison:
    """Compare two runs; `earlier` is how long b's questions took in the latest runs before it."""
    asked_a = {cell.name: cell for cell in a.cells if cell.result}
    asked_b = {cell.name: cell for cell in b.cells if cell.result}
    both = [(asked_a[name], cell) for name, cell in asked_b.items() if name in asked_a]
    new = [
        _change(asked_a.get(name), cell)
        for name, cell in asked_b.items()
        if _is_new_failure(asked_a.get(name), cell)
    ]
    guests = [(a.guests[name], boot) for name, boot in b.guests.items() if name in a.guests]
    return Comparison(
        a.run.name,
        b.run.name,
        tuple(new),
        tuple(_change(x, y) for x, y in both if x.bad and y.result is Result.PASS),
        tuple(_change(x, y) for x, y in both if _went_elsewhere(x, y)),
        tuple(_change(x, y) for x, y in both if _is_lost(x, y)),
        tuple(cell.name for cell in asked_b.values() if cell.flaky),
        tuple(_slower(asked_b.values(), earlier)),
        tuple(_made(a.run, b.run)),
        tuple(change for x, y in guests for change in _kernels(x, y)),
        tuple(change for x, y in guests for change in _facts(x, y)),
        tuple(name for name in asked_a if name not in asked_b),
        tuple(name for name in asked_b if name not in asked_a),
        len(both),
    )


def _is_new_failure(before: KeptCell | None, now: KeptCell) -> bool:
    """An error that has become a finding is news; a finding that has become an error is lost."""
    if before is None or not before.bad:
        return now.bad
    return before.result is Result.ERROR and now.result is Result.FAIL


def _went_elsewhere(before: KeptCell, now: KeptCell) -> bool:
    was, goes = (before.path, before.outcome), (now.path, now.outcome)
    return any(was) and any(goes) and was != goes


def _is_lost(before: KeptCell, now: KeptCell) -> bool:
    return _has_answer(before) and not _has_answer(now) and not _is_new_failure(before, now)


def _has_answer(cell: KeptCell) -> bool:
    return cell.result in (Result.PASS, Result.FAIL)


def _change(before: KeptCell | None, now: KeptCell) -> Change:
    was = _phrase(before) if before else "not asked"
    return Change(now.name, was, _phrase(now), now.findings[0] if now.findings else "")


def _phrase(cell: KeptCell) -> str:
    return f"{cell.result} ({cell.seen})" if cell.path or cell.outcome else str(cell.result)


def _slower(cells: Iterable[KeptCell], earlier: Mapping[str, Sequence[float]]) -> Iterator[Slower]:
    for cell in cells:
        known = usual(earlier.get(cell.question, ()))
        if known and _has_answer(cell) and cell.seconds and cell.seconds > known.most:
            yield Slower(cell.name, cell.seconds, known.median, known.most, known.samples)


def _made(before: Run, now: Run) -> Iterator[Other]:
    origins = asdict(before.provenance), asdict(now.provenance)
    for old, new in (origins, (before.subjects, now.subjects)):
        for name in sorted(old.keys() & new.keys()):
            if old[name] != new[name]:
                yield Other("", name, old[name], new[name])
    if before.traced != now.traced:
        yield Other("", "traced", str(before.traced), str(now.traced))


def _kernels(before: BootRow, now: BootRow) -> Iterator[Other]:
    if before.release and now.release and before.release != now.release:
        yield Other(now.guest, "release", before.release, now.release)
    for what in sorted(before.images.keys() | now.images.keys()):
        was, became = before.images.get(what, "none"), now.images.get(what, "none")
        if was != became:
            yield Other(now.guest, f"image {what}", was, became)
    if before.facts is not None and now.facts is not None:
        for what, was in sorted(lasting(before.provenance).items()):
            became = now.provenance.get(what, "none")
            if was != became and became not in now.images.values():
                yield Other(now.guest, what, was, became)


def _facts(before: BootRow, now: BootRow) -> Iterator[Other]:
    """Of guests that have both answered: what is measured otherwise, and is not by lot."""
    if before.facts is None or now.facts is None:
        return
    old, new = steady(before.facts), steady(now.facts)
    for name in sorted((old.keys() | new.keys()) - {"release", "schema"}):
        if old.get(name) != new.get(name):
            yield Other(now.guest, name, _plain(old.get(name)), _plain(new.get(name)))


def _plain(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 1 << 16:
        return f"{value:#x}"
    return str(value)
