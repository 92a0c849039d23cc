"""The first difference between the standard output of a program and the expected one."""

from __future__ import annotations

from pathlib import Path

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.output import OutputDigest, read_expected_output
from foothold_lab.harness.model.verdict import Expectation

_SHOWN = 80  # characters of a line
_BEFORE = 20  # of them before the first difference


def output_difference(expected: Expectation, printed: bytes, *, cut: bool = False) -> str:
    """Say how an output differs from that of an expectation; empty if it does not.

    `cut`: the program printed more. The file of the expectation is read again; if it has changed
    since the expectation was made, only the sizes are compared.
    """
    digest = OutputDigest.of(printed, cut=cut)
    if expected.stdout is None or digest == expected.stdout:
        return ""
    try:
        wanted = read_expected_output(Path(expected.stdout_file))
    except UsageError:
        wanted = b""
    if OutputDigest.of(wanted) != expected.stdout:
        return (
            f"expected {expected.stdout.size} bytes with SHA-256 {expected.stdout.sha256}, "
            f"printed {digest.size} bytes; {expected.stdout_file} no longer has the expected output"
        )
    if printed == wanted:  # but it printed more than is kept
        return f"expected {len(wanted)} bytes, printed more"
    return first_difference(wanted, printed)


def first_difference(wanted: bytes, printed: bytes) -> str:
    """Say where two outputs begin to differ, in one line: `line 3: expected …, printed …`."""
    lines, others = wanted.splitlines(keepends=True), printed.splitlines(keepends=True)
    same = 0
    for line, other in zip(lines, others, strict=False):
        if line != other:
            break
        same += 1
    ends = [each[same] if same < len(each) else None for each in (lines, others)]
    if all(each is not None and each.endswith(b"\n") for each in ends):
        ends = [each[:-1] for each in ends if each is not None]
    column = _common(ends[0] or b"", ends[1] or b"")
    expected, got = (_quoted(each, column) for each in ends)
    return f"line {same + 1}: expected {expected}, printed {got}"


def _common(line: bytes, other: bytes) -> int:
    """Return how many bytes at the start of two lines are the same."""
    pairs = zip(line, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(line), len(other)))


def _quoted(line: bytes | None, column: int) -> str:
    """Return the part of a line at a column, without control characters."""
    if line is None:
        return "no more"
    start = max(0, column - _BEFORE) if len(line) > _SHOWN else 0
    part = line[start : start + _SHOWN]
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in part.decode(errors="backslashreplace")
    )
    more = "…" if start + _SHOWN < len(line) else ""
    return f"`{'…' if start else ''}{text}{more}`"
