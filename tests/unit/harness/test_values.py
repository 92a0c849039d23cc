"""Cells, sizes, deadlines, facts, verdicts, events and errors."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model import errors, events, provenance
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import Blame, FootholdError, GuestError, UsageError
from foothold_lab.harness.model.facts import LARGEST, Facts, Hint, parse_facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.sizes import format_size, parse_size
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath, describe
from tests.unit.harness import samples


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("300M", 300 << 20),
        ("300m", 300 << 20),
        ("2G", 2 << 30),
        ("2GiB", 2 << 30),
        ("2 GB", 2 << 30),
        ("64K", 64 << 10),
        ("1T", 1 << 40),
        ("0x2443a68", 0x2443A68),
        (" 7 ", 7),
        ("0300M", 300 << 20),
        ("000", 0),
    ],
)
def test_sizes_are_read_in_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "300XB",
        "M",
        "-1",
        "1.5G",
        "3 0M",
        "0x",
        "9999999T",
        "1e9",
        "²M",
        "M300",
        "٣M",
        "9" * 5000,
    ],
)
def test_what_is_no_size_is_told_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_size(text)
    assert told.value.remedy


@given(st.integers(0, (1 << 63) - 1))
def test_a_size_reads_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (300 << 20, "300M"), (2 << 30, "2G")]
)
def test_sizes_are_written_with_the_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.one_of(st.none(), st.integers(0, 1 << 50)))
def test_limits_read_as_they_were_written(size: int | None) -> None:
    assert Limits.parse(str(Limits(rlimit_as=size))) == Limits(rlimit_as=size)


@pytest.mark.parametrize("text", ["rlimit-as=300M", "300M", "", "None", "rlimit_as", "cgroup=1G"])
def test_an_unknown_limit_is_told_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="unknown limit") as told:
        Limits.parse(text)
    assert "rlimit_as=SIZE" in told.value.remedy
    assert "fail=CALL[WORDS]:WHEN:ERRNO" in told.value.remedy


def test_a_limit_almost_right_is_recognised() -> None:
    with pytest.raises(UsageError, match="did you mean rlimit_as"):
        Limits.parse("rlimit-as=300M")


def test_a_cell_has_a_name_and_a_command_of_its_own() -> None:
    one = Cell(guest="uml-6.1", limits=Limits(rlimit_as=300 << 20), policy="after")
    assert one.id == "uml-6.1/rlimit_as=300M/after"
    assert " ".join(one.command) == (
        "foothold run --guest uml-6.1 --limit rlimit_as=300M --policy after"
    )


def test_cells_are_the_same_whatever_is_declared_of_them() -> None:
    one = samples.cell()
    assert one.expected
    assert one == Cell(guest="native", limits=Limits(), policy="after")


def test_deadlines_nest_inside_each_other() -> None:
    outer = Deadline.after(10)
    inner = outer.within(100)
    assert inner.at < outer.at
    assert outer.within(1).remaining <= 1
    assert not outer.expired


def test_a_deadline_in_the_past_has_nothing_left() -> None:
    past = Deadline(time.monotonic() - 1)
    assert past.expired
    assert past.remaining == 0.0
    assert past.within(5).expired


@pytest.mark.parametrize(
    ("task_size", "bits", "levels"),
    [
        (0x7FFFFFFFF000, 47, 4),  # x86-64
        (0x7FC0000000, 39, 3),
        (0x7F80000000, 39, 3),  # UML 6.1, 6.12
        (0x7F8000000000, 47, 4),  # UML 7.2
        (0x4000000000, 38, 3),  # riscv64, sv39
        (0xFFFFFFFFFF000, 52, 5),
        (0x1000000000000, 48, 4),
    ],
)
def test_width_and_levels_follow_from_the_task_size(task_size: int, bits: int, levels: int) -> None:
    measured = samples.facts(task_size)
    assert (measured.bits, measured.levels) == (bits, levels)


def test_a_hint_is_honoured_where_it_was_asked_and_nowhere_else() -> None:
    assert Hint(0x1000, 0x1000, 0).honoured
    assert not Hint(0x1000, 0x2000, 0).honoured
    assert not Hint(0, 0, 12).honoured


def test_facts_read_as_they_were_written() -> None:
    assert parse_facts(msgspec.json.encode(samples.facts())) == samples.facts()


@given(st.binary(max_size=200))
def test_facts_that_make_no_sense_are_the_guests_fault(text: bytes) -> None:
    with pytest.raises(GuestError, match="cannot be read"):
        parse_facts(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pointer_size": 3}, "pointers of 3 bytes"),
        ({"page_size": 5000}, "pages of 5000 bytes"),
        ({"task_size": 4096}, "a task size of 4096"),
        ({"huge_page_size": 5 << 20}, f"huge pages of {5 << 20} bytes"),
    ],
)
def test_facts_of_no_machine_are_the_guests_fault(change: dict[str, int], why: str) -> None:
    facts = msgspec.to_builtins(samples.facts()) | change
    with pytest.raises(GuestError, match=why) as told:
        parse_facts(msgspec.json.encode(facts))
    assert told.value.code is Code.GUEST_PROTOCOL


def test_endless_facts_are_not_read_to_the_end() -> None:
    with pytest.raises(GuestError):
        parse_facts(msgspec.json.encode(samples.facts())[:-1] + b" " * LARGEST + b"}")


@pytest.mark.parametrize(
    ("phrase", "value"),
    [
        ("high, allocates", (ReservationPath.HIGH, Outcome.ALLOCATES, 0, "")),
        ("dies, status 2: throw: x", (ReservationPath.REFUSED, Outcome.DIES, 2, "throw: x")),
        ("dies, status 2", (ReservationPath.REFUSED, Outcome.DIES, 2, "")),
        ("low, dies, status 2: throw: x", (ReservationPath.LOW, Outcome.DIES, 2, "throw: x")),
    ],
)
def test_an_outcome_is_one_phrase(
    phrase: str, value: tuple[ReservationPath, Outcome, int, str]
) -> None:
    assert describe(*value) == phrase


def test_a_signal_is_said_before_all_else() -> None:
    seen = samples.observation(samples.DIES, signal=11)
    assert str(seen) == "killed by SIGSEGV: throw: runtime: out of memory"
    assert str(samples.observation(samples.DIES, path=None, message="m")) == (
        "unclear, status 2: m"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("status:3", "status 3"),
        ("signal:SEGV", "killed by SIGSEGV"),
        ("starts-clean", "starts, no request for memory refused or moved"),
        ("conformance-strict", "all probes conform"),
        ("says:out of", "says /out of/"),
        ("path:low", "path low"),
        ("panics:Oops", "the guest panics with /Oops/"),
    ],
)
def test_an_expectation_is_said_in_words(text: str, said: str) -> None:
    assert str(Expectation.parse(text)) == said


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("refused", True),
        ("low", False),
        ("dies:out of memory", True),
        ("dies:another message", False),
        ("starts", False),
        ("starts-clean", False),
        ("status:2", True),
        ("status:3", False),
        ("signal:SEGV", False),
        ("panics:out", False),
        ("anything", True),
    ],
)
def test_what_asks_for_less_agrees_with_what_it_asks_for(text: str, agrees: bool) -> None:
    dies = Expectation(
        path=ReservationPath.REFUSED, outcome=Outcome.DIES, status=2, message="out of memory"
    )
    assert Expectation.parse(text).agrees(dies) is agrees


def test_every_error_says_who_is_to_blame_and_what_to_do() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    for kind in kinds:
        if issubclass(kind, FootholdError):
            assert kind("message", "remedy").remedy == "remedy"
            assert isinstance(kind.blame, Blame)
    assert GuestError("m", console="c", argv=("a",)).console == "c"


@pytest.mark.parametrize(
    "event",
    [
        samples.started(samples.cell()),
        samples.ready("uml-6.1", "a note"),
        samples.done(samples.cell()),
        samples.finished(),
        events.Progress(what="building"),
        events.GuestFailed(
            guest="g",
            code=Code.GUEST_BOOT,
            message="m",
            remedy="h",
            blame="guest",
            console="",
            argv=("a",),
        ),
    ],
)
def test_events_read_as_they_were_written(event: events.AnyEvent) -> None:
    again = msgspec.json.decode(msgspec.json.encode(event), type=events.AnyEvent)
    assert again == event


def test_facts_are_values() -> None:
    with pytest.raises(AttributeError):
        samples.facts().task_size = 1  # type: ignore[misc]
    assert isinstance(hash(samples.facts()), int)
    assert Facts.__dataclass_fields__.keys() >= {"task_size", "hint_high"}


def test_the_hash_of_the_sources_is_that_of_all_packages() -> None:
    for package in ("allocator", "harness", "images"):
        assert any((provenance.ROOT / package).rglob("*.py"))
