"""Real runtimes in real guests: shown at one place everywhere, started, and told as they were."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import catalogue, known_guests
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.verdict import Expectation, Outcome, Result, Verdict
from foothold_lab.harness.runner import RunOptions, open_guest, run_cells
from foothold_lab.harness.subjects.packaged import subject
from foothold_lab.harness.subjects.subject import ProgramOptions, Subject, of_program
from foothold_lab.harness.threshold import Edge, ThresholdQuery, find_threshold
from foothold_lab.images.builder import Builder
from tests.guests.conftest import BootGuest

GUESTS = ("native", "docker", "qemu-x86_64", "uml-bookworm", "uml-testing")
NARROW = ("uml-bookworm",)
SUBJECTS = ("go-hello", "c-asan", "c-jemalloc")
Verdicts = dict[tuple[str, str], Verdict]


def verdicts(
    builder: Builder, directory: Path, guests: tuple[str, ...], *subjects: Subject
) -> Verdicts:
    """Each of the subjects in each of the guests, by the names that were given."""
    known = known_guests(builder)
    cells = [
        Cell(
            guest=known[guest],
            limits=Limits(),
            policy="",
            subject=each.name,
            expected=Expectation.parse("anything"),
        )
        for guest in guests
        for each in subjects
    ]
    asked = {(known[guest], each.name): guest for guest in guests for each in subjects}
    done = judged(cells, builder, directory, *subjects)
    return {(asked[cell.guest, cell.subject], cell.subject): done[cell.id] for cell in cells}


def judged(
    cells: list[Cell], builder: Builder, directory: Path, *subjects: Subject
) -> dict[str, Verdict]:
    """Run cells, and return their verdicts by the names of the cells."""
    seen: list[events.AnyEvent] = []
    run_cells(
        cells,
        RunOptions(directory=directory, builder=builder, subjects={s.name: s for s in subjects}),
        seen.append,
    )
    return {each.cell: each.verdict for each in seen if isinstance(each, events.CellFinished)}


@pytest.mark.weekly
def test_thread_sanitizer_dies_of_32_random_bits(builder: Builder, tmp_path: Path) -> None:
    """Its runtime of gcc 12 knows where programs are with 28 bits of ASLR. Distributions ship 32, with
    which the kernel places a program elsewhere: google/sanitizers#1716. The runtime names the mapping
    that it did not expect (47 of 60 starts), or that mapping lies where its shadow memory goes, and it
    is killed by SIGSEGV before it can print (8 of 60). The others start.
    """
    guest, tsan = known_guests(builder)["qemu-x86_64"], subject("c-tsan", builder)
    cells = [
        Cell(
            guest=guest,
            limits=Limits.parse(f"mmap_rnd_bits={bits}"),
            policy="",
            subject=tsan.name,
            expected=Expectation.parse("anything"),
            repeat=repeat,
        )
        for bits, repeat in ((28, 1), *((32, repeat) for repeat in range(1, 7)))
    ]
    done = judged(cells, builder, tmp_path / "run", tsan)
    usual, *many = (done[cell.id] for cell in cells)
    if usual.result is Result.UNSUPPORTED:
        pytest.skip(str(usual.findings))
    assert usual.observed
    assert usual.observed.outcome is Outcome.STARTS
    seen = [each.observed for each in many if each.observed]
    died = [each for each in seen if each.outcome is Outcome.DIES]
    assert len(seen) == 6
    named = [
        each
        for each in died
        if "FATAL: ThreadSanitizer: unexpected memory mapping" in each.last_output
    ]
    assert named
    assert all(each.signal == signal.SIGSEGV for each in died if each not in named)


@pytest.mark.parametrize("guest", ["native", "bubblewrap", "nspawn", "docker", "gvisor", "uml-6.1"])
def test_a_runtime_changes_no_image(guest: str, builder: Builder, tmp_path: Path) -> None:
    """Without -B, CPython writes files of bytecode (.pyc) beside its modules."""
    python = subject("python-hello", builder)
    found = verdicts(builder, tmp_path / "run", (guest,), python)
    if found[guest, python.name].result is Result.UNSUPPORTED:
        pytest.skip(str(found[guest, python.name].findings))
    assert found[guest, python.name].result is Result.PASS
    for name in ("root", python.image):
        entry = builder.cache.load(builder.image(name))
        assert entry
        assert entry.all_damage() == []
    assert not list((builder.cache.root / "store").glob(".*"))


def test_a_runtime_starts_where_its_addresses_exist(builder: Builder, tmp_path: Path) -> None:
    """Three images in every guest that this machine has, by one boot of each."""
    subjects = [subject(name, builder) for name in SUBJECTS]
    found = verdicts(builder, tmp_path / "run", GUESTS, *subjects)
    there = [guest for guest in GUESTS if found[guest, "go-hello"].result is Result.PASS]
    assert "native" in there
    for guest in there:
        heap, asan, malloc = (found[guest, name].observed for name in SUBJECTS)
        assert heap
        assert asan
        assert malloc
        assert not (*heap.contradictions, *asan.contradictions, *malloc.contradictions)
        assert (heap.outcome, malloc.outcome) == (Outcome.STARTS, Outcome.STARTS)
        if guest in NARROW:
            assert "64M --- at 0xc000000000: moved" in heap.evidence["trace"]
            assert str(asan).startswith("dies, status 1: ==")
            assert "Shadow memory range interleaves with an existing" in asan.message
        else:
            granted = "64M --- at 0xc000000000: honoured, 0xc000000000"
            assert granted in heap.evidence["trace"]
            assert "hello from 0xc0" in heap.last_output
            assert asan.outcome is Outcome.STARTS


@pytest.mark.weekly
def test_a_runtime_of_another_machine_in_39_bits(builder: Builder, tmp_path: Path) -> None:
    """Its image is a disk of a foreign kernel's, and simply there for an emulator."""
    guests = ("qemu-riscv64-sv39", "qemu-user-riscv64-39bit")
    go = subject("go-hello-riscv64", builder)
    found = verdicts(builder, tmp_path / "run", guests, go)
    for guest in guests:
        observed = found[guest, go.name].observed
        assert observed, found[guest, go.name].findings
        assert (observed.outcome, observed.contradictions) == (Outcome.STARTS, ())
        assert "64M --- at 0xc000000000: moved" in observed.evidence["trace"]
        assert "hello from 0x" in observed.last_output


