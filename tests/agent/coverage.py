"""Which branches of the agent the tests take: `python -m tests.agent.coverage [--guests]`.

The tests of this folder run with programs that are compiled to count (gcc's --coverage), and with
`--guests` tests with real guests, in a clone whose agent counts. counters.c writes the counts; gcov
reads them. Tests with random input are left out: they assert no values. docs/reliability.md has the
figures.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.agent.compiler import AGENT, COUNTERS, HERE, ROOT

RANDOM = "mutated or libfuzzer or analyzer or planted"
OWN = ("-m", "agent", "-k", f"not ({RANDOM})", "tests/agent")
# what tests the agent in guests
GUESTS = (
    "-m", "not weekly", "-k", "uml-7.2 or uml-5.10 or native or qemu-x86_64",
    *(f"tests/guests/test_{name}.py" for name in ("limits", "ends", "verbs", "placement", "liars")),
    *(f"tests/hostile/test_{name}.py" for name in ("guest_state", "host_settings", "isolation")),
)  # fmt: skip
LINE = re.compile(rb"^@counters (\S+) ([0-9a-z]+)\r?$", re.MULTILINE)
HEADER = 16  # bytes of a file of counters
COUNTER_TAG = 0x01A10000
COUNTING_AGENT = """

_make_agent = make_agent


