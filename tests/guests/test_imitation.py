"""A ceiling against the real thing: a kernel whose address space ends there, call by call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from foothold_lab.harness import subjects
from foothold_lab.harness.evidence.strace import doubts, follow_subject, parse_trace
from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import catalogue, known_guests
from foothold_lab.harness.guests.limit_support import measure_under
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.ledger import Answer, Map
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.model.verdict import Observation, Result
from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64
from tests.guests.conftest import BootGuest, happen

NARROW = ("uml-bullseye", "uml-bookworm", "uml-trixie")  # of 39 bits, bottom-up
PROGRAM = "narrow"


@pytest.fixture(scope="module")
def share(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a static program that asks about the end of its address space."""
    share = tmp_path_factory.mktemp("share")
    subjects.deploy(share)
    subprocess.run(
        [*compiler.command(builder.image, AMD64), "-O1", "-static", "-o", share / PROGRAM,
         Path(__file__).with_name("narrow.c")],
        check=True,
    )  # fmt: skip
    return share


def booted(
    name: str, builder: Builder, directory: Path, share: Path, boot: BootGuest
) -> tuple[Guest, Facts]:
    directory.mkdir(exist_ok=True)
    kind = catalogue(builder)[known_guests(builder)[name]]
    for image in kind.images:
        builder.image(image)
    guest = kind.make(
        GuestConfig(
            directory=directory, share=share, builder=builder, cpu=max(os.sched_getaffinity(0))
        )
    )
    return guest, boot(guest)


@pytest.mark.parametrize("name", NARROW)
def test_the_imitation_answers_as_the_real_kernel_does(
    name: str, builder: Builder, tmp_path: Path, share: Path, boot: BootGuest
) -> None:
    """Every call the same answer, to the address, with errors, moves, threads, children, execs."""
    native, own = booted("native", builder, tmp_path / "native", share, boot)
    real, facts = booted(name, builder, tmp_path / name, share, boot)
    assert facts.bits == 39
    as_uml = Limits.parse(f"layout=legacy+ceiling={facts.task_size:#x}")
    deadline = Deadline.after(60 * real.scale)
    imitated = measure_under(native, own, as_uml, deadline)
    for each in ("task_size", "placement", "first", "hint_high", "hint_low", "hint_beyond"):
        assert getattr(imitated, each) == getattr(facts, each), each
    end = hex(facts.task_size)
    true = run_program(real, [f"{real.paths.share}/{PROGRAM}", end], Limits(), deadline)
    answers = run_program(native, [f"{native.paths.share}/{PROGRAM}", end], as_uml, deadline)
    assert true.ending.status == 0
    assert answers.stdout.decode() == true.stdout.decode()


@pytest.mark.uml
def test_the_allocator_goes_the_same_way_in_both(builder: Builder, tmp_path: Path) -> None:
    name = known_guests(builder)[NARROW[0]]
    limits = ("none", "rlimit_as=300M", "rlimit_data=9M", "hints=ignored", "fail=hinted:2:ENOMEM")
    asked = [(limit, policy) for limit in limits for policy in ("before", "after", "memlimit")]
    real = [Cell(guest=name, limits=Limits.parse(limit), policy=policy) for limit, policy in asked]
    as_uml = "layout=legacy+ceiling=0x7fc0000000"
    imitated = [
        Cell(
            guest="native",
            limits=Limits.parse(as_uml if limit == "none" else f"{as_uml}+{limit}"),
            policy=policy,
        )
        for limit, policy in asked
    ]
    happened = happen([*real, *imitated], builder, tmp_path)

    def seen(cell: Cell) -> Observation:
        verdict = happened.verdicts[cell.id]
        assert verdict.result is Result.PASS, (cell.id, verdict.findings)
        assert not any("not traced" in note for note in verdict.notes)
        assert verdict.observed
        return verdict.observed

    for one, other in zip(real, imitated, strict=True):
        a, b = seen(one), seen(other)
        assert (a.path, a.outcome, a.status, a.message) == (b.path, b.outcome, b.status, b.message)


FAULTS = ("hints=ignored", "occupied=0x2800000000-0x3000000000", "fail=hinted:1:ENOMEM")


