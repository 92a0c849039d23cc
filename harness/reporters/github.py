"""What GitHub Actions shows of a run: annotations at the commit, and the job's summary.

Annotations are workflow commands, lines on an output of the step:
https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from foothold_lab.harness.model.events import AnyEvent, RunStarted
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters.result import RunResult
from foothold_lab.harness.reporters.result_matrix import AGAIN, SHAPES, WORDS, Mark, mark, matrix
from foothold_lab.harness.reporters.sanitize import clean

MOST = 10  # annotations of one level that GitHub shows for a step
MOST_CELLS = 20  # that a message names
LARGEST = 1000 << 10  # bytes; a summary of more than 1024 KiB is thrown away whole


def is_github() -> bool:
    """Is this a step of a workflow?"""
    return os.environ.get("GITHUB_ACTIONS") == "true"


class GitHub:
    """Writes annotations to `stream` when the run is over, and appends to `summary`, by default the
    file that GITHUB_STEP_SUMMARY names.

    While the run goes on nothing that a guest prints is taken for a command.
    """

    def __init__(self, stream: IO[str], summary: Path | None = None) -> None:
        named = os.environ.get("GITHUB_STEP_SUMMARY")
        self._stream = stream
        self._summary = summary or (Path(named) if named else None)
        self._result = RunResult()
        self._token = ""

    def __call__(self, event: AnyEvent) -> None:
        """Take note of an event."""
        self._result(event)
        if isinstance(event, RunStarted):
            self._token = secrets.token_hex(16)
            self._write(f"::stop-commands::{self._token}")

    def close(self) -> None:
        """Write what GitHub is to show; nothing of a run that never had cells."""
        if not self._token:
            return
        self._write(f"::{self._token}::")
        for line in commands(self._result):
            self._write(line)
        if self._summary:
            with self._summary.open("a", encoding="utf-8") as file:
                file.write(summary(self._result))

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def commands(result: RunResult) -> Iterator[str]:
    """Return workflow commands: an error for each way in which cells went wrong, a warning for each
    that passed when it was asked again, a notice for each reason for which some could not be tried.
    The last of too many says how many are left out.
    """
    for level, groups in (
        ("error", result.alike(Result.FAIL, Result.ERROR)),
        ("warning", [[each] for each in result.flaky]),
        ("notice", result.alike(Result.UNSUPPORTED)),
    ):
        shown = groups if len(groups) <= MOST else groups[: MOST - 1]
        for verdicts in shown:
            yield _annotation(result, level, verdicts)
        if more := len(groups) - len(shown):
            text = f"and {more} more like these: see the summary of the job"
            yield command(level, text, title="Foothold")


def command(name: str, message: str, **properties: str) -> str:
    """Write a workflow command; properties that are empty are left out."""
    told = ",".join(f"{key}={_property(value)}" for key, value in properties.items() if value)
    return f"::{name} {told}::{_data(message)}" if told else f"::{name}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _annotation(result: RunResult, level: str, verdicts: list[Verdict]) -> str:
    first = verdicts[0]
    title = first.cell if len(verdicts) == 1 else f"{first.cell} and {len(verdicts) - 1} more"
    lines = [*(_tries(first) if first.flaky else ()), *first.findings] or [first.result.value]
    if first.remedy:
        lines.append(f"remedy: {first.remedy}")
    if len(verdicts) > 1:
        more = f" and {len(verdicts) - MOST_CELLS} more" if len(verdicts) > MOST_CELLS else ""
        lines.append(f"cells: {', '.join(each.cell for each in verdicts[:MOST_CELLS])}{more}")
    if first.command:
        lines.append(f"again: {shlex.join(first.command)}")
    word = "flaky" if level == "warning" else WORDS[first.result.value]
    return command(
        level,
        "\n".join(map(clean, lines)),
        file=_file(result, first.cell),
        title=clean(f"{word}: {title}", 200),
    )


def _tries(verdict: Verdict) -> Iterator[str]:
    for number, attempt in enumerate(verdict.attempts, 1):
        said = attempt.findings[0] if attempt.findings else ""
        yield f"try {number} came to {attempt.result}{f': {said}' if said else ''}"
    yield f"try {len(verdict.attempts) + 1} came to {verdict.result}"


def _file(result: RunResult, cell: str) -> str:
    """The cell's plan, if it is a file of the repository: there GitHub shows the annotation."""
    plan = next((each.plan for each in result.cells if each.id == cell), "")
    path = Path(plan)
    if not plan or not path.is_file():
        return ""
    root = Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve()
    whole = path.resolve()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else ""


def summary(result: RunResult) -> str:
    """Return the run as Markdown: what it came to, the findings, and the matrix."""
    head = f"## {SHAPES['pass' if _is_well(result) else 'fail']} Foothold: {result.headline}\n\n"
    counts = ", ".join(
        f"{number} {WORDS[name]}" for name, number in result.counts.items() if number
    )
    if result.finished:
        counts += f" in {result.finished.seconds:.1f} s"
        counts += "; interrupted" if result.finished.interrupted else ""
    text = head + f"{counts}\n\n"
    for part in (*_findings(result), _matrix(result)):
        if len((text + part).encode()) > LARGEST:
            return text + "\nThere is more: see the report.\n"
        text += part
    return text + "\n"


def _is_well(result: RunResult) -> bool:
    return not result.counts["fail"] and not result.counts["error"]


def _findings(result: RunResult) -> Iterator[str]:
    for verdicts in result.alike(Result.FAIL, Result.ERROR, Result.UNSUPPORTED):
        first = verdicts[0]
        said = "<br>".join(map(_plain, first.findings))
        remedy = f"<br>remedy: {_plain(first.remedy)}" if first.remedy else ""
        cells = f"{_plain(first.cell)}{f' and {len(verdicts) - 1} more' * (len(verdicts) > 1)}"
        yield f"- {SHAPES[first.result.value]} **{cells}**: {said}{remedy}\n"
    for verdict in result.flaky:
        yield f"- {AGAIN} **{_plain(verdict.cell)}**: {'<br>'.join(map(_plain, _tries(verdict)))}\n"


def _matrix(result: RunResult) -> str:
    """A table of limits and guests; several variants of a field stand behind each other."""
    marks = [mark(cell, result.verdicts.get(cell.id)) for cell in result.cells]
    whole = matrix(result.cells, marks)
    beside = max(1, len(whole.sub))
    told = f" ({_plain(', '.join(whole.sub))})" if beside > 1 else ""
    text = ""
    for part in whole.parts:
        head = [f"{_plain(part.name)} limits{told}".strip(), *map(_plain, whole.guests)]
        text += f"\n| {' | '.join(head)} |\n{'|---' * len(head)}|\n"
        for line in part.lines:
            each = [" ".join(map(_shown, field)) for field in line.fields]
            fields = [
                ", ".join(filter(None, each[at : at + beside]))
                for at in range(0, len(each), beside)
            ]
            text += f"| {_plain(line.limits)} | {' | '.join(fields)} |\n"
    return text


def _shown(one: Mark) -> str:
    signs = f"{' †' if one.dies else ''}{f' {AGAIN}' if one.flaky else ''}"
    return _plain(f"{one.shape} {one.word}{signs}".strip())


def _plain(text: str) -> str:
    """Text in which nothing is Markdown or HTML: what could be is written as an entity."""
    return "".join(
        char if char.isalnum() or char in f" .,;/=+-()!'✓✗–·†{AGAIN}" else f"&#{ord(char)};"
        for char in clean(text)
    )
