"""What is fuzzed: each target reads one mutated input, as Foothold reads it.

A target raises what is not an answer in words: an error that is not of Foothold, or a hang.
`python -m tests.hostile.fuzz SECONDS` runs each for some time; test_fuzz.py runs each briefly.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from unittest import mock

import msgspec

from foothold_lab.harness.cli import main
from foothold_lab.harness.interactive import bundle, recorded_cell
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import FootholdError, UsageError
from foothold_lab.harness.model.events import AnyEvent, GuestBooting
from foothold_lab.harness.model.verdict import Expectation, Outcome
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.subjects.subject import (
    Subject,
    can_judge_under,
    of_program,
    write_deployed,
)
from tests.hostile.mutate import mutate, mutate_bytes
from tests.unit.harness import samples
from tests.unit.html_report import runs

PROGRAM = Cell(guest="native", limits=Limits(), policy="", subject="prog", workload="")
STARTS = Expectation(path=None, outcome=Outcome.STARTS)


def run_directory_of_a_program(directory: Path, evil: str = "said") -> Path:
    """A run of one program that printed something, as the runner leaves it."""
    seen = samples.observation(STARTS, message=evil, last_output=f"first\n{evil}", path=None)
    happened: list[AnyEvent] = [
        samples.started(PROGRAM),
        GuestBooting(guest="native", boot="native", images={"agent": "agent-0123456789abcdef"}),
        msgspec.structs.replace(samples.ready("native"), boot="native", argv=("agent", evil)),
        msgspec.structs.replace(samples.done(PROGRAM, observed=seen), boot="native"),
        samples.finished(),
    ]
    runs.write(directory, happened, evidence=False)
    work = directory / "guests/native/share/subject/prog/work"
    work.mkdir(parents=True)
    (work / "data").write_text("of the subject\n")
    subject = Subject(name="prog", argv=("/bin/echo", evil), files={"work/data": work / "data"})
    write_deployed(directory / "guests/native", [subject])
    cell = directory / "cells" / PROGRAM.id
    (cell / "stdout").write_text(f"{evil}\n")
    (cell / "stderr").write_text("")
    return directory


def describe_bundle(directory: Path, cell: str, tree: Path) -> None:
    """Make what a bundle has of a run directory; images and agent are not of the run."""
    tree.mkdir()
    with Database(MEMORY) as database:
        found = recorded_cell.find(database, str(directory), cell)
    found.copy_share(tree / "share")
    bundle._describe(found, tree, "true")


def check_run_directory(random: Random, scratch: Path) -> None:
    """Show, report, compare and bundle a run directory with a damaged file."""
    directory = scratch / "run"
    of_a_program = random.random() < 0.3
    if of_a_program:
        run_directory_of_a_program(directory)
    else:
        runs.write(directory, runs.events())
    names = sorted(
        str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()
    )
    heavy = [name for name in names if name.endswith((".json", ".jsonl"))]
    name = random.choice(random.choice((names, heavy)))
    (directory / name).write_bytes(mutate(random, (directory / name).read_bytes()))
    cell = PROGRAM.id if of_a_program else runs.LOW.id
    there = str(directory)
    commands = (
        ("show", there), ("show", there, cell), ("show", there, "--json"), ("report", there),
        ("compare", there, there),
    )  # fmt: skip
    run_command(random.choice(commands), scratch)
    with contextlib.suppress(FootholdError):
        describe_bundle(directory, cell, scratch / "tree")


_ELF = Path("/bin/true").resolve().read_bytes()


def check_elf(random: Random, scratch: Path) -> None:
    """Make a subject of a damaged program. Most damage is where the headers are."""
    data = bytearray(_ELF)
    if random.random() < 0.9:
        for _ in range(random.randint(1, 3)):
            at = random.choice((random.randrange(64), random.randrange(64, 2048)))
            word = random.choice((0, 1, 0xFF, 0x7FFFFFFF, 1 << 63, random.getrandbits(64)))
            size = random.choice((1, 2, 4, 8))
            data[at : at + size] = (word & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    else:
        data = bytearray(mutate_bytes(random, bytes(data)))
    path = scratch / "prog"
    path.write_bytes(data)
    path.chmod(0o755)
    try:
        subject = of_program(str(path))
    except UsageError as error:
        assert error.remedy
        assert len(str(error)) < 2000
    else:
        can_judge_under(subject, 1 << 39)


def run_command(
    words: tuple[str, ...], state: Path, allowed: tuple[int, ...] = (0, 1, 2, 3)
) -> str:
    """Run a command in this process. Raises AssertionError if it does not answer in words."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    environment: Mapping[str, str] = {"XDG_STATE_HOME": str(state / "state")}
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, environment),
    ):
        code = main.main(words)
        out.flush()
    assert code in allowed, err.getvalue()
    crashes = list((state / "state/foothold/crashes").glob("*"))
    assert not crashes, err.getvalue() + crashes[0].read_text()
    return err.getvalue()
