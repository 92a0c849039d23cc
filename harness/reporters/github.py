"""The output for GitHub Actions: annotations at the commit, and the summary of the job.

Annotations are workflow commands, lines on the output of the step:
https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from foothold_lab.harness.model.escape import (
    escape_github_message,
    escape_github_property,
    escape_line,
    escape_markdown,
    escape_shell,
)
from foothold_lab.harness.model.events import AnyEvent, RunStarted
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters.result import RunResult
from foothold_lab.harness.reporters.result_matrix import (
    RESULT_SIGNS,
    RESULT_WORDS,
    RETRIED_SIGN,
    CellMark,
    arrange,
    mark_cell,
)

MAX_ANNOTATIONS = 10  # annotations of one level that GitHub shows for a step
MAX_CELLS = 20  # that a message names
MAX_SUMMARY_BYTES = 1000 << 10  # bytes; a summary of more than 1024 KiB is thrown away whole


def is_github() -> bool:
    """Does this process run as a step of a workflow?"""
    return os.environ.get("GITHUB_ACTIONS") == "true"


class GitHubReporter:
    """Writes annotations to `stream` at the end of the run, and appends to `summary`.

    The default of `summary` is the file that GITHUB_STEP_SUMMARY names. The file that GITHUB_OUTPUT names
    gets the counts, as outputs of the step. During the run, GitHub ignores
    workflow commands, so that no output of a guest can be one.
    """

    def __init__(self, stream: IO[str], summary: Path | None = None) -> None:
        named = os.environ.get("GITHUB_STEP_SUMMARY")
        self._stream = stream
        self._summary = summary or (Path(named) if named else None)
        self._result = RunResult()
        self._token = ""

    def __call__(self, event: AnyEvent) -> None:
        """Process an event."""
        self._result(event)
        if isinstance(event, RunStarted):
            self._token = secrets.token_hex(16)
            self._write(f"::stop-commands::{self._token}")

    def close(self) -> None:
        """Write annotations and summary. A run without cells gets none."""
        if not self._token:
            return
        self._write(f"::{self._token}::")
        for line in workflow_commands(self._result):
            self._write(line)
        if self._summary:
            with self._summary.open("a", encoding="utf-8") as file:
                file.write(summary(self._result))
        if outputs := os.environ.get("GITHUB_OUTPUT"):
            with Path(outputs).open("a", encoding="utf-8") as file:
                file.write(step_outputs(self._result))

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def workflow_commands(result: RunResult) -> Iterator[str]:
    """Yield workflow commands: an error for each kind of failure, a warning for each flaky cell, and a
    notice for each reason why cells are unsupported. If there are too many, the last one has their
    number.
    """
    for level, groups in (
        ("error", result.grouped(Result.FAIL, Result.ERROR)),
        ("warning", [[each] for each in result.flaky]),
        ("notice", result.grouped(Result.UNSUPPORTED)),
    ):
        shown = groups if len(groups) <= MAX_ANNOTATIONS else groups[: MAX_ANNOTATIONS - 1]
        for verdicts in shown:
            yield _annotation(result, level, verdicts)
        if more := len(groups) - len(shown):
            text = f"and {more} more like these: see the job summary"
            yield workflow_command(level, text, title="Foothold")


def workflow_command(name: str, message: str, **properties: str) -> str:
    """Return a workflow command; properties that are empty are left out."""
    given = ",".join(
        f"{key}={escape_github_property(value)}" for key, value in properties.items() if value
    )
    return f"::{name}{f' {given}' if given else ''}::{escape_github_message(message)}"


def _annotation(result: RunResult, level: str, verdicts: list[Verdict]) -> str:
    first = verdicts[0]
    title = first.cell if len(verdicts) == 1 else f"{first.cell} and {len(verdicts) - 1} more"
    said = [escape_line(each.text) for each in first.findings]
    lines = [*(_tries(first) if first.flaky else ()), *said] or [first.result.value]
    if first.last_lines and not first.passed:
        output = (f"| {escape_line(line, 300)}" for line in first.last_lines)
        lines += ["last output of the subject:", *output]
    if first.remedy:
        lines.append(f"remedy: {first.remedy}")
    if len(verdicts) > 1:
        more = f" and {len(verdicts) - MAX_CELLS} more" if len(verdicts) > MAX_CELLS else ""
        lines.append(f"cells: {', '.join(each.cell for each in verdicts[:MAX_CELLS])}{more}")
    if first.command:
        lines.append(f"again: {escape_shell(first.command)}")
    word = "flaky" if level == "warning" else RESULT_WORDS[first.result.value]
    code = f" ({first.findings[0].code})" if first.findings else ""
    return workflow_command(
        level,
        "\n".join(lines),
        file=_file(result, first.cell),
        title=f"{word}{code}: {title}",
    )


def _tries(verdict: Verdict) -> Iterator[str]:
    for number, attempt in enumerate(verdict.attempts, 1):
        yield f"try {number} came to {attempt.result}{f': {attempt.reason}' if attempt.findings else ''}"
    yield f"try {len(verdict.attempts) + 1} came to {verdict.result}"


def _file(result: RunResult, cell: str) -> str:
    """Return the plan of the cell, if it is a file of the repository. GitHub shows the annotation there."""
    plan = next((each.plan for each in result.cells if each.id == cell), "")
    path = Path(plan)
    if not plan or not path.is_file():
        return ""
    root = Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve()
    whole = path.resolve()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else ""


def summary(result: RunResult) -> str:
    """Return the run as Markdown: headline, findings and matrix."""
    head = (
        f"## {RESULT_SIGNS['pass' if _is_well(result) else 'fail']} Foothold: {result.headline}\n\n"
    )
    counts = ", ".join(
        f"{number} {RESULT_WORDS[name]}" for name, number in result.counts.items() if number
    )
    if result.finished:
        counts += f" in {result.finished.seconds:.1f} s"
        counts += "; interrupted" if result.finished.interrupted else ""
    text = head + f"{counts}\n\n"
    for part in (*_findings(result), _matrix(result)):
        if len((text + part).encode()) > MAX_SUMMARY_BYTES:
            return text + "\nThe summary is too long. See the report for the rest.\n"
        text += part
    return text + "\n"


def step_outputs(result: RunResult) -> str:
    """Return the outputs of the step: the number of cells with each result, a line each."""
    names = {"passed": "pass", "failed": "fail", "errors": "error", "unsupported": "unsupported"}
    return "".join(f"{name}={result.counts[word]}\n" for name, word in names.items())


def _is_well(result: RunResult) -> bool:
    return not result.counts["fail"] and not result.counts["error"]


def _findings(result: RunResult) -> Iterator[str]:
    for verdicts in result.grouped(Result.FAIL, Result.ERROR, Result.UNSUPPORTED):
        first = verdicts[0]
        said = "<br>".join(escape_markdown(str(each)) for each in first.findings)
        remedy = f"<br>remedy: {escape_markdown(first.remedy, None)}" if first.remedy else ""
        cells = (
            f"{escape_markdown(first.cell)}{f' and {len(verdicts) - 1} more' * (len(verdicts) > 1)}"
        )
        last = "".join(f"<br>│ {escape_markdown(line)}" for line in first.last_lines)
        output = f"<br>last output of the subject:{last}" if last else ""
        yield f"- {RESULT_SIGNS[first.result.value]} **{cells}**: {said}{output}{remedy}\n"
    for verdict in result.flaky:
        yield f"- {RETRIED_SIGN} **{escape_markdown(verdict.cell)}**: {'<br>'.join(map(escape_markdown, _tries(verdict)))}\n"


def _matrix(result: RunResult) -> str:
    """Return a table of limits and guests. The variants of a field follow one another."""
    marks = [mark_cell(cell, result.verdicts.get(cell.id)) for cell in result.cells]
    whole = arrange(result.cells, marks)
    beside = max(1, len(whole.variants))
    told = f" ({escape_markdown(', '.join(whole.variants))})" if beside > 1 else ""
    text = ""
    for part in whole.sections:
        head = [
            f"{escape_markdown(part.name)} limits{told}".strip(),
            *map(escape_markdown, whole.guests),
        ]
        text += f"\n| {' | '.join(head)} |\n{'|---' * len(head)}|\n"
        for line in part.rows:
            each = [" ".join(map(_shown, field)) for field in line.fields]
            fields = [
                ", ".join(filter(None, each[at : at + beside]))
                for at in range(0, len(each), beside)
            ]
            text += f"| {escape_markdown(line.limits)} | {' | '.join(fields)} |\n"
    return text


def _shown(one: CellMark) -> str:
    signs = f"{' †' if one.dies else ''}{f' {RETRIED_SIGN}' if one.flaky else ''}"
    return escape_markdown(f"{one.sign} {one.word}{signs}".strip())
