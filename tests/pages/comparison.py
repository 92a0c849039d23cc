"""Compares what a page shows with what a command printed.

Seconds, sizes of files, identifiers of runs and addresses that a kernel chose differ between two
runs, so each becomes one word. `…` stands for any text in a line, and alone on a line for any lines. Guests finish in any order, so
verdicts are sorted. The lines that report the state of a guest may be left out of a page. Those that
report the building of images depend on the store, so they may be missing on either side.
"""

from __future__ import annotations

import re

_READY = re.compile(r"\S+: (ready in|unsupported: )")
_BUILDING = re.compile(r"(building|built|downloading|downloaded|unpacking|waiting for) ")
_VERDICT = re.compile(r"(pass|fail|error|unsupported)\s+\S+/")
_VARYING = (
    (re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]"), ""),
    (re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}"), "RUN"),
    (re.compile(r"\b\d+(\.\d+)? s\b"), "SECONDS"),
    (re.compile(r"\b\d+(\.\d+)? MiB$"), "SIZE"),
    (re.compile(r"/tmp/foothold-gdb-\w+"), "GDB"),
    (re.compile(r"; xstate shim preloaded: .*"), ""),  # a work-around of some processors
    (re.compile(r"\bpid\":\d+"), 'pid":PID'),
    (re.compile(r"^\d+ +(?=\w+\()"), "PID "),
    # a kernel chooses multiples of a page, a program multiples of a MiB
    (re.compile(r"\b0x[0-9a-f]*[1-9a-f][0-9a-f]{0,4}\b"), "ADDRESS"),
)  # fmt: skip


def normalized(line: str) -> str:
    """Return a line with words for what varies from run to run."""
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return " ".join(line.split())


def difference(shown: str, printed: str) -> str:
    """Say what a page shows that was not printed, or the other way round; empty if they agree."""
    wanted, got = _lines(shown), _lines(printed)
    if not any(map(_READY.match, wanted)):
        got = [line for line in got if not _READY.match(line)]
    got = [line for line in got if line in wanted or not _BUILDING.match(line)]
    wanted = [line for line in wanted if line in got or not _BUILDING.match(line)]
    position, skipping = 0, False
    for line in wanted:
        if line == "…":
            skipping = True
            continue
        # the verdicts that a page shows may be any of those that were printed, if it has an ellipsis
        may_skip = skipping or (bool(_VERDICT.match(line)) and "…" in wanted)
        found = next((at for at in range(position, len(got)) if _matches(line, got[at])), None)
        if found is None or (found != position and not may_skip):
            return f"the page shows\n  {line}\nprinted was\n" + _indented(got[position:])
        position, skipping = found + 1, False
    if position < len(got) and not skipping:
        return "the page does not show\n" + _indented(got[position:])
    return ""


def _lines(text: str) -> list[str]:
    """Return the lines of a text, normalised, with all verdicts sorted at the place of the first."""
    lines = [made for line in text.splitlines() if (made := normalized(line))]
    verdicts = sorted(filter(_VERDICT.match, lines))
    first = next((at for at, line in enumerate(lines) if _VERDICT.match(line)), 0)
    others = [line for line in lines[first:] if not _VERDICT.match(line)]
    return [*lines[:first], *verdicts, *others]


def _matches(pattern: str, line: str) -> bool:
    """Does a line that was printed match one of a page?"""
    parts = [re.escape(part.strip()) for part in pattern.split("…")]
    return bool(re.fullmatch(r"\s?.*?\s?".join(parts), line))


def _indented(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines[:40])
