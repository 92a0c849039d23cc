"""Subjects that lie or run wild, in a real guest: each is bounded, and named."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from foothold_lab.harness import subjects
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import (
    Expectation,
    Outcome,
    ReservationPath,
    Result,
    Verdict,
)
from foothold_lab.harness.runner import RunOptions, run_cells
from foothold_lab.harness.subjects import ProgramOptions, Subject, of_program
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64
from tests.host_compiler import dynamic_compiler, need_glibc

GUESTS = ("native", "uml-bookworm", "uml-testing")


def verdict(
    subject: Subject, guest: str, builder: Builder, directory: Path, expect: str = "starts"
) -> Verdict:
    """One cell of the subject, for real."""
    from foothold_lab.harness.guests.catalogue import known_guests

    name = known_guests(builder)[guest]
    cell = Cell(
        guest=name,
        limits=Limits(),
        policy="",
        subject=subject.name,
        expected=Expectation.parse(expect),
    )
    seen: list[events.AnyEvent] = []
    run_cells(
        [cell],
        RunOptions(directory=directory, builder=builder, jobs=1, subjects={subject.name: subject}),
        seen.append,
    )
    [done] = [each.verdict for each in seen if isinstance(each, events.CellFinished)]
    if done.result is Result.UNSUPPORTED:
        pytest.skip(done.reason)
    return done


def script(directory: Path, text: str, name: str = "subject.sh") -> str:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("guest", GUESTS)
def test_a_subject_that_leaves_a_daemon(guest: str, builder: Builder, tmp_path: Path) -> None:
    daemon = script(tmp_path, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &\nexit 0")
    done = verdict(of_program(daemon), guest, builder, tmp_path / "run")
    assert done.observed
    assert (done.result, done.observed.contradictions) == (Result.PASS, ())
    assert "which were ended" in done.observed.evidence["left behind"]


@pytest.mark.parametrize("guest", GUESTS)
def test_a_subject_that_never_ends(guest: str, builder: Builder, tmp_path: Path) -> None:
    server = script(tmp_path, "while :; do sleep 1; done")
    started = time.monotonic()
    done = verdict(
        of_program(server, options=ProgramOptions(timeout=0.5)), guest, builder, tmp_path / "run"
    )
    assert time.monotonic() - started < 30
    assert done.observed
    assert (done.result, done.observed.outcome) == (Result.PASS, Outcome.STARTS)
    assert "was still running after" in done.observed.evidence["ending"]


@pytest.mark.parametrize("guest", GUESTS)
def test_a_subject_that_prints_a_gigabyte(guest: str, builder: Builder, tmp_path: Path) -> None:
    """It is read to its end, and not kept. A pipe in UML takes 6 MB/s: there less has to do."""
    size = 1_000_000_000 if guest == "native" else 20_000_000
    flood = script(tmp_path, f"yes 0123456789 | head -c {size}")
    done = verdict(
        of_program(flood, options=ProgramOptions(timeout=60)), guest, builder, tmp_path / "run"
    )
    assert done.observed
    assert (done.result, done.observed.outcome) == (Result.PASS, Outcome.STARTS)
    assert done.observed.evidence["cut stdout"] == "there was more than is kept"
    assert (Path(done.artefacts) / "stdout").stat().st_size == 4 << 20


def test_a_subject_that_closes_its_outputs(builder: Builder, tmp_path: Path) -> None:
    mute = script(tmp_path, "exec >&- 2>&- <&-; sleep 0.1; exit 7")
    done = verdict(of_program(mute), "uml-bookworm", builder, tmp_path / "run")
    assert done.observed
    assert (done.result, done.observed.status) == (Result.FAIL, 7)


@pytest.mark.parametrize(
    ("guest", "result", "code"),
    [
        ("native", Result.FAIL, Code.TRACE_INCOMPLETE),  # strace
        pytest.param("uml-testing", Result.ERROR, Code.GUEST_KILLED, marks=pytest.mark.uml),
    ],
)
def test_a_subject_that_kills_its_tracer(
    guest: str, result: Result, code: Code, builder: Builder, tmp_path: Path
) -> None:
    """The trace ends before the subject does, so it proves nothing."""
    murder = script(
        tmp_path,
        "while read key value; do [ $key = TracerPid: ] && kill -9 $value; done </proc/$$/status\n"
        "exit 0",
    )
    done = verdict(of_program(murder), guest, builder, tmp_path / "run")
    assert done.result is result
    assert code in [each.code for each in done.findings]


LIAR = """
import os, sys
line = {"schema": 1, "pid": os.getpid(), "policy": "after", "workload": "default",
        "pointer_size": 8, "page_size": 4096, "end": 1, "kernel": "real", "python": "3"}
