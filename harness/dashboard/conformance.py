"""The pages about a run of probes: what kernels do otherwise than their ABI demands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.conformance import KnownDifference, known_differences
from foothold_lab.harness.conformance.run_reader import ConformanceRun, read_run
from foothold_lab.harness.dashboard.names import MOST_BYTES, SHELL_BYTES, page_name
from foothold_lab.harness.dashboard.rendering import render, render_text
from foothold_lab.harness.html_report.parts import pack

SIGNS = {"conforms": "✓", "differs": "✗", "skipped": "–"}


@dataclass(frozen=True, kw_only=True)
class ProbeField:
    """What a probe came to in a guest. `is_known`: the difference is a known one."""

    guest: str
    result: str
    text: str = ""
    times: str = ""
    is_known: bool = False


@dataclass(frozen=True, kw_only=True)
class ProbeRow:
    """A probe: what is demanded, where that is written, and the answer of each guest."""

    name: str
    demand: str
    source: str
    fields: tuple[ProbeField | None, ...]

    @property
    def differing(self) -> tuple[ProbeField, ...]:
        """The guests in which it differs."""
        return tuple(each for each in self.fields if each and each.result == "differs")


def conformance_pages(directory: Path, *, root: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the pages of the probes of a run. Raises UsageError."""
    run = read_run(directory)
    rows = probe_rows(run, known_differences())
    rendered = [(row, render_text("probe.html", row=row, probe_signs=SIGNS)) for row in rows]
    chunks = list(pack(rendered, MOST_BYTES - SHELL_BYTES))
    names = [page_name("index", number) for number in range(len(chunks))]
    for number, chunk in enumerate(chunks):
        yield names[number], render(
            "conformance.html", root=root, run=run, rows=[text for _, text in chunk], names=names, number=number,
            probe_signs=SIGNS, differing=sum(bool(row.differing) for row in rows), count=len(rows),
        )  # fmt: skip


def probe_rows(run: ConformanceRun, known: Sequence[KnownDifference]) -> list[ProbeRow]:
    """Return a row for each probe: those that differ somewhere first."""
    rows = [_row(run, name, known) for name in sorted({*run.answers, *run.differing})]
    return sorted(rows, key=lambda row: not row.differing)


def _row(run: ConformanceRun, name: str, known: Sequence[KnownDifference]) -> ProbeRow:
    answers = run.answers.get(name, {})
    first = next(iter(answers.values()), None)
    return ProbeRow(
        name=name,
        demand=first.demand if first else "",
        source=first.source if first else "",
        fields=tuple(_field(run, name, guest, known) for guest in run.kernels),
    )


def _field(
    run: ConformanceRun, name: str, guest: str, known: Sequence[KnownDifference]
) -> ProbeField | None:
    asked: Mapping[str, int] = run.asked.get(name, {})
    if not asked.get(guest):
        return None
    if found := run.differing.get(name, {}).get(guest):
        holds = any(each.probe == name and each.holds_for(run.kernels[guest]) for each in known)
        times = "" if found.times == asked[guest] else f"{found.times} of {asked[guest]} times"
        return ProbeField(
            guest=guest, result="differs", text=found.text, times=times, is_known=holds
        )
    answer = run.answers.get(name, {}).get(guest)
    skipped = bool(answer and answer.result == "skipped")
    return ProbeField(guest=guest, result="skipped" if skipped else "conforms")
