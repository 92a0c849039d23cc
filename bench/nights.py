"""A web site of thirty nights: a few real runs, and replays of them at earlier times.

The real runs are small and differ in what changes between nights: the program, the kernel, a shard
that never came. They have the time at which they ran. A replay repeats the events of a real run
with another time and a name of its own, and the pages of the site say that it is one.
"""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.model.events import AnyEvent, RunStarted
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import REPLAY
from foothold_lab.harness.results_db.writer import Recorder
from foothold_lab.harness.run_directory import read_events
from foothold_lab.images.builder import Builder

DAY = 86400.0
OLD, NEW = "uml-bookworm", "uml-forky"  # images of kernels
SMALL, LARGE = 150, 900  # MiB that the program reserves
# what a night is like, by the letters of the real runs below: a replay for each but the last ones
STORY = "aaaaaaabbbcccccaccddddddeddd"
_PLAN = """\
schema = 1
name = "nights"
require = ["native"]

[axes]
guests = ["native", "bubblewrap", "uml-7.2"]
limits = ["none", "rlimit_as=300M"]
subjects = ["allocator", "python3"]
policies = ["before", "after"]

[subject.python3]
program = "/usr/bin/python3"
args = ["-c", "{code}"]
expect = "starts"
"""
_CODE = "import mmap; held = mmap.mmap(-1, {size} << 20); print('ready')"


@dataclass(frozen=True, kw_only=True)
class Night:
    """What a real run is like: the MiB that the program reserves, the kernel of the guest uml-own,
    and whether the second shard never came.
    """

    size: int = SMALL
    kernel: str = OLD
    is_cut: bool = False


NIGHTS = {
    "a": Night(),
    "b": Night(size=LARGE),
    "c": Night(),
    "d": Night(kernel=NEW),
    "e": Night(kernel=NEW, is_cut=True),
    "f": Night(kernel=NEW),
}


@dataclass
class Workshop:
    """A directory with the runs, their history, and the plan. `builder` has the kernels."""

    directory: Path
    builder: Builder = field(default_factory=Builder)

    @property
    def history(self) -> Path:
        """The database of all nights."""
        return self.directory / "history.db"

    def night(self, name: str, night: Night) -> Path:
        """Run the plan for real, in two parts that are merged; return the directory of the run."""
        name = f"night-{name}"
        plan = self.directory / "nights.toml"
        code = _CODE.format(size=night.size)
        plan.write_text(_PLAN.format(code=code))
        directory = self.directory / name
        kernel = self.directory / "kernel"
        shutil.rmtree(kernel, ignore_errors=True)
        shutil.copytree(self.builder.image(night.kernel), kernel)  # with the libraries beside it
        parts = [self.directory / f"{name}-{part}" for part in (1, 2)]
        if night.is_cut:
            self._foothold("run", plan, "--no-history", "--shard", "1/2", "--run-dir", parts.pop())
            parts = [self.directory / f"{name}-2"]
        else:
            self._foothold("run", plan, "--no-history", "--run-dir", parts[0])
            self._foothold(
                "run", plan, "--no-history", "--uml", kernel / "linux", "--run-dir", parts[1]
            )
        self._foothold("merge", *parts, "--run-dir", directory)
        program = ("/usr/bin/python3", "--arg=-c", f"--arg={code}")
        self._foothold("threshold", *program, "--guest", "native")
        return directory

    def others(self) -> None:
        """Run a small survey and some probes."""
        guests = ("--guest", "native", "--guest", "uml-7.2")
        self._foothold("run", "conformance", *guests)
        self._foothold("survey", "--subject", "go-hello", "--subject", "luajit-hello", *guests)

    def _foothold(self, *words: str | Path) -> None:
        argv = [sys.executable, "-m", "foothold_lab.harness.cli", *map(str, words)]
        print("$ foothold", *words, flush=True)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        done = subprocess.run(
            argv,
            env={**os.environ, "FOOTHOLD_HISTORY": str(self.history),
                 "FOOTHOLD_RUNS": str(self.directory / "runs")},
            check=False, **quiet,  # type: ignore[call-overload]
        )  # fmt: skip
        if done.returncode not in (0, 1, 3):  # findings and missing cells are part of the story
            raise SystemExit(f"foothold {words[0]} ended with status {done.returncode}")


def replay(database: Database, directory: Path, at: float, name: str) -> None:
    """Store the events of a run once more, as those of a run that started at another time."""
    recorder = Recorder(database)
    with database.transaction():
        for event in _moved(directory, at, name):
            recorder(event)
        recorder.close()


def _moved(directory: Path, at: float, name: str) -> Iterator[AnyEvent]:
    shift = 0.0
    for event in read_events(directory):
        if isinstance(event, RunStarted):
            shift = at - event.at
            command = (REPLAY, event.run)
            moved = structs.replace(event, run=name, command=command, at=at)
            # the evidence is that of the real run
            yield structs.replace(moved, directory=str(directory))
        else:
            yield structs.replace(event, at=event.at + shift)


def replays(database: Database, real: dict[str, Path], story: Sequence[str], newest: float) -> None:
    """Store a replay for each letter of a story, a day apart, the last one a day before `newest`."""
    for age, letter in enumerate(reversed(story), 1):
        at = newest - DAY * age
        day = f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y%m%d}"
        replay(database, real[letter], at, f"{day}-replay-{letter}")


def main(site: Path, nights: int, workshop: Path) -> None:
    """Make the runs, the history and the site."""
    workshop.mkdir(parents=True, exist_ok=True)
    work = Workshop(workshop.absolute())
    real = {name: work.night(name, night) for name, night in NIGHTS.items()}
    work.others()
    first = next(read_events(real["a"]))
    story = STORY[-max(nights - len(real), 0) :] if nights > len(real) else ""
    with Database(work.history) as database:
        replays(database, real, story, first.at)
        written = write_site(database, site, SiteOptions(runs=nights))
    print(f"{written.pages} pages in {site}: {len(real)} real nights, {len(story)} replays")