import json
def say(event, **more):
    print(json.dumps({"event": event, **more}, separators=(",", ":")), flush=True)
def hold(at):
    say("hold", at=at)
    sys.stdin.readline()
high = {"path": "high", "arena_start": 0xf840000000, "arena_used": 0xf840100000,
        "arena_end": 0xfc40000000}
say("start", **line)
say("call", name="mmap", args=[0xf840000000, 1 << 20, 7, 0x22], result=0xf840000000)
say("reserved", base=0xf800000000, length=0x440000000, bitmap=0xf800000000,
    bitmap_size=1 << 30, **high)
hold("reserved")
say("workload", name="default", small=270, large=8, bytes=1, verified=True)
hold("end")
say("end", stats={}, **high)
"""


@pytest.mark.uml
def test_a_subject_with_a_false_report(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foothold_lab.harness.guests.catalogue import known_guests

    monkeypatch.setattr(
        subjects,
        "command",
        lambda subject, cell, paths, *, trace: (paths.python, "-I", "-S", "-c", LIAR),
    )
    cell = Cell(guest=known_guests(builder)["uml-testing"], limits=Limits(), policy="after")
    seen: list[events.AnyEvent] = []
    run_cells([cell], RunOptions(directory=tmp_path / "run", builder=builder, jobs=1), seen.append)
    [done] = [each.verdict for each in seen if isinstance(each, events.CellFinished)]
    assert done.result is Result.FAIL
    maps = [each.text for each in done.findings if each.code is Code.REPORT_VS_MAPS]
    trace = [each.text for each in done.findings if each.code is Code.REPORT_VS_TRACE]
    assert any("high" in text and "reserved" in text for text in maps), maps
    claimed = "mmap(0xf840000000, 0x100000, 0x7, 0x22) = 0xf840000000"
    assert any(claimed in text for text in trace), trace


PROGRAM = r"""
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    char *want = (char *)(0xf8UL << 32), *got;
    got = mmap(want, 17UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got != want) {
        if (got != MAP_FAILED) munmap(got, 17UL << 30);
        got = mmap((void *)0x10000000, 640 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (got == MAP_FAILED) { fprintf(stderr, "no address space\n"); return 3; }
    return 0;
}
"""


@pytest.fixture(scope="module")
def compiled(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dynamically linked program, made with the images' own compiler."""
    need_glibc()
    folder = tmp_path_factory.mktemp("program")
    (folder / "reserve.c").write_text(PROGRAM)
    command = dynamic_compiler(builder, AMD64)
    subprocess.run([*command, "-o", folder / "reserve", folder / "reserve.c"], check=True)
    return str(folder / "reserve")


@pytest.mark.parametrize("root", ["image", "host"])
@pytest.mark.parametrize(
    ("guest", "path", "told"),
    [
        ("native", ReservationPath.HIGH, "17G --- at 0xf800000000: honoured"),
        ("uml-testing", ReservationPath.HIGH, "17G --- at 0xf800000000: honoured"),
        (
            "uml-bookworm",
            ReservationPath.LOW,
            "gave it back, and asked for less; 640M --- at 0x10000000",
        ),
    ],
)
def test_a_program_with_its_libraries_or_the_root_of_the_host(
    root: subjects.Root,
    guest: str,
    path: ReservationPath,
    told: str,
    compiled: str,
    builder: Builder,
    tmp_path: Path,
) -> None:
    subject = of_program(compiled, options=ProgramOptions(root=root))
    done = verdict(subject, guest, builder, tmp_path, f"path:{path}")
    assert done.observed
    assert (done.result, done.observed.path) == (Result.PASS, path), done
    assert told in done.observed.evidence["trace"]
    where = "0xf800000000" if path is ReservationPath.HIGH else "0x10000000"
    assert f"at {where}" in done.observed.evidence["maps at the end"]


def test_cannot_write_to_the_root_of_the_host(builder: Builder, tmp_path: Path) -> None:
    where = tmp_path / "victim"
    where.touch()
    test = script(
        tmp_path,
        "for d in /etc /usr /var /; do touch $d/foothold-was-here && exit 9; done 2>/dev/null\n"
        f"echo hello > /tmp/mine && [ ! -e {where} ]",
    )
    done = verdict(
        of_program(test, options=ProgramOptions(root="host")),
        "uml-testing",
        builder,
        tmp_path / "run",
    )
    assert done.result is Result.PASS, done
    assert not Path("/etc/foothold-was-here").exists()
