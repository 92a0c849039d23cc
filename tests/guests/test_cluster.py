"""A run on a cluster has the verdicts of a run on one machine, even if workers are lost."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    CellStarted,
    Progress,
    WorkerJoined,
    WorkerLost,
)
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.run_directory import read_events
from foothold_lab.harness.subjects.packaged import CATALOGUE
from foothold_lab.harness.survey import Survey, read
from foothold_lab.harness.threshold import Edge
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from tests.engine import answers
from tests.guests.farm import SECONDS, Farm, Worker, farm, wait_for
from tests.pages.blocks import blocks_of

pytest.importorskip("distributed")
SILENT_SECONDS = importlib.import_module("foothold_lab.harness.cluster.coordinator").SILENT_SECONDS
pytestmark = [
    pytest.mark.weekly,  # its machines boot guests for many minutes
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("ip") is None,
        reason="the machines are network namespaces, which need root and iproute2",
    ),
]
ROOT = Path(__file__).parents[2]
NAMES = ("w1", "w2", "w3")
GUEST_SECONDS = 5.0  # after the end of a run until its last guest is gone
SLOW = "uml-6.1/none/slow"  # the cell in the middle of which something happens
PLAN = """\
schema = 1
name = "cluster"

[axes]
guests = ["native", "uml-6.1"]
limits = ["none", "rlimit_as=1G"]
subjects = ["allocator", "true", "slow"]

[subject.true]
program = "/bin/true"
expect = "starts"