@pytest.mark.parametrize(
    ("wide", "ceiling", "narrow"),
    [
        # with three levels of page table, and where they are imitated on four
        ("qemu-riscv64-sv48", "ceiling=38bit", "qemu-riscv64-sv39"),
        ("qemu-arm64", "ceiling=39bit", "qemu-user-arm64-39bit"),
        # pages of 16 KiB, with four levels and with three
        ("qemu-arm64-16k-va52", "ceiling=47bit", "qemu-arm64-16k"),
    ],
)
def test_other_machines_are_narrowed_as_well(
    wide: str, ceiling: str, narrow: str, builder: Builder, tmp_path: Path
) -> None:
    policies = ("before", "after")
    real = [Cell(guest=narrow, limits=Limits(), policy=policy) for policy in policies]
    imitated = [
        Cell(guest=wide, limits=Limits.parse(ceiling), policy=policy) for policy in policies
    ]
    others = [Cell(guest=wide, limits=Limits.parse(limit), policy="after") for limit in FAULTS]
    happened = happen([*real, *imitated, *others], builder, tmp_path)
    for cell in (*real, *imitated, *others):
        verdict = happened.verdicts[cell.id]
        assert verdict.result is Result.PASS, (cell.id, verdict.findings)
        assert not any("not traced" in note for note in verdict.notes)
    for one, other in zip(real, imitated, strict=True):
        a, b = happened.verdicts[one.id].observed, happened.verdicts[other.id].observed
        assert a
        assert b
        assert (a.path, a.outcome, a.status, a.message) == (b.path, b.outcome, b.status, b.message)


def test_the_agents_own_trace_tells_what_was_asked_and_what_was_given(
    builder: Builder, tmp_path: Path, share: Path, boot: BootGuest
) -> None:
    native, _ = booted("native", builder, tmp_path, share, boot)
    end = 1 << 38
    record = run_program(
        native,
        [f"{native.paths.share}/{PROGRAM}", hex(end)],
        Limits.parse("ceiling=38bit"),
        Deadline.after(60),
        how=Supervision(trace=True),
    )
    trace = parse_trace(record.trace or b"")
    subject_trace = follow_subject(trace, record.pid)
    assert doubts(trace, subject_trace, record.ending) == []
    assert len(trace.endings) == 7, "four threads, two children, and what the last thread became"
    assert subject_trace.programs[-1] == "/proc/self/exe"
    first, *_ = (
        each for each in trace.calls if each.name == "mmap" and each.args[0] == hex(end * 2)
    )
    assert first.result, "the hint as it was asked; the place as it was given"
    assert first.result < end
    given = [
        each.result
        for each in trace.calls
        if each.name in ("mmap", "mremap", "shmat")
        if each.result
    ]
    assert len(given) > 400
    assert max(given) < end


def test_a_hint_that_is_ignored_is_one_that_was_moved(
    builder: Builder, tmp_path: Path, share: Path, boot: BootGuest
) -> None:
    native, _ = booted("native", builder, tmp_path, share, boot)
    record = run_program(
        native,
        [f"{native.paths.share}/{PROGRAM}", hex(1 << 38), "child"],
        Limits.parse("hints=ignored+fail=mmap:1:EAGAIN"),
        Deadline.after(60),
        how=Supervision(trace=True),
    )
    steps = follow_subject(parse_trace(record.trace or b""), record.pid).steps
    first = next(each for each in steps if isinstance(each, Map))
    assert (first.reservation.answer, first.reservation.errno) == (Answer.REFUSED, "EAGAIN")
    assert first.line.endswith("(INJECTED)")


@pytest.mark.parametrize("trace", [True, False])
def test_a_subject_that_stops_without_end_is_ended_all_the_same(
    builder: Builder, tmp_path: Path, share: Path, boot: BootGuest, trace: bool
) -> None:
    native, _ = booted("native", builder, tmp_path, share, boot)
    record = run_program(
        native,
        [f"{native.paths.share}/{PROGRAM}", hex(1 << 38), "loop"],
        Limits.parse("ceiling=38bit"),
        Deadline.after(60),
        how=Supervision(trace=trace, timeout=0.5),
    )
    assert record.stopped
    assert record.ending.signal == 9
    assert "running" in record.maps
