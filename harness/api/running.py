"""Runs the cells of a plan and returns their verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness.api.errors import image_errors_converted
from foothold_lab.harness.api.guest import new_directory
from foothold_lab.harness.api.plan import Plan
from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.plan import DEFAULT
from foothold_lab.harness.plan.references import with_references
from foothold_lab.harness.reporters import Bus
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.runner import RunOptions, run_cells
from foothold_lab.harness.subjects.packaged import packaged
from foothold_lab.images.builder import Builder


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to: a verdict for each cell, in the order of the cells. Cells that were added
    because others are compared with them (`same-output-as`) come first.

    `directory` keeps the evidence; `foothold report` and `foothold show` read it. A required guest
    that this machine cannot boot is in `missing`.
    """

    directory: Path
    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if no cell failed or is in error, and no required guest is missing.

        Unsupported cells do not count, as in the exit code of `foothold run`.
        """
        bad = (Result.FAIL, Result.ERROR)
        return not self.missing and all(each.result not in bad for each in self.verdicts)

    def with_result(self, result: Result | str) -> tuple[Verdict, ...]:
        """Return the verdicts with this result: `pass`, `fail`, `error` or `unsupported`."""
        return tuple(each for each in self.verdicts if each.result == Result(result))


def run(
    plan: Plan | Iterable[Cell] | str | Path,
    *,
    builder: Builder | None = None,
    directory: Path | None = None,
    jobs: int | None = None,
    retries: int | None = None,
) -> RunResult:
    """Run all cells of a plan, each guest booted once, and return their verdicts.

    `plan` is a plan, its name or file, or cells of packaged subjects and the allocator. `directory`
    keeps the evidence: it must not hold a run; by default it is a new temporary directory that is
    not deleted. `jobs` guests live at once (default: as many as there are processors). A cell that
    does not pass is retried up to `retries` times.

    Ctrl-C stops all guests and raises KeyboardInterrupt. Raises UsageError for a plan that makes no
    sense, InfrastructureError if a subject cannot be built. A guest that does not boot raises
    nothing: its cells are unsupported or in error.
    """
    builder = builder or Builder()
    plan = _plan(plan, builder)
    cells = with_references(plan.cells)
    directory = _empty(directory or new_directory())
    found: dict[str, Verdict] = {}

    class Verdicts:
        """Keeps the verdict of each cell."""

        def __call__(self, event: events.AnyEvent) -> None:
            if isinstance(event, events.CellFinished):
                found[event.cell] = event.verdict

        def close(self) -> None:
            """Nothing to write."""

    file = plan.file
    with image_errors_converted():
        subjects = subjects_of(cells, file, packaged(builder))
    options = RunOptions(
        directory=directory,
        builder=builder,
        machines=file.vocabulary.machines,
        jobs=jobs or file.jobs or 0,
        fresh=file.boot_per_cell,
        retries=file.retries if retries is None else retries,
        subjects=subjects,
        require=file.require & {cell.guest for cell in cells},
        plan=plan.name,
    )
    with Bus([RunDirectoryReporter(directory), Verdicts()]) as bus:
        summary = run_cells(cells, options, bus)
    if summary.interrupted:
        raise KeyboardInterrupt
    return RunResult(
        directory=directory,
        verdicts=tuple(found[cell.id] for cell in cells),
        missing=summary.required_missing,
    )


def _plan(given: Plan | Iterable[Cell] | str | Path, builder: Builder) -> Plan:
    if isinstance(given, Plan):
        return given
    if isinstance(given, str | Path):
        return Plan.load(given, builder=builder)
    default = Plan.load(DEFAULT, builder=builder)
    return replace(default, name="").with_cells(tuple(given))


def _empty(directory: Path) -> Path:
    directory = directory.absolute()
    if (directory / "run.json").exists():
        raise UsageError(f"{directory} holds a run already", "name a new directory")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