[subject.slow]
program = "/bin/sh"
args = ["-c", "sleep 6; echo ready"]
ready_pattern = "ready"
timeout = 30
expect = "starts"
"""
CELLS = 12
UNSUPPORTED = Result.UNSUPPORTED
SURVEYED = "go-hello"
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="a program with a wrong clock is made by a C compiler"
)
NIGHTLY_SECONDS = (
    2400  # that the plan nightly takes at most; two minutes on a machine without other work
)
WRONG_SECONDS = 400 * 86400  # by which a clock is wrong


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, builder: Builder) -> Iterator[Farm]:
    """Three machines for workers."""
    surveyed = CATALOGUE[SURVEYED]
    images = (
        "uml-bookworm",
        "agent",
        "root",
        "shim",
        "strace",
        surveyed.port.image(surveyed.image),
    )
    for name in images:
        builder.image(name)
    with farm(tmp_path_factory.mktemp("farm"), builder.cache.root, NAMES) as made:
        yield made


@pytest.fixture
def machines(lab: Farm) -> Farm:
    """Machines with a scheduler, plugged in."""
    for machine in lab.workers.values():
        machine.plug(plugged=True)
    if lab.scheduler is None or lab.scheduler.poll() is not None:
        lab.start_scheduler()
    return lab


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text(PLAN)
    return file


def told(run: Path) -> list[AnyEvent]:
    return list(read_events(run))


def verdicts(run: Path) -> dict[str, Verdict]:
    return {each.cell: each.verdict for each in told(run) if isinstance(each, CellFinished)}


def results(run: Path) -> Counter[Result]:
    return Counter(each.result for each in verdicts(run).values())


def lost(run: Path) -> dict[str, str]:
    return {each.worker: each.reason for each in told(run) if isinstance(each, WorkerLost)}


def finished(run: Path) -> int:
    """How many cells have verdicts."""
    events = run / "events.jsonl"
    return events.read_text().count('"event":"cell-finished"') if events.exists() else 0


def wait_for_cell(run: Path, cell: str = SLOW) -> None:
    """Wait until a cell runs."""
    events = run / "events.jsonl"

    def is_running() -> bool:
        if not events.exists() or "run-started" not in events.read_text():
            return False
        return any(isinstance(each, CellStarted) and each.cell == cell for each in told(run))

    wait_for(is_running, f"{cell} runs")


def ended(
    machines: Farm, process: subprocess.Popen[str], seconds: float = 2 * SECONDS
) -> tuple[int, str]:
    code = process.wait(seconds)
    text = machines.head.output(process)
    assert "Traceback" not in text
    return code, text


def with_guests(workers: list[Worker]) -> Worker:
    return next(each for each in workers if each.machine.guests())


def test_one_of_three_workers_is_killed_and_the_verdicts_are_those_of_one_machine(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    workers = machines.start_workers(*NAMES)
    alone, run = tmp_path / "alone", tmp_path / "run"
    code, text = ended(machines, machines.head.foothold("run", plan, "--run-dir", alone))
    assert code == 0, text
    process = machines.run(plan, "--run-dir", run)
    wait_for_cell(run)
    victim = with_guests(workers)
    victim.kill()
    code, text = ended(machines, process)
    assert code == 0, text
    joined = {each.worker.name for each in told(run) if isinstance(each, WorkerJoined)}
    assert joined == set(NAMES)
    assert set(lost(run)) == {victim.machine.name}
    name = victim.machine.name
    moved = [each for each in verdicts(run).values() if name in {a.worker for a in each.attempts}]
    assert moved
    for verdict in moved:
        assert verdict.flaky
        assert verdict.worker in {*NAMES} - {name}
    assert all((run / "cells" / cell / "strace").exists() for cell in verdicts(alone))
    code, text = ended(machines, machines.head.foothold("compare", alone, run, "--json"))
    differences = json.loads(text)
    assert differences["common"] == CELLS
    for what in ("new_failures", "repaired", "changed_paths", "lost_answers", "changed_facts"):
        assert not differences[what]
    code, text = ended(machines, machines.head.foothold("flaky"))
    assert moved[0].cell in text


@pytest.mark.timeout(3 * NIGHTLY_SECONDS)
def test_the_verdicts_of_the_plan_nightly_with_a_worker_killed_are_those_of_one_machine(
    machines: Farm, tmp_path: Path
) -> None:
    machines.stop_workers(*NAMES)
    # the machines have no way to a mirror of packages
    argv = [sys.executable, "-m", "foothold_lab.harness.cli", "images", "build", "--for", "nightly"]
    subprocess.run(argv, check=True)
    alone, run = tmp_path / "alone", tmp_path / "run"
    words = ("nightly", "--retries", "2", "--run-dir")
    process = machines.head.foothold("run", *words, alone)
    code, text = ended(machines, process, NIGHTLY_SECONDS)
    assert code == 0, text
    workers = machines.start_workers(*NAMES)
    process = machines.run(*words, run)
    cells = len(verdicts(alone))
    third = "a third of the cells has verdicts"
    wait_for(lambda: finished(run) > cells // 3, third, NIGHTLY_SECONDS)
    victim = with_guests(workers)
    victim.kill()
    code, text = ended(machines, process, NIGHTLY_SECONDS)
    assert code == 0, text
    assert set(lost(run)) == {victim.machine.name}
    tried = [each for each in verdicts(run).values() if each.attempts]
    assert victim.machine.name in {each.attempts[0].worker for each in tried}
    code, text = ended(machines, machines.head.foothold("compare", alone, run, "--json"))
    differences = json.loads(text)
    assert differences["common"] == cells == len(verdicts(run))
    for found in (alone, run):
        tried = {cell for cell, each in verdicts(found).items() if each.result is not UNSUPPORTED}
        assert any(cell.startswith("docker/") for cell in tried) == answers()
    for what in ("new_failures", "repaired", "changed_paths", "lost_answers"):
        assert not differences[what]


@pytest.mark.skipif(not answers(), reason="no container engine answers")
def test_a_worker_uses_the_engine_of_its_machine(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    machines.start_workers(*NAMES)
    run = tmp_path / "run"
    words = (plan, "--guest", "docker", "--guest", "docker@*", "--run-dir", run)
    code, text = ended(machines, machines.run(*words))
    assert code == 0, text
    found = verdicts(run)
    assert results(run) == {Result.PASS: 4 * CELLS // 2}
    for name in NAMES:
        assert {e.worker for cell, e in found.items() if cell.startswith(f"docker@{name}/")} == {
            name
        }


def test_a_worker_hangs(machines: Farm, plan: Path, tmp_path: Path) -> None:
    workers = machines.start_workers(*NAMES)
    run = tmp_path / "run"
    process = machines.run(plan, "--run-dir", run)
    wait_for_cell(run)
    victim = with_guests(workers)
    victim.process.send_signal(signal.SIGSTOP)
    code, text = ended(machines, process)
    machines.stop_workers(victim.machine.name)
    assert code == 0, text
    assert "silent" in lost(run)[victim.machine.name]
    assert results(run) == {Result.PASS: CELLS}


def test_the_link_to_a_worker_is_cut(machines: Farm, plan: Path, tmp_path: Path) -> None:
    workers = machines.start_workers(*NAMES)
    run = tmp_path / "run"
    process = machines.run(plan, "--run-dir", run)
    wait_for_cell(run)
    victim = with_guests(workers)
    victim.machine.plug(plugged=False)
    code, text = ended(machines, process)
    assert code == 0, text
    assert set(lost(run)) == {victim.machine.name}
    assert results(run) == {Result.PASS: CELLS}
    wait_for(lambda: not victim.machine.guests(), "the worker without a link stops its guests")
    machines.stop_workers(victim.machine.name)


def test_a_cell_that_loses_two_workers_is_in_error(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    workers = machines.start_workers(*NAMES)
    run = tmp_path / "run"
    words = ("--guest", "uml-6.1", "--limit", "none", "--subject", "slow")
    process = machines.run(plan, *words, "--run-dir", run)
    killed = []
    for _ in range(2):
        wait_for(machines.guests, "the cell runs")
        victim = with_guests(workers)
        victim.kill()
        killed.append(victim.machine.name)
        wait_for(lambda worker=victim: not worker.machine.guests(), "its guest is gone")
    code, text = ended(machines, process)
    assert code == 3, text
    verdict = verdicts(run)[SLOW]
    assert verdict.findings[0].code is Code.INFRASTRUCTURE_WORKER
    assert verdict.attempts[0].worker == killed[0]
    assert verdict.worker == killed[1]


def test_the_last_worker_goes(machines: Farm, plan: Path, tmp_path: Path) -> None:
    machines.stop_workers("w2", "w3")
    (worker,) = machines.start_workers("w1")
    run = tmp_path / "run"
    process = machines.run(plan, "--run-dir", run)
    wait_for_cell(run)
    worker.kill()
    code, text = ended(machines, process)
    assert code == 3, text
    assert "no worker is left" in text
    found = verdicts(run)
    assert len(found) == CELLS, "a cell that is missing is named"
    missing = [each for each in found.values() if each.result is Result.ERROR]
    assert missing
    assert {each.findings[0].code for each in missing} == {Code.INFRASTRUCTURE_WORKER}


def test_the_scheduler_dies(machines: Farm, plan: Path, tmp_path: Path) -> None:
    machines.start_workers(*NAMES)
    run = tmp_path / "run"
    process = machines.run(plan, "--run-dir", run)
    wait_for_cell(run)
    assert machines.scheduler
    machines.scheduler.kill()
    code, text = ended(machines, process)
    assert code == 3, text
    assert "was lost" in text
    assert len(verdicts(run)) == CELLS
    wait_for(lambda: not machines.guests(), "the workers stop their guests")
    for worker in machines.running.values():
        worker.process.wait(SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_coordinator_is_stopped(
    machines: Farm, plan: Path, tmp_path: Path, number: signal.Signals
) -> None:
    machines.start_workers(*NAMES)
    run = tmp_path / "run"
    process = machines.run(plan, "--run-dir", run)
    wait_for_cell(run)
    assert machines.guests()
    process.send_signal(number)
    deadline = time.monotonic() + GUEST_SECONDS * slowness()
    while left := machines.guests():
        assert time.monotonic() < deadline, left
    code, text = ended(machines, process)
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL), text


def slowness() -> float:
    """How many times slower a process is for all others of this machine."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def test_two_coordinators_share_the_workers(machines: Farm, plan: Path, tmp_path: Path) -> None:
    machines.start_workers(*NAMES)
    runs = [tmp_path / "one", tmp_path / "two"]
    processes = [machines.run(plan, "--run-dir", run) for run in runs]
    for run, process in zip(runs, processes, strict=True):
        code, text = ended(machines, process)
        assert code == 0, text
        assert results(run) == {Result.PASS: CELLS}
        assert not lost(run)


