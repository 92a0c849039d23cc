"""Random plans, random cancellations, and random SIGKILL of every kind of process of a run.

After each round nothing of the run may be left: the soak is the parent of all orphans, so that no
process can hide. At the end the store and the history must be sound.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import click

from bench.soak.leftovers import (
    Machine,
    adopt_orphans,
    descendants,
    leftovers,
    temporary_files,
)
from bench.soak.load import neighbour
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import State

GUESTS = (
    "native", "uml-6.1", "uml-6.12", "uml-7.2", "qemu-x86_64", "qemu-arm64", "qemu-user-i386",
    "gvisor", "bubblewrap", "docker",
)  # fmt: skip
LIMITS = ("none", "rlimit_as=300M", "ceiling=39bit", "fail=mmap:1:ENOMEM", "rlimit_as=800M")
# what a process is, by the beginning of the name of its program; UML's other processes called `linux`
# are those of the subject, and are children of the one that is the kernel
ROLES = {
    "agent": ("agent",), "tracer": ("strace",),
    "emulator": ("linux", "qemu-"), "sandbox": ("runsc", "bwrap", "exe"),
}  # fmt: skip
SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM, "kill harness": signal.SIGKILL}
ACTIONS = ("none", *SIGNALS, *(f"kill {role}" for role in ROLES))
SECONDS = 180  # of a round that nothing disturbs
CODES = {0, 1, 3, 130}
KILLED = -signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Round:
    """What happens in one round: the command line, and what is done to it.

    after: seconds from the start of the run, or from the start of the process to kill.
    """

    argv: tuple[str, ...]
    action: str
    after: float


@dataclass
class Tally:
    """What all rounds with one action came to."""

    rounds: int = 0
    missed: int = 0  # the run, or the process to kill, was not there at that time
    results: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def draw(source: random.Random) -> Round:
    """Draw one round."""
    words = [
        word
        for option, choices, most in (("--guest", GUESTS, 4), ("--limit", LIMITS, 2))
        for each in source.sample(choices, source.randint(1, most))
        for word in (option, each)
    ]
    words += ["--retries", str(source.randint(0, 1)), "--policy", "after", "--quiet"]
    if source.random() < 0.2:
        words.append("--boot-per-cell")
    return Round(argv=("run", *words), action=source.choice(ACTIONS), after=source.uniform(0.05, 6))


@contextlib.contextmanager
def started(one: Round, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the run of a round as the launcher does. `place` has its state and temporary files."""
    place.mkdir()
    (place / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(place / "tmp")}
    program = [sys.executable, "-m", "foothold_lab.harness.cli", *one.argv]
    with (place / "output").open("wb") as output:
        run = subprocess.Popen(
            [*program, "--run-dir", str(place / "run"), "--history", str(place.parent / "history")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
        )  # fmt: skip
    try:
        yield run
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()


def disturb(one: Round, run: subprocess.Popen[bytes], source: random.Random) -> bool:
    """Do what the round says once its time has come; return whether there was something to hit."""
    if one.action == "none":
        return True
    if one.action in SIGNALS:
        if has_ended(run, one.after):
            return False
        run.send_signal(SIGNALS[one.action])
        return True
    while not with_role(one.action, run.pid):
        if has_ended(run, 0.02):
            return False
    if has_ended(run, one.after) or not (found := with_role(one.action, run.pid)):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(source.choice(found), signal.SIGKILL)
    return True


def has_ended(run: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait at most some seconds for the end of a run."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(seconds)
    return run.returncode is not None


def with_role(action: str, pid: int) -> list[int]:
    """Return the processes below one that an action may kill."""
    names = ROLES[action.removeprefix("kill ")]
    found = {each: PurePath(line.split(" ")[0]).name for each, line in descendants(pid).items()}
    kernels = {each for each, name in found.items() if name == "linux"}
    of_subjects = {each for kernel in kernels for each in descendants(kernel)}
    return [each for each in found if found[each].startswith(names) and each not in of_subjects]


def check(
    one: Round, code: int, place: Path, before: Machine, others: frozenset[int]
) -> Iterator[str]:
    """Yield what is wrong after a round. `others` are processes of the soak itself."""
    hit = one.action == "kill harness"
    allowed = CODES | ({KILLED} if hit else set())
    if one.action == "SIGTERM" and not (place / "run").exists():
        allowed |= {-signal.SIGTERM}  # Python has not started: it has no handler yet
    if code not in allowed:
        yield f"exit code {code}"
    output = (place / "output").read_text(errors="replace")
    if "Traceback" in output:
        yield f"traceback: {output[-2000:]}"
    yield from leftovers(before, others)
    # a killed harness cannot delete its temporary files: the next run of this user does
    if not hit:
        yield from temporary_files(place / "tmp")


def results(place: Path) -> Counter[str]:
    """Count the results of the cells that a run has finished."""
    path = place / "run" / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found: Counter[str] = Counter()
    for line in lines:
        with contextlib.suppress(ValueError):  # a killed harness leaves half a line
            event = json.loads(line)
            if event["event"] == "cell-finished":
                found[event["verdict"]["result"]] += 1
    return found


def repeat(seconds: float, seed: int, folder: Path, others: frozenset[int]) -> dict[str, Tally]:
    """Run rounds until the time is over."""
    source, tallies = random.Random(seed), {action: Tally() for action in ACTIONS}
    before, end = Machine.now(), time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
        one, place = draw(source), folder / f"round-{count}"
        tally = tallies[one.action]
        tally.rounds += 1
        with started(one, place) as run:
            tally.missed += not disturb(one, run, source)
            try:
                code = run.wait(SECONDS)
            except subprocess.TimeoutExpired:
                tally.faults.append(f"round {count}: hangs: {one}")
                continue
        tally.results += (found := results(place))
        faults = list(check(one, code, place, before, others))
        # a subject is never hit: a false verdict would be one of ours
        faults += [f"{found['fail']} cells failed"] if found["fail"] else []
        tally.faults += [f"round {count}: {fault}: {one}" for fault in faults]
    return tallies


def unsound_store() -> Iterator[str]:
    """Yield what is wrong with the image store."""
    program = [sys.executable, "-m", "foothold_lab.harness.cli", "images", "verify"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"images verify: {done.stdout}{done.stderr}"


def unsound(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the store and the history after all rounds."""
    yield from unsound_store()
    history = folder / "history"
    with contextlib.closing(sqlite3.connect(history)) as database:
        [[answer]] = database.execute("PRAGMA integrity_check")
    if answer != "ok":
        yield f"history: {answer}"
    with Database(history, read_only=True) as kept:
        running = [run.name for run in reader.runs(kept) if run.state is State.RUNNING]
    if running:
        yield f"history: runs that do not run are marked as running: {running}"


@click.command
@click.option("--minutes", default=60.0, show_default=True, help="How long rounds are started.")
@click.option("--seed", default=0, show_default=True, help="Repeats the same random rounds.")
@click.option("--load/--no-load", default=False, show_default=True, help="Have a busy neighbour.")
def chaos(minutes: float, seed: int, load: bool) -> None:
    """Kill and cancel random runs at random moments; list what they leave behind."""
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="foothold-soak-") as name:
        folder = Path(name)
        with neighbour() if load else contextlib.nullcontext(()) as others:
            tallies = repeat(60 * minutes, seed, folder, frozenset(others))
        faults = [each for tally in tallies.values() for each in tally.faults]
        faults += unsound(folder)
    print_table(tallies)
    for fault in faults:
        click.echo(fault, err=True)
    raise SystemExit(1 if faults else 0)


def print_table(tallies: dict[str, Tally]) -> None:
    """Print a row for each action."""
    columns: Sequence[str] = ("pass", "error", "fail", "unsupported")
    print(f"| action | rounds | came too late | {' | '.join(columns)} | faults |")
    print("|---|" + "---|" * (3 + len(columns)))
    for action, tally in tallies.items():
        cells = " | ".join(str(tally.results[each]) for each in columns)
        print(f"| {action} | {tally.rounds} | {tally.missed} | {cells} | {len(tally.faults)} |")