def test_a_guest_shows_an_image_read_only(
    place: GuestConfig, boot: BootGuest, uml: Callable[..., VirtualMachine]
) -> None:
    """The root of the guest is read-only, and has no such directory."""
    config = replace(place, images=("go",), memory=128)
    guest = uml(config)
    boot(guest)
    [image] = config.image_paths()
    test = (
        f"{image}/hello && ! touch {image}/x 2>/dev/null && ! touch /x 2>/dev/null && "
        f"touch /tmp/x && cd {image} && [ $(pwd) = {image} ] && [ -e /usr/bin/python3 ]"
    )
    record = run_program(guest, ["/bin/sh", "-c", test], Limits(), Deadline.after(60))
    assert (record.ending.status, record.stderr) == (0, b""), record.stdout


def test_runs_a_busy_program_again_without_a_tracer(builder: Builder, tmp_path: Path) -> None:
    """OpenJDK with ZGC looks for its heap 17,000 times in 39 bits: traced it takes a minute, and
    was once counted as started when our patience ended.
    """
    zgc = replace(subject("java-zgc", builder), timeout=4.0)
    done = verdicts(builder, tmp_path / "run", ("uml-trixie",), zgc)["uml-trixie", "java-zgc"]
    if done.result is Result.UNSUPPORTED:
        pytest.skip(done.reason)
    assert done.observed
    assert done.observed.outcome is Outcome.DIES, done
    assert "Failed to reserve" in done.observed.message
    assert "still running" in done.observed.evidence["ending, traced"]
    assert "exactly 0x40000000000: refused, ENOMEM" in done.observed.evidence["trace"]
    assert any("run again without a tracer" in note for note in done.notes)


def test_stops_a_server_when_it_is_ready(builder: Builder, tmp_path: Path) -> None:
    server = tmp_path / "server"
    server.write_text("#!/bin/sh\necho listening on 80\nsleep 1000\n")
    server.chmod(0o755)
    started = time.monotonic()
    one = of_program(str(server), options=ProgramOptions(ready_pattern="^listening", timeout=100))
    done = verdicts(builder, tmp_path / "run", ("native",), one)["native", "server"]
    assert time.monotonic() - started < 50
    assert done.observed
    assert done.observed.outcome is Outcome.STARTS
    assert "ready" in done.observed.evidence["ending"]
    mute = replace(one, ready_pattern="^ready", timeout=0.5)
    silent = verdicts(builder, tmp_path / "again", ("native",), mute)["native", "server"]
    assert silent.observed
    assert silent.observed.outcome is Outcome.HANGS


def test_a_script_without_interpreter_is_unsupported(builder: Builder, tmp_path: Path) -> None:
    script = tmp_path / "script.pl"
    script.write_text("#!/usr/bin/env perl\n")
    script.chmod(0o755)
    one = of_program(str(script))
    done = verdicts(builder, tmp_path / "run", ("uml-testing",), one)["uml-testing", one.name]
    assert done.result is Result.UNSUPPORTED
    assert "has no perl" in done.reason or "UML" in done.reason


def test_finds_the_smallest_limit_in_one_boot(builder: Builder, tmp_path: Path) -> None:
    """Go reserves 1.1 GiB for its metadata in pieces, gives up those that it can do without, and
    needs the rest.
    """
    name = known_guests(builder)["uml-testing"]
    go = subject("go-hello", builder)
    support = _guest(builder, name, tmp_path).supported()
    if not support.ok:
        pytest.skip(support.reason)
    told: list[str] = []
    options = RunOptions(directory=tmp_path / "run", builder=builder, subjects={go.name: go})
    with open_guest(name, options, lambda event: None) as booted:
        query = ThresholdQuery(low=256 << 20, high=2 << 30, precision=32 << 20)
        found = find_threshold(go, booted, query, told.append)
    assert found.search.edge is Edge.FOUND, found
    assert found.search.smallest
    assert 512 << 20 < found.search.smallest < 1 << 30
    assert "ENOMEM" in found.refused
    assert "dies, status 2" in found.observed
    assert told[:3] == ["none: starts", "rlimit_as=2G: starts", told[2]]
    assert told[2].startswith("rlimit_as=256M: ")


def _guest(builder: Builder, name: str, scratch: Path) -> Guest:
    return catalogue(builder)[name].make(
        GuestConfig(directory=scratch, share=scratch, builder=builder)
    )