def wrong_clock(directory: Path, seconds: int) -> dict[str, str]:
    """Return the environment of a process whose clock is wrong by so many seconds."""
    library = directory / f"clock{seconds}.so"
    source = Path(__file__).with_name("wrong_clock.c")
    argv = ["cc", "-shared", "-fPIC", "-O1", f"-DWRONG={seconds}", "-o", library, source]
    subprocess.run(argv, check=True)
    return {"LD_PRELOAD": str(library)}


@needs_compiler
def test_the_clock_of_a_worker_is_wrong(machines: Farm, plan: Path, tmp_path: Path) -> None:
    machines.stop_workers(*NAMES)
    run = tmp_path / "run"
    begun = time.time()
    try:
        (worker,) = machines.start_workers("w1", **wrong_clock(tmp_path, -WRONG_SECONDS))
        there = time.strftime("%Y-%m-%d", time.localtime(begun - WRONG_SECONDS))
        assert worker.machine.output(worker.process).count(there) > 1, "Dask has the wrong clock"
        words = ("--limit", "none", "--subject", "true", "--run-dir", run)
        code, text = ended(machines, machines.run(plan, *words))
    finally:
        machines.stop_workers("w1")
    assert code == 0, text
    times = [each.at for each in told(run)]
    assert times == sorted(times)
    assert begun < times[0] <= times[-1] < time.time()