def make_agent(materials: Materials, out: Path) -> None:
    if materials.port.foreign:
        _make_agent(materials, out)
    else:
        shutil.copy2("{program}", out / "agent")
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How often the lines of a source file were executed, and the branches of each line."""

    lines: Counter[int] = field(default_factory=Counter)
    branches: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, line: dict[str, object]) -> None:
        """Add what gcov says of a line."""
        number, branches = line["line_number"], line["branches"]
        assert isinstance(number, int) and isinstance(branches, list)
        self.lines[number] += line["count"]  # type: ignore[operator]
        for place, branch in enumerate(branches):
            self.branches[number, place] += branch["count"]


def share(counts: Iterable[int]) -> tuple[int, int]:
    """Return how many counts are not zero, and how many there are."""
    every = list(counts)
    return sum(each > 0 for each in every), len(every)


def run_tests(folder: Path, words: Sequence[str], root: Path, **more: str) -> int:
    """Run tests of a checkout; their files stay in `folder`, and so does what programs count."""
    argv = [
        sys.executable, "-m", "pytest", "-q", "--basetemp", folder / f"tests-{root.name}",
        "-o", "tmp_path_retention_policy=all", "-p", "no:cacheprovider", *words,
    ]  # fmt: skip
    environment = {**os.environ, "FOOTHOLD_AGENT_COUNTS": str(folder), **more}
    return subprocess.run(argv, cwd=root, env=environment, check=False).returncode


def run_guest_tests(folder: Path, words: Sequence[str]) -> int:
    """Run tests with guests in a clone of this checkout, whose agent for this machine counts."""
    clone, program = folder / "clone", folder / "guest-agent"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    flags = [*COUNTERS, f'-DCOUNTS="{folder}"', "-static", "-D_FILE_OFFSET_BITS=64"]
    argv = ["gcc", *flags, "-o", program, *sorted(AGENT.glob("*.c")), HERE / "counters.c"]
    subprocess.run(argv, check=True)
    with (clone / "images/compiler.py").open("a") as file:
        file.write(COUNTING_AGENT.format(program=str(program)))
    return run_tests(folder, words, clone, PYTHONPATH=str(clone / "src"))


def parts(content: bytes) -> Iterator[tuple[bytes, list[int]]]:
    """Split a file of counters: what precedes each function's counters, and these.

    Source: gcov-io.h of gcc 12. A negative length stands for counters that are 0.
    """
    at, head = HEADER, content[:HEADER]
    while at + 8 <= len(content):  # a zero word ends it
        tag, size = struct.unpack_from("<Ii", content, at)
        at += 8
        if tag == COUNTER_TAG:
            values = [0] * (-size // 8)
            if 0 < size <= len(content) - at:
                values = list(struct.unpack_from(f"<{size // 8}q", content, at))
            yield head, values
            head = b""
        else:
            head += content[at - 8 : at + size]
        at += max(size, 0)


def joined(contents: Iterable[bytes]) -> bytes:
    """Add the counters of files that one source file has made.

    A content that the kernel's log has interrupted on a console is of another form than most, and
    is left out.
    """
    forms: defaultdict[tuple[object, ...], list[list[int]]] = defaultdict(list)
    for content in contents:
        found = [*parts(content)]
        form = tuple((head, len(values)) for head, values in found)
        forms[form].append([value for _, values in found for value in values])
    form, rows = max(forms.items(), key=lambda each: len(each[1]))
    totals = iter([sum(column) for column in zip(*rows, strict=True)])
    out = b""
    for head, count in form:  # type: ignore[misc]
        out += head + struct.pack("<Ii", COUNTER_TAG, 8 * count)
        out += b"".join(struct.pack("<q", next(totals)) for _ in range(count))
    return out + bytes(4)


def decoded(digits: str) -> bytes:
    """Read a content as counters.c writes it; empty if it was interrupted."""
    try:
        return bytes.fromhex(re.sub("[g-z]", lambda zeros: "00" * (ord(zeros[0]) - 102), digits))
    except ValueError:
        return b""


def collect(folder: Path) -> list[Path]:
    """Write a file of counters for gcov from all that programs have written below `folder`."""
    found: defaultdict[str, set[bytes]] = defaultdict(set)
    for path in (*folder.glob("*.counters"), *folder.rglob("console.log")):
        for name, digits in LINE.findall(path.read_bytes()):
            found[name.decode()].add(decoded(digits.decode()))
    for name, contents in found.items():
        Path(name).write_bytes(joined(contents))
    return sorted(folder.rglob("*.gcno"))  # also of files of which nothing was executed


def read_counts(files: Sequence[Path]) -> dict[str, Counts]:
    """Add the counts of all files, by source file of the agent."""
    found: defaultdict[str, Counts] = defaultdict(Counts)
    argv = ["gcov", "--json-format", "--stdout", "--branch-probabilities", *files]
    done = subprocess.run(argv, capture_output=True, check=True)
    for document in done.stdout.splitlines():
        for source in json.loads(document)["files"]:
            path = ROOT / source["file"]
            if path.parent == AGENT and path.suffix == ".c":
                for line in source["lines"]:
                    found[path.name].add(line)
    return dict(found)


def table(counts: dict[str, Counts]) -> str:
    """Return the table of all source files, the one with the most open branches first."""
    rows, total = [], [0, 0, 0, 0]
    for name, each in counts.items():
        row = [*share(each.lines.values()), *share(each.branches.values())]
        total = [one + other for one, other in zip(total, row, strict=True)]
        rows.append((row[3] - row[2], name, row))
    rows = [*sorted(rows, reverse=True), (0, "all", total)]
    lines = ["| source | lines | branches |", "|---|---|---|"]
    for _, name, (ran, lines_of, taken, branches) in rows:
        lines.append(f"| {name} | {_percent(ran, lines_of)} | {_percent(taken, branches)} |")
    return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f"{part} of {whole}, {100 * part / max(whole, 1):.1f} %"


def missing(counts: dict[str, Counts]) -> str:
    """Return the lines and branches of each source file that no test takes."""
    lines = []
    for name, each in sorted(counts.items()):
        never = [number for number, count in sorted(each.lines.items()) if not count]
        half = sorted({number for (number, _), count in each.branches.items()
                       if not count and each.lines[number]})  # fmt: skip
        lines.append(f"{name}: lines {never}; branches of {half}")
    return "\n".join(lines)


def main() -> int:
    """Run the command line; return what pytest returns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missing", action="store_true", help="list lines and branches not taken")
    parser.add_argument("--guests", action="store_true", help="run tests with guests, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foothold-coverage-") as place:
        folder = Path(place)
        folder.chmod(0o777)  # subjects may run as another user
        status = 0
        if given.guests:
            status = run_guest_tests(folder, GUESTS)
        status |= run_tests(folder, OWN, ROOT)
        counts = read_counts(collect(folder))
    sys.stdout.write(f"{table(counts)}\n")
    if given.missing:
        sys.stdout.write(f"{missing(counts)}\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
