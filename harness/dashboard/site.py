"""A directory with the pages of the history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from foothold_lab.harness.dashboard import pages
from foothold_lab.harness.dashboard.attachments import Attachments, SiteFiles
from foothold_lab.harness.dashboard.changes import NewFinding, changes_of, new_findings
from foothold_lab.harness.dashboard.charts import results_chart, seconds_chart
from foothold_lab.harness.dashboard.feed import feed
from foothold_lab.harness.dashboard.pages import PlanPages
from foothold_lab.harness.dashboard.rendering import style
from foothold_lab.harness.dashboard.thresholds import ThresholdBook
from foothold_lab.harness.dashboard.timelines import PlanHistory, read_plans
from foothold_lab.harness.html_report import parts
from foothold_lab.harness.model.errors import InfrastructureError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.flaky import Flaky, flaky
from foothold_lab.harness.run_directory import RunFiles

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
    """The files of a site, relative to its directory; the findings that it has told, the oldest
    first: pairs of a run and a cell; and what was made of the directories of runs.
    """

    schema: int
    files: list[str] = msgspec.field(default_factory=list)
    told: list[tuple[str, str]] = msgspec.field(default_factory=list)
    kept: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)


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
    files = SiteFiles(directory)
    attachments = Attachments(files, before.kept)
    try:
        findings = _write_pages(files, database, attachments, histories, options)
        files.write("feed.atom", feed(findings, options.url))
        known = set(before.told)
        new = tuple(each for each in findings if _key(each) not in known)
        told = [*before.told, *map(_key, new)][-MOST_TOLD:]
        kept = {key: dict(pages) for key, pages in attachments.kept.items()}
        manifest = _Manifest(schema=_SCHEMA, files=list(files.names), told=told, kept=kept)
        files.write(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        _remove(directory, set(before.files) - set(files.names))
    except OSError as error:
        raise InfrastructureError(
            f"{directory} cannot be written: {error}",
            "give another directory, or make space",
            code=Code.INFRASTRUCTURE_OUTPUT,
        ) from error
    return Site(pages=sum(name.endswith(".html") for name in files.names), new=new)


def _write_pages(
    files: SiteFiles,
    database: Database,
    attachments: Attachments,
    histories: Sequence[PlanHistory],
    options: SiteOptions,
) -> list[NewFinding]:
    """Write all pages, and return the findings of the runs that they show."""
    thresholds = ThresholdBook(reader.thresholds(database))
    unsteady = flaky(database)
    plans = [
        _plan_pages(history, attachments, thresholds, unsteady, options) for history in histories
    ]
    files.write("site.css", style())
    files.write("report.css", parts.style())
    files.write("index.html", pages.index_page(plans, unsteady))
    findings: list[NewFinding] = []
    for plan in plans:
        if options.charts:
            files.write(f"{plan.folder}/results.svg", results_chart(plan.history.runs).encode())
            files.write(f"{plan.folder}/seconds.svg", seconds_chart(plan.history.runs).encode())
        for name, page in pages.plan_pages(plan):
            files.write(f"{plan.folder}/{name}", page)
        for guest in plan.history.guests:
            for name, page in pages.guest_pages(plan, guest):
                files.write(f"{plan.folder}/{name}", page)
        findings += [each for changes in plan.changes for each in new_findings(changes)]
    return findings


def _plan_pages(
    history: PlanHistory,
    attachments: Attachments,
    thresholds: ThresholdBook,
    unsteady: Sequence[Flaky],
    options: SiteOptions,
) -> PlanPages:
    changes = changes_of(history, options.runs)
    newest = history.stored[-1]
    findings: Mapping[tuple[str, str], str] = {
        (each.run.name, cell): page
        for each in changes
        for cell, page in attachments.finding(each.run, each.cells).items()
    }
    cells = {line.cell.base_name for line in history.lines}
    return PlanPages(
        history=history,
        changes=changes,
        thresholds=thresholds,
        charts=(
            [("Results of each run", "results.svg"), ("Seconds of each run", "seconds.svg")]
            if options.charts
            else []
        ),
        evidence=attachments.evidence(newest),
        findings=findings,
        survey=attachments.survey(newest.run),
        conformance=attachments.conformance(newest),
        flaky={each.cell: each for each in unsteady if each.cell in cells},
    )


def _read_manifest(directory: Path) -> _Manifest:
    """Return the manifest of the site in a directory, an empty one of a new site. Raises UsageError."""
    path = directory / MANIFEST
    try:
        return msgspec.json.decode(RunFiles(directory).read(MANIFEST), type=_Manifest)
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
    """Remove files of an earlier site, and the directories that they leave empty."""
    top = directory.resolve()
    for name in names:
        path = (directory / name).resolve()
        if path.is_relative_to(top):
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                for folder in path.parents[: len(path.relative_to(top).parents) - 1]:
                    folder.rmdir()


def _key(finding: NewFinding) -> tuple[str, str]:
    return finding.run, finding.cell