def test_a_worker_with_a_full_disk_gives_its_cells_away(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    machines.stop_workers(*NAMES)
    machines.workers["w1"].disk = "100m"
    try:
        machines.start_workers("w1", "w2")
        run = tmp_path / "run"
        code, text = ended(machines, machines.run(plan, "--run-dir", run))
    finally:
        machines.workers["w1"].disk = ""
        machines.stop_workers("w1")
    assert code == 0, text
    assert {each.worker for each in verdicts(run).values()} == {"w2"}
    assert "MiB free" in lost(run)["w1"]
    tried = {each.worker for verdict in verdicts(run).values() for each in verdict.attempts}
    assert "w1" not in tried, "it has not run a cell"


def test_a_worker_without_images_takes_them_from_the_machine_of_the_run(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    machines.stop_workers(*NAMES)
    store = machines.workers["w1"].home / "own-store"
    run = tmp_path / "run"
    words = (plan, "--guest", "uml-6.1", "--limit", "none", "--subject", "allocator")
    try:
        machines.start_workers("w1", FOOTHOLD_CACHE=str(store))
        (store / "locks").mkdir(parents=True, exist_ok=True)
        with (store / "locks/unpack").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # unpacking takes longer than a worker may be silent
            process = machines.run(*words, "--run-dir", run)
            wait_for(lambda: "w1: fetches" in progress(run), "the worker fetches images")
            until = time.monotonic() + SILENT_SECONDS + 5
            wait_for(lambda: time.monotonic() > until or process.poll() is not None, "it waits")
        code, text = ended(machines, process)
        assert code == 0, text
    finally:
        machines.stop_workers("w1")
    assert not lost(run)
    assert "downloading" not in progress(run)
    builder = Builder(Cache(store))
    assert builder.ready("root")
    assert not any(entry.all_damage() for entry in builder.cache.entries())


def test_a_worker_may_refuse_images(machines: Farm, plan: Path, tmp_path: Path) -> None:
    machines.stop_workers(*NAMES)
    store = machines.workers["w1"].home / "empty-store"
    words = (plan, "--guest", "uml-6.1", "--limit", "none", "--subject", "allocator")
    for most, why in (("0", "downloading"), ("1", "MiB of images are more than 1 MiB")):
        run = tmp_path / most
        environment = {"FOOTHOLD_CACHE": str(store), "FOOTHOLD_FETCH_IMAGES": most}
        try:
            machines.start_workers("w1", **environment)
            code, text = ended(machines, machines.run(*words, "--run-dir", run))
        finally:
            machines.stop_workers("w1")
        assert code == 3, text  # it cannot download what it would build
        assert why in progress(run)
        assert "fetches" not in progress(run)


def progress(run: Path) -> str:
    """What was told besides verdicts."""
    file = run / "events.jsonl"
    found = told(run) if file.exists() and "run-started" in file.read_text() else []
    return "\n".join(each.what for each in found if isinstance(each, Progress))


def test_large_evidence_is_cut_and_the_verdict_says_so(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    machines.start_workers("w1")
    run = tmp_path / "run"
    program = tmp_path / "wordy"
    program.write_text("#!/bin/sh\nhead -c 3500000 /dev/zero | tee /dev/stderr large\n")
    program.chmod(0o755)
    words = ("--guest", "native", "--limit", "none", "--subject", program, "--timeout", "60",
             "--expect", "anything")  # fmt: skip
    code, text = ended(machines, machines.run(*words, "--run-dir", run))
    assert code == 0, text
    (verdict,) = verdicts(run).values()
    assert any("the evidence is cut" in note for note in verdict.notes)
    files = [each for each in Path(verdict.artefacts).rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in files) < 9 << 20


def test_a_worker_of_another_version_gets_no_cell(
    machines: Farm, plan: Path, tmp_path: Path
) -> None:
    machines.stop_workers(*NAMES)
    other = tmp_path / "other/foothold_lab"
    shutil.copytree(ROOT / "src/foothold_lab", other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "harness/__init__.py").open("a") as file:
        file.write("\n# another version\n")
    machines.start_workers("w1", PYTHONPATH=str(other.parent))
    run = tmp_path / "run"
    try:
        code, text = ended(machines, machines.run(plan, "--run-dir", run))
        assert code == 2, text
        assert "the worker w1 is refused: it has Foothold" in text
        assert "remedy: install the same Foothold" in text
        machines.start_workers("w2")
        code, text = ended(machines, machines.run(plan, "--run-dir", run))
    finally:
        machines.stop_workers("w1")
    assert code == 0, text
    assert {each.worker for each in verdicts(run).values()} == {"w2"}
    assert any("w1 is refused" in each.what for each in told(run) if isinstance(each, Progress))


def test_the_machine_of_each_worker_is_a_guest(machines: Farm, plan: Path, tmp_path: Path) -> None:
    machines.start_workers(*NAMES)
    run = tmp_path / "run"
    words = (plan, "--guest", "native@*", "--limit", "none", "--subject", "true")
    code, text = ended(machines, machines.run(*words, "--run-dir", run))
    assert code == 0, text
    assert {cell: each.worker for cell, each in verdicts(run).items()} == {
        f"native@{name}/none/true": name for name in NAMES
    }
    code, text = ended(machines, machines.run(plan, "--guest", "native@w9"))
    assert code == 2, text
    assert "its workers are: w1, w2, w3" in text
    code, text = ended(machines, machines.head.foothold("run", plan, "--guest", "native@w1"))
    assert code == 2, text
    assert "--cluster ADDRESS" in text


def printed(machines: Farm, file: Path, *words: str | Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a command on the head. Its standard output goes to a file."""
    script = 'out=$1; shift; exec "$@" >"$out"'
    argv = (sys.executable, "-m", "foothold_lab.harness.cli", *words)
    return machines.head.start("sh", "-c", script, "sh", file, *argv), file


def test_the_atlas_has_the_machine_of_each_worker(machines: Farm, tmp_path: Path) -> None:
    machines.start_workers(*NAMES)
    words = ("atlas", "--json", "native", "native@*", "uml-6.1", "docker:no.such/image:1")
    process, file = printed(
        machines, tmp_path / "farm", *words, "docker@w2", "--cluster", machines.cluster
    )
    code, text = ended(machines, process)
    assert code == 0, text
    found = json.loads(file.read_text())
    engines = ["docker@w2"] if answers() else []
    assert list(found) == ["native", *(f"native@{name}" for name in NAMES), "uml-6.1", *engines]
    assert "docker:no.such/image:1: " in text
    assert engines or "docker@w2: " in text
    process, file = printed(machines, tmp_path / "alone", "atlas", "--json", "native", "uml-6.1")
    code, text = ended(machines, process)
    assert code == 0, text
    alone = json.loads(file.read_text())
    for name in ("task_size", "release", "page_size", "machine"):
        assert found["uml-6.1"][name] == alone["uml-6.1"][name]
        for worker in NAMES:
            assert found[f"native@{worker}"][name] == alone["native"][name]


def test_the_survey_of_a_farm_is_that_of_one_machine_and_has_each_machine(
    machines: Farm, tmp_path: Path
) -> None:
    workers = machines.start_workers(*NAMES)
    words = ("survey", "--subject", SURVEYED, "--limit", "none", "--limit", "rlimit_as=1G",
             "--guest", "native", "--guest", "uml-6.1", "--no-history", "--run-dir")  # fmt: skip
    code, text = ended(machines, machines.head.foothold(*words, tmp_path / "alone"))
    assert code == 0, text
    run = tmp_path / "run"
    process, page = printed(
        machines, tmp_path / "page.md", *words, run, "--guest", "native@*", "--cluster",
        machines.cluster,
    )  # fmt: skip
    search = "uml-6.1: go-hello: rlimit_as="
    wait_for(lambda: search in machines.head.output(process), "a threshold is searched for")
    victim = with_guests(workers)
    victim.kill()
    code, text = ended(machines, process)
    assert victim.machine.name in lost(run)
    alone, found = read(tmp_path / "alone"), read(run)
    missing = {guest for guest, _, _ in found.missing_thresholds}
    assert missing <= {f"native@{victim.machine.name}"}, (
        "only its own machine is lost with a worker"
    )
    assert code == (3 if missing else 0), text
    starting = {place: (each.starts, each.verdict.result) for place, each in alone.cells.items()}
    for (guest, limits, subject), each in found.cells.items():
        kind = "native" if guest.startswith("native@") else guest
        assert (each.starts, each.verdict.result) == starting[kind, limits, subject]
    guests = ("native", "uml-6.1", *(f"native@{name}" for name in NAMES))
    assert tuple(found.guests) == guests
    assert {each.guest for each in found.thresholds} == {*guests} - missing
    for one in found.thresholds:
        assert edge(one.guest, found) == pytest.approx(edge(one.guest, alone), rel=0.1)
    assert "| native | uml-6.1 | native@w1 | native@w2 | native@w3 |" in page.read_text()


def edge(guest: str, survey: Survey) -> int:
    """The smallest limit under which the subject starts in a guest, or in `native` for a worker's."""
    kind = guest if guest in survey.guests else guest.partition("@")[0]
    (found,) = (each for each in survey.thresholds if each.guest == kind)
    assert found.search.edge in (Edge.FOUND, Edge.SEVERAL)
    assert found.search.smallest
    return found.search.smallest


def certificates(directory: Path) -> dict[str, str]:
    """Make certificates with the commands of the page, and return the variables that name them."""
    directory.mkdir()
    blocks = [each for each in blocks_of(ROOT / "docs/cluster.md") if "pem" in each.text]
    (making,) = (each for each in blocks if "openssl" in each.text)
    (naming,) = (each for each in blocks if "export" in each.text)
    exports = [each for each in naming.commands if each.startswith("export")]
    script = "\n".join(["set -e", *making.commands, *exports, "env -0"])
    done = subprocess.run(
        ["sh", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, "HOME": str(directory)},
    )
    pairs = (each.partition("=")[::2] for each in done.stdout.split("\0"))
    return {name: value for name, value in pairs if name.startswith("DASK_DISTRIBUTED__COMM__TLS")}


@pytest.fixture
def secured(lab: Farm, tmp_path: Path) -> Iterator[Farm]:
    """Machines with a scheduler that uses TLS."""

    def stop() -> None:
        lab.stop_workers(*NAMES)
        if lab.scheduler:
            lab.scheduler.kill()
            lab.scheduler.wait()

    stop()
    lab.tls = certificates(tmp_path / "certificates")
    try:
        lab.start_scheduler()
        yield lab
    finally:
        stop()
        lab.tls = {}


def test_cells_run_over_tls_and_only_with_a_certificate(
    secured: Farm, plan: Path, tmp_path: Path
) -> None:
    secured.start_workers("w1")
    run = tmp_path / "run"
    words = ("run", plan, "--limit", "none", "--subject", "true", "--cluster", secured.cluster)
    code, text = ended(secured, secured.run(*words[1:6], "--run-dir", run))
    assert code == 0, text
    assert secured.cluster.startswith("tls://")
    assert {each.worker for each in verdicts(run).values()} == {"w1"}

    code, text = ended(secured, secured.head.foothold(*words))
    assert code == 2, text
    assert "needs a certificate" in text
    assert "remedy: name the files in DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in text
    worker = secured.workers["w2"].foothold("worker", secured.cluster)
    assert worker.wait(SECONDS) == 2
    assert "names none for a worker" in secured.workers["w2"].output(worker)

    others = certificates(tmp_path / "others")
    code, text = ended(secured, secured.head.foothold(*words, **others))
    assert code == 3, text
    assert "its certificate is refused: certificate signature failure" in text
    code, text = ended(
        secured, secured.head.foothold(*words[:-1], secured.cluster.replace("tls", "tcp"))
    )
    assert code == 3, text
    assert "if it uses TLS, write tls://" in text


def certificate_of(authority: Path, directory: Path, *days: str) -> dict[str, str]:
    """Make a certificate of an authority for these days, and return the variables that name it."""
    directory.mkdir()
    for name in ("ca.pem", "ca-key.pem", "key.pem", "request.pem"):
        shutil.copy2(authority / name, directory)
    argv = ["openssl", "x509", "-req", *days, "-in", "request.pem", "-CA", "ca.pem",
            "-CAkey", "ca-key.pem", "-CAcreateserial", "-out", "cert.pem"]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True, cwd=directory)
    comm = "DASK_DISTRIBUTED__COMM__TLS__"
    pair = {"CERT": "cert.pem", "KEY": "key.pem"}
    return {
        f"{comm}CA_FILE": str(directory / "ca.pem"),
        **{
            f"{comm}{role}__{name}": str(directory / file)
            for role in ("CLIENT", "SCHEDULER", "WORKER")
            for name, file in pair.items()
        },
    }


def test_a_certificate_that_has_ended_is_named(secured: Farm, plan: Path, tmp_path: Path) -> None:
    authority = Path(secured.tls["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"]).parent
    ended_one = certificate_of(authority, tmp_path / "ended", "-days", "-1")
    words = ("run", plan, "--limit", "none", "--subject", "true", "--cluster", secured.cluster)
    code, text = ended(secured, secured.head.foothold(*words, **ended_one))
    assert code == 2, text
    assert "ended/cert.pem ended on" in text
    assert "remedy: make new certificates" in text
    machine = secured.workers["w1"]
    worker = machine.foothold("worker", secured.cluster, **ended_one)
    assert worker.wait(SECONDS) == 2
    assert "ended/cert.pem ended on" in machine.output(worker)

    good, secured.tls = secured.tls, ended_one  # now it is that of the scheduler
    assert secured.scheduler
    secured.scheduler.kill()
    secured.scheduler.wait()
    secured.start_scheduler()
    code, text = ended(secured, secured.head.foothold(*words, **good))
    assert code == 3, text
    assert "its certificate is refused: certificate has expired" in text
    assert "remedy: make certificates of one authority" in text


@needs_compiler
def test_a_wrong_clock_is_named_where_a_certificate_is_not_valid_for_it(
    secured: Farm, plan: Path, tmp_path: Path
) -> None:
    behind = secured.tls | wrong_clock(tmp_path, -WRONG_SECONDS)
    machine = secured.workers["w1"]
    worker = machine.foothold("worker", secured.cluster, **behind)
    assert worker.wait(SECONDS) == 2
    assert "begins on" in machine.output(worker)
    assert "remedy: set the clock of this machine" in machine.output(worker)
    ahead = secured.tls | wrong_clock(tmp_path, WRONG_SECONDS)
    worker = machine.foothold("worker", secured.cluster, **ahead)
    assert worker.wait(SECONDS) == 2
    assert "set the clock of this machine" in machine.output(worker)
