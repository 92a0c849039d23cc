"""Builds of images that are killed at random moments, by one builder or by two at once.

The store is a new one. A build goes on where the killed one stopped. When all images are there, a
random part of them is removed, so that there is always something to build.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.soak.leftovers import adopt_orphans, descendants, reap, remaining
from foothold_lab.images.cache import Cache

PROGRAM = (sys.executable, "-m", "foothold_lab.harness.cli", "images")
VERIFY_EVERY = 20  # kills
LONGEST = 8.0  # seconds until a kill
SECONDS = 1800  # for a command that nothing kills
TOOL_SECONDS = 60  # for a tool of a killed builder, such as apt-get, to end: it ends by itself


@dataclass
class Tally:
    """What was done, and what was wrong."""

    kills: int = 0
    of_two: int = 0
    finished: int = 0  # builds that ended before their kill
    verified: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store of images in a directory, what is built in it, and where temporary files are made."""

    root: Path
    plan: str
    scratch: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `foothold images WORDS...` in this store."""
        environment = {**os.environ, "FOOTHOLD_CACHE": str(self.root)}
        environment["TMPDIR"] = str(self.scratch)
        return subprocess.Popen(
            [*PROGRAM, *words], env=environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def build(self) -> subprocess.Popen[str]:
        """Start to build all images of the plan."""
        return self.start("build", "--for", self.plan)

    def run(self, *words: str) -> str:
        """Run a command to its end; return what it says if it fails."""
        command = self.start(*words)
        try:
            said, _ = command.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            command.kill()
            said, _ = command.communicate()
            return f"images {words[0]}: not done after {SECONDS} s: {said}"
        return (
            f"images {words[0]}: exit code {command.returncode}: {said}"
            if command.returncode
            else ""
        )

    def remove_some(self, source: random.Random) -> None:
        """Remove a random third of the images."""
        for entry in Cache(self.root).entries():
            if source.random() < 1 / 3:
                shutil.rmtree(entry.path)


def kill_one(store: Store, source: random.Random, tally: Tally) -> Iterator[str]:
    """Start one or two builders and kill each at a moment of its own; yield what is wrong."""
    builders = [store.build() for _ in range(source.choice((1, 1, 2)))]
    tally.of_two += len(builders) == 2
    for builder in builders:
        try:
            said, _ = builder.communicate(timeout=source.uniform(0.05, LONGEST))
        except subprocess.TimeoutExpired:
            os.kill(builder.pid, signal.SIGKILL)
            builder.communicate()
            tally.kills += 1
        else:
            tally.finished += 1
            if builder.returncode:
                yield f"build: exit code {builder.returncode}: {said}"
            store.remove_some(source)
    if left := remaining(lambda: list(descendants(os.getpid()).values()), TOOL_SECONDS):
        yield f"alive: {left}"
    reap()


def repeat(store: Store, kills: int, source: random.Random) -> Tally:
    """Kill builders, and verify the store on the way and at the end."""
    tally = Tally()
    while tally.kills < kills:
        before = tally.kills
        tally.faults += kill_one(store, source, tally)
        if before // VERIFY_EVERY != tally.kills // VERIFY_EVERY:
            tally.verified += 1
            tally.faults += filter(None, [store.run("verify")])
    tally.faults += filter(None, [store.run("build", "--for", store.plan), store.run("verify")])
    tally.verified += 1
    # what killed builders leave is removed by a later build
    for folder in (store.root / "building", store.scratch):
        tally.faults += [f"left behind: {each}" for each in folder.glob("*")]
    return tally


@click.command
@click.option("--kills", default=200, show_default=True, help="Number of builders to kill.")
@click.option("--plan", default="default", show_default=True, help="Build the images of this plan.")
@click.option("--seed", default=0, show_default=True, help="Repeats the same random choices.")
def builds(kills: int, plan: str, seed: int) -> None:
    """Kill builds of images at random moments; the store must stay sound."""
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="foothold-soak-") as name:
        store = Store(root=Path(name) / "cache", plan=plan, scratch=Path(name) / "tmp")
        store.scratch.mkdir()
        tally = repeat(store, kills, random.Random(seed))
    print("| kills | rounds of two builders | ended before the kill | verified | faults |")
    print("|---|---|---|---|---|")
    print(
        f"| {tally.kills} | {tally.of_two} | {tally.finished} | {tally.verified} "
        f"| {len(tally.faults)} |"
    )
    for fault in tally.faults:
        click.echo(fault, err=True)
    raise SystemExit(1 if tally.faults else 0)
