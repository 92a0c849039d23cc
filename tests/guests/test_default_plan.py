"""The table of 2012: one guest of each family, both policies, for real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foothold_lab.harness.html_report.comparison import compare_runs
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_evidence, read_run
from foothold_lab.harness.html_report.space import RegionKind, segments
from foothold_lab.harness.model.errors import Blame
from foothold_lab.harness.model.events import GuestReady
from foothold_lab.harness.model.verdict import Outcome, ReservationPath, Result
from foothold_lab.images.builder import Builder
from tests.guests.conftest import Happened

NO_MEMORY = "throw: runtime: out of memory"
NO_ARENA = "throw: runtime: cannot reserve arena virtual address space"
HIGH = (ReservationPath.HIGH, Outcome.ALLOCATES, 0, "")
LOW = (ReservationPath.LOW, Outcome.ALLOCATES, 0, "")
LIMITS = ("none", "rlimit_as=300M", "rlimit_as=800M")
GUESTS = ("native", "docker", "uml-bookworm", "uml-testing")
EMULATED = ("qemu-x86_64", "qemu-arm64-16k", "qemu-user-arm64-39bit", "qemu-user-riscv64-39bit")
THREE_LEVELS = ("uml-bookworm", "uml-trixie", "qemu-user-arm64-39bit", "qemu-user-riscv64-39bit")
NARROW = "qemu-user-i386"  # pointers of 4 bytes, for which the repair changed nothing
CELLS = [
    *((guest, limit, way) for guest in GUESTS for limit in LIMITS for way in ("before", "after")),
    *((guest, "none", way) for guest in ("uml-trixie", *EMULATED) for way in ("before", "after")),
    (NARROW, "none", "after"),
]


def happened_in_2012(
    guest: str, limit: str, policy: str
) -> tuple[ReservationPath, Outcome, int, str]:
    """What the real runtime did, from its traces; nothing of ours is asked."""
    if guest == NARROW:
        return LOW
    if guest not in THREE_LEVELS:
        return HIGH
    if policy == "before":
        return (ReservationPath.REFUSED, Outcome.DIES, 2, NO_MEMORY)
    if limit == "rlimit_as=300M":
        return (ReservationPath.REFUSED, Outcome.DIES, 2, NO_ARENA)
    return LOW


def canonical(guest: str, builder: Builder) -> str:
    from foothold_lab.harness.guests.catalogue import known_guests

    return known_guests(builder)[guest]


@pytest.mark.parametrize(("guest", "limit", "policy"), CELLS)
def test_every_cell_has_the_expected_verdict(
    guest: str, limit: str, policy: str, default_plan: Happened, builder: Builder
) -> None:
    verdict = default_plan.verdicts[f"{canonical(guest, builder)}/{limit}/{policy}"]
    if verdict.result is Result.UNSUPPORTED:
        assert verdict.blame is Blame.UNSUPPORTED
        assert verdict.remedy, "an unsupported guest names its remedy"
        pytest.skip(f"{guest}: {verdict.reason}; {verdict.remedy}")
    assert verdict.result is Result.PASS, verdict.findings
    seen, path = verdict.observed, happened_in_2012(guest, limit, policy)
    assert seen is not None
    assert (seen.path, seen.outcome, seen.status, seen.message) == path
    assert verdict.predicted is not None
    assert (verdict.predicted.path, verdict.predicted.outcome) == path[:2]


@pytest.mark.parametrize(
    ("guest", "bits", "levels", "honoured"),
    [
        ("native", 47, 4, True),
        ("docker", 47, 4, True),
        ("qemu-x86_64", 47, 4, True),
        ("uml-bookworm", 39, 3, False),
        ("uml-testing", 47, 4, True),
        ("qemu-arm64-16k", 47, 3, True),
        ("qemu-user-arm64-39bit", 39, 3, False),
        ("qemu-user-riscv64-39bit", 39, 3, False),
        (NARROW, 32, 3, True),
    ],
)
def test_measures_the_address_spaces(
    guest: str, bits: int, levels: int, honoured: bool, default_plan: Happened, builder: Builder
) -> None:
    name = canonical(guest, builder)
    ready = [e for e in default_plan.events if isinstance(e, GuestReady) and e.guest == name]
    if not ready:
        pytest.skip(f"{guest} was not booted here")
    facts = ready[0].facts
    assert (facts.bits, facts.levels, facts.hint_high.honoured) == (bits, levels, honoured)
    assert facts.hint_low.honoured
    assert facts.page_size == (16384 if guest.endswith("-16k") else 4096)
    assert facts.placement == ("bottom-up" if guest.startswith("uml") else "top-down")


def test_a_program_of_today_runs_with_large_pages(default_plan: Happened) -> None:
    verdict = default_plan.verdicts["qemu-arm64-16k/none/python-pages"]
    if verdict.result is Result.UNSUPPORTED:
        pytest.skip(f"{verdict.reason}; {verdict.remedy}")
    assert verdict.result is Result.PASS, verdict.findings
    assert verdict.observed is not None
    assert verdict.observed.outcome is Outcome.STARTS


def test_boots_each_guest_once(default_plan: Happened) -> None:
    booted = [each.guest for each in default_plan.events if isinstance(each, GuestReady)]
    assert len(booted) == len(set(booted)) >= 4


@pytest.mark.uml
def test_the_run_directory_holds_the_evidence(default_plan: Happened, builder: Builder) -> None:
    name = canonical("uml-bookworm", builder)
    guest = default_plan.directory / "guests" / name
    command = json.loads((guest / "command.json").read_text())
    assert "con0=fd:0,fd:1" in command["argv"]
    assert (guest / "console.log").exists()
    cell = default_plan.directory / "cells" / name / "none" / "after"
    maps = (cell / "maps-reserved").read_text()
    report = [json.loads(line) for line in (cell / "stdout.jsonl").read_text().splitlines()]
    reserved = next(each for each in report if each["event"] == "reserved")
    # 640 MiB, unbroken, from where the report says
    at = reserved["base"]
    for line in maps.splitlines():
        low, high = (int(word, 16) for word in line.split()[0].split("-"))
        if low == at:
            at = high
    assert at - reserved["base"] >= 671088640


def test_no_guest_survives_a_run(default_plan: Happened) -> None:
    mine = str(default_plan.directory)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            assert mine not in (process / "cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_the_html_page_draws_every_observed_cell(default_plan: Happened) -> None:
    run = read_run(default_plan.directory)
    answered = [each for each in default_plan.verdicts.values() if each.observed]
    page = render(run).decode()
    assert page.count('<svg class="map"') == len(answered)
    assert page.count('<table class="witnesses') == len(answered)
    assert compare_runs(run, run).empty
    for one in answered:
        evidence = read_evidence(run, one.cell, reports=True)
        assert evidence.problems == ()
        assert evidence.subject_trace is not None, "it was traced"
        arena = [each.start for each in segments(evidence) if each.kind is RegionKind.ARENA]
        if one.cell.endswith("/python-pages"):
            assert not arena
            continue
        assert bool(arena) is (one.observed.path is not ReservationPath.REFUSED)
        if one.observed.path is ReservationPath.HIGH:
            assert arena[0] == 0xF840000000
