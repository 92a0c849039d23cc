"""The differences of two runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.model.probes import COUNTS, SUBJECTS, differing_probes
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.results_db.fingerprints import stable_facts, stable_provenance
from foothold_lab.harness.results_db.models import Run, StoredBoot, StoredCell
from foothold_lab.harness.results_db.reader import StoredRun
from foothold_lab.harness.results_db.timing_stats import typical_time


@dataclass(frozen=True, kw_only=True)
class Change:
    """The earlier and the later result of a cell; `finding` is the first of the later one."""

    cell: str
    before: str
    now: str
    finding: Finding | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A changed property of a guest (fact, image, package, release). With an empty `guest`, of the run
    itself (versions, subjects).
    """

    guest: str
    what: str
    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """A cell that was slower than noise explains. Seconds; `typical` is the median of `samples` earlier runs."""

    cell: str
    seconds: float
    typical: float
    longest: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class ProbeChange:
    """A probe that differs from its ABI in one of two runs only, and what it measured there."""

    cell: str
    probe: str
    measured: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The differences of run `b` from run `a`.

    `new_failures` did not fail in `a`. `lost_answers` had a result in `a` and have none now. `flaky` had
    another result when retried. `broken_probes` conform in `a` and differ in `b`, `repaired_probes` the
    reverse. `changed_inputs` are versions and subjects, `changed_kernels` guests
    with another kernel or image under the same name. `common` counts the cells of both runs.
    """

    a: str
    b: str
    new_failures: tuple[Change, ...]
    repaired: tuple[Change, ...]
    changed_paths: tuple[Change, ...]
    lost_answers: tuple[Change, ...]
    broken_probes: tuple[ProbeChange, ...]
    repaired_probes: tuple[ProbeChange, ...]
    flaky: tuple[str, ...]
    slowdowns: tuple[Slowdown, ...]
    changed_inputs: tuple[Difference, ...]
    changed_kernels: tuple[Difference, ...]
    changed_facts: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    common: int

    @property
    def same(self) -> bool:
        """Are there no differences?"""
        told = (
            self.new_failures,
            self.repaired,
            self.changed_paths,
            self.lost_answers,
            self.broken_probes,
            self.repaired_probes,
            self.flaky,
            self.slowdowns,
            self.changed_inputs,
            self.changed_kernels,
            self.changed_facts,
            self.only_a,
            self.only_b,
        )
        return not any(told)


def compare_runs(a: StoredRun, b: StoredRun, earlier: Mapping[str, Sequence[float]]) -> Comparison:
    """Compare two runs. `earlier` has the durations of the cells of `b` in the runs before it."""
    asked_a = {cell.name: cell for cell in a.cells if cell.result}
    asked_b = {cell.name: cell for cell in b.cells if cell.result}
    both = [(asked_a[name], cell) for name, cell in asked_b.items() if name in asked_a]
    new = [
        _change(asked_a.get(name), cell)
        for name, cell in asked_b.items()
        if _is_new_failure(asked_a.get(name), cell)
    ]
    guests = [(a.guests[name], boot) for name, boot in b.guests.items() if name in a.guests]
    probes = [(_evidence(a, x), _evidence(b, y), y.name) for x, y in both if _has_probes(y)]
    return Comparison(
        a=a.run.name,
        b=b.run.name,
        new_failures=tuple(new),
        repaired=tuple(_change(x, y) for x, y in both if x.is_bad and y.result is Result.PASS),
        changed_paths=tuple(_change(x, y) for x, y in both if _changed_path(x, y)),
        lost_answers=tuple(_change(x, y) for x, y in both if _lost_answer(x, y)),
        broken_probes=tuple(change for x, y, cell in probes for change in _differs_now(cell, x, y)),
        repaired_probes=tuple(
            change for x, y, cell in probes for change in _differs_now(cell, y, x)
        ),
        flaky=tuple(cell.name for cell in asked_b.values() if cell.flaky),
        slowdowns=tuple(_slowdowns(asked_b.values(), earlier)),
        changed_inputs=tuple(_changed_inputs(a.run, b.run)),
        changed_kernels=tuple(
            change
            for x, y in guests
            for change in (*_changed_kernels(x, y), *_changed_packages((a, x), (b, y)))
        ),
        changed_facts=tuple(change for x, y in guests for change in _changed_facts(x, y)),
        only_a=tuple(name for name in asked_a if name not in asked_b),
        only_b=tuple(name for name in asked_b if name not in asked_a),
        common=len(both),
    )


def _is_new_failure(before: StoredCell | None, now: StoredCell) -> bool:
    """An error that becomes a failure is new; a failure that becomes an error is a lost answer."""
    if before is None or not before.is_bad:
        return now.is_bad
    return before.result is Result.ERROR and now.result is Result.FAIL


def _has_probes(cell: StoredCell) -> bool:
    return cell.subject.startswith(SUBJECTS)


def _evidence(run: StoredRun, cell: StoredCell) -> Mapping[str, str]:
    verdict = run.verdict(cell)
    return verdict.observed.evidence if verdict and verdict.observed else {}


def _differs_now(
    cell: str, before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[ProbeChange]:
    """Yield the probes that differ now and conformed before; none if they were not asked before."""
    if COUNTS in before:
        known = differing_probes(before)
        for probe, measured in differing_probes(now).items():
            if probe not in known:
                yield ProbeChange(cell=cell, probe=probe, measured=measured)


def _changed_path(before: StoredCell, now: StoredCell) -> bool:
    was, goes = (before.path, before.outcome), (now.path, now.outcome)
    return any(was) and any(goes) and was != goes


def _lost_answer(before: StoredCell, now: StoredCell) -> bool:
    return _has_answer(before) and not _has_answer(now) and not _is_new_failure(before, now)


def _has_answer(cell: StoredCell) -> bool:
    return cell.result in (Result.PASS, Result.FAIL)


def _change(before: StoredCell | None, now: StoredCell) -> Change:
    was = _phrase(before) if before else "not asked"
    return Change(
        cell=now.name,
        before=was,
        now=_phrase(now),
        finding=now.findings[0] if now.findings else None,
    )


def _phrase(cell: StoredCell) -> str:
    return f"{cell.result} ({cell.summary})" if cell.path or cell.outcome else str(cell.result)


def _slowdowns(
    cells: Iterable[StoredCell], earlier: Mapping[str, Sequence[float]]
) -> Iterator[Slowdown]:
    for cell in cells:
        known = typical_time(earlier.get(cell.base_name, ()))
        if known and _has_answer(cell) and cell.seconds and cell.seconds > known.longest:
            yield Slowdown(
                cell=cell.name,
                seconds=cell.seconds,
                typical=known.median,
                longest=known.longest,
                samples=known.samples,
            )


def _changed_inputs(before: Run, now: Run) -> Iterator[Difference]:
    origins = asdict(before.provenance), asdict(now.provenance)
    for old, new in (origins, (before.subjects, now.subjects)):
        for name in sorted(old.keys() & new.keys()):
            if old[name] != new[name]:
                yield Difference(guest="", what=name, before=old[name], now=new[name])
    if before.traced != now.traced:
        yield Difference(guest="", what="traced", before=str(before.traced), now=str(now.traced))


def _changed_kernels(before: StoredBoot, now: StoredBoot) -> Iterator[Difference]:
    if before.release and now.release and before.release != now.release:
        yield Difference(guest=now.guest, what="release", before=before.release, now=now.release)
    for what in sorted(before.images.keys() | now.images.keys()):
        was, became = before.images.get(what, "none"), now.images.get(what, "none")
        if was != became:
            yield Difference(guest=now.guest, what=f"image {what}", before=was, now=became)
    if before.facts is not None and now.facts is not None:
        for what, was in sorted(stable_provenance(before.provenance).items()):
            became = now.provenance.get(what, "none")
            if was != became and became not in now.images.values():
                yield Difference(guest=now.guest, what=what, before=was, now=became)


def _changed_packages(
    before: tuple[StoredRun, StoredBoot], now: tuple[StoredRun, StoredBoot]
) -> Iterator[Difference]:
    """Yield the changed packages of the images that changed, if the packages of both are known."""
    old, new = _versions(*before, now[1]), _versions(*now, before[1])
    for package in sorted(old.keys() | new.keys()) if old and new else ():
        was, became = old.get(package, "none"), new.get(package, "none")
        if was != became:
            yield Difference(guest=now[1].guest, what=f"package {package}", before=was, now=became)


def _versions(run: StoredRun, boot: StoredBoot, other: StoredBoot) -> dict[str, str]:
    """Return the packages of the images that another boot does not have."""
    found: dict[str, str] = {}
    for name, image in boot.images.items():
        if other.images.get(name) != image:
            found |= run.packages(image)
    return found


def _changed_facts(before: StoredBoot, now: StoredBoot) -> Iterator[Difference]:
    """Yield the changed facts of a guest that booted in both runs, without random ones."""
    if before.facts is None or now.facts is None:
        return
    old, new = stable_facts(before.facts), stable_facts(now.facts)
    for name in sorted((old.keys() | new.keys()) - {"release", "schema"}):
        if old.get(name) != new.get(name):
            yield Difference(
                guest=now.guest, what=name, before=_plain(old.get(name)), now=_plain(new.get(name))
            )


def _plain(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 1 << 16:
        return f"{value:#x}"
    return str(value)
