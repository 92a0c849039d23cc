"""Chooses the line of a program's output that says why it died."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_MESSAGE = 500  # characters
_SEARCHED = 256 << 10  # bytes at each end of an output

_ERROR = re.compile(
    r"error|fatal|fail|cannot|can't|could not|couldn't|unable|abort|panic|exception|throw"
    r"|out of memory|no memory|not enough|insufficient|segmentation|assert|terminate called",
    re.I,
)
_NOT_AN_ERROR = re.compile(
    # advice that follows an error
    r"more information|for details|for help|see (?:the |also |https?:)|--help|^usage|^note:|^hint:"
    r"|(?:re)?run with|backtrace|core dump|bug report|problematic frame|if you would like"
    # no error at all
    r"|\b(?:0|no|without) (?:errors?|failures?|failed)\b|allocation failure",
    re.I,
)

# what follows from an error that was printed before, perhaps on the other output
_CONSEQUENCE = re.compile(
    r"could not create the java virtual machine|program will (?:now )?exit|^aborted|^terminated"
    r"|^exiting|giving up",
    re.I,
)


def choose_message(stdout: bytes, stderr: bytes) -> str:
    """Return the first line that reads like an error: what follows it is often a dump or advice.

    Standard error is read first, then standard output. Lines that are indented, as the code in a
    traceback is, and lines that only tell the consequence of an error count only if no other line is
    an error. Without an error, the message is the last line. Returns at most LONGEST_MESSAGE
    characters; a longer line ends with an ellipsis.
    """
    outputs = [list(_lines(each)) for each in (stderr, stdout)]
    everything = [line for lines in outputs for line in lines]
    errors = [line for line in everything if _ERROR.search(line) and not _advises(line)]
    causes = (line for line in errors if not (line[0].isspace() or _CONSEQUENCE.search(line)))
    first = next(causes, errors[0] if errors else "")
    return _shortened((first or _last(outputs)).strip())


def _lines(output: bytes) -> Iterator[str]:
    """Yield the lines near both ends of an output, none of them cut, without empty ones."""
    if len(output) > 2 * _SEARCHED:
        head = output[: output.rfind(b"\n", 0, _SEARCHED) + 1]
        tail = output[output.find(b"\n", len(output) - _SEARCHED) + 1 :]
        output = head + tail
    for line in output.decode(errors="backslashreplace").splitlines():
        if any(each.isalnum() for each in line):
            yield line


def _advises(line: str) -> bool:
    return bool(_NOT_AN_ERROR.search(line.strip()))


def _last(outputs: list[list[str]]) -> str:
    """Return the last line that is not advice, of standard error if it has one; else the last."""
    for lines in outputs:
        for line in reversed(lines):
            if not _advises(line):
                return line
    return next((lines[-1] for lines in outputs if lines), "")


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"
