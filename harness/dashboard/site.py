"""A directory with the pages of the history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from foothold_lab.harness.dashboard import pages
from foothold_lab.harness.dashboard.changes import NewFinding, changes_of, new_findings
from foothold_lab.harness.dashboard.charts import results_chart, seconds_chart
from foothold_lab.harness.dashboard.feed import feed
from foothold_lab.harness.dashboard.pages import PlanPages
from foothold_lab.harness.dashboard.timelines import PlanHistory, read_plans
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_run
from foothold_lab.harness.model.errors import FootholdError, InfrastructureError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.reporters.atomic_write import replace_file
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.flaky import flaky
from foothold_lab.harness.results_db.models import Run

MANIFEST = "site.json"
MOST_TOLD = 10_000  # findings that a site remembers
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """What a site shows: `plans` (all if empty), and at most `runs` runs of each. `url` is its address,
    for the feed. `charts`: draw charts.
    """

    plans: frozenset[str] = frozenset()
    runs: int = 60
    url: str = ""
    charts: bool = True


@dataclass(frozen=True, kw_only=True)
class Site:
    """What was written: the number of pages, and the findings that the site did not have before."""

    pages: int
    new: tuple[NewFinding, ...]


class _Manifest(msgspec.Struct):
    """The files of a site, relative to its directory, and the findings that it has told, the oldest
    first: pairs of a run and a cell.
    """

    schema: int
    files: list[str] = msgspec.field(default_factory=list)
    told: list[tuple[str, str]] = msgspec.field(default_factory=list)


def write_site(database: Database, directory: Path, options: SiteOptions) -> Site:
    """Write the site, and remove the pages of an earlier one that it has no more.

    Raises UsageError if the directory holds other files, or if there are no runs;
    InfrastructureError if it cannot be written.
    """
    before = _read_manifest(directory)
    histories = list(read_plans(database, options.plans, options.runs))
    if not histories:
        of = f" of the plans {', '.join(sorted(options.plans))}" if options.plans else ""
        raise UsageError(f"{database.path} has no runs{of}", "`foothold run` adds one")
    try:
        writer = _Writer(directory)
        findings = _write_pages(writer, database, histories, options)
        writer.write("feed.atom", feed(findings, options.url))
        known = set(before.told)
        new = tuple(each for each in findings if _key(each) not in known)
        told = [*before.told, *map(_key, new)][-MOST_TOLD:]
        manifest = _Manifest(schema=_SCHEMA, files=writer.files, told=told)
        writer.write(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        _remove(directory, set(before.files) - set(writer.files))
    except OSError as error:
        raise InfrastructureError(
            f"{directory} cannot be written: {error}",
            "give another directory, or make space",
            code=Code.INFRASTRUCTURE_OUTPUT,
        ) from error
    return Site(pages=sum(name.endswith(".html") for name in writer.files), new=new)


def _write_pages(
    writer: _Writer, database: Database, histories: list[PlanHistory], options: SiteOptions
) -> list[NewFinding]:
    """Write all pages, and return the findings of the runs that they show."""
    plans = [_plan_pages(writer, history, options) for history in histories]
    writer.write("site.css", pages.style())
    writer.write("index.html", pages.index_page(plans, flaky(database)))
    findings: list[NewFinding] = []
    for plan in plans:
        writer.write(f"{plan.folder}/index.html", pages.plan_page(plan))
        for guest in plan.history.guests:
            for name, page in pages.guest_pages(plan, guest):
                writer.write(f"{plan.folder}/{name}", page)
        findings += [each for changes in plan.changes for each in new_findings(changes)]
    return findings


def _plan_pages(writer: _Writer, history: PlanHistory, options: SiteOptions) -> PlanPages:
    draw = {"Results of each run": results_chart, "Seconds of each run": seconds_chart}
    return PlanPages(
        history=history,
        changes=changes_of(history, options.runs),
        charts=[(title, chart(history.runs)) for title, chart in draw.items() if options.charts],
        report=_write_report(writer, history.newest),
    )


def _write_report(writer: _Writer, run: Run) -> str:
    """Write the report of a run if its directory is there; return its name, else an empty one."""
    with contextlib.suppress(FootholdError, OSError):
        name = f"runs/{pages.file_name(run.name)}.html"
        writer.write(name, render(read_run(Path(run.directory))))
        return name
    return ""


@dataclass
class _Writer:
    """Writes files of the site. `files` are their names."""

    directory: Path
    files: list[str] = field(default_factory=list)

    def write(self, name: str, data: bytes) -> None:
        replace_file(self.directory / name, data)
        self.files.append(name)


def _read_manifest(directory: Path) -> _Manifest:
    """Return the manifest of the site in a directory, an empty one of a new site. Raises UsageError."""
    path = directory / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except FileNotFoundError:
        if directory.is_dir() and any(_others(directory)):
            raise UsageError(
                f"{directory} holds files, but no {MANIFEST} of a site", "give a new directory"
            ) from None
        return _Manifest(schema=_SCHEMA)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "give a new directory") from error


def _others(directory: Path) -> Iterator[Path]:
    """Yield what a site does not begin with: hosts of pages keep names such as .git and CNAME."""
    for each in directory.iterdir():
        if not each.name.startswith(".") and each.name != "CNAME":
            yield each


def _remove(directory: Path, names: set[str]) -> None:
    for name in names:
        path = (directory / name).resolve()
        if path.is_relative_to(directory.resolve()):
            path.unlink(missing_ok=True)


def _key(finding: NewFinding) -> tuple[str, str]:
    return finding.run, finding.cell
