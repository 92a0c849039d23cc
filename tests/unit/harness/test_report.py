"""The report: what is believed of it, and what is not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.evidence.allocator_report import (
    LONGEST_LINE,
    Call,
    End,
    Reserved,
    Start,
    Throw,
    Workload,
    read_report,
)
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import ReservationPath
from tests.unit.harness import samples
from tests.unit.harness.samples import RECORDED


def lines(path: str) -> list[bytes]:
    return (RECORDED / f"{path}.jsonl").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("file", "path", "holds"),
    [
        ("high", ReservationPath.HIGH, ("reserved", "end")),
        ("low", ReservationPath.LOW, ("reserved", "end")),
        ("refused", ReservationPath.REFUSED, ()),
    ],
)
def test_real_reports(file: str, path: ReservationPath, holds: tuple[str, ...]) -> None:
    report = read_report(b"".join(lines(file)))
    assert report.problems == ()
    assert (report.path, report.checkpoints) == (path, holds)


def test_a_report_reads_as_it_was_written() -> None:
    events = (
        Start(
            schema=1,
            pid=7,
            policy="after",
            workload="default",
            pointer_size=8,
            page_size=4096,
            end=1,
            kernel="real",
            python="3.11.2",
        ),
        Reserved(
            path=ReservationPath.LOW,
            base=0,
            length=640,
            bitmap=0,
            bitmap_size=128,
            arena_start=128,
            arena_used=129,
            arena_end=640,
        ),
        Workload(name="default", small=1, large=1, bytes=2, verified=True),
        End(
            path=ReservationPath.LOW,
            arena_start=128,
            arena_used=130,
            arena_end=640,
            stats={"sys": 1},
        ),
    )
    text = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    report = read_report(text)
    assert report.events == events
    assert report.problems == ()


def test_calls_may_come_anywhere_after_the_start() -> None:
    call = msgspec.json.encode(Call(name="mmap", args=(0, 1), result=-12)) + b"\n"
    start, *rest = lines("high")
    assert read_report(start + call + call + b"".join(rest)).problems == ()
    problems = read_report(call + start).problems
    assert samples.says(problems, Code.REPORT_MALFORMED, "call")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", ""),
        (b"Traceback (most recent call last):\n", "JSON is malformed"),
        (b'{"event":"start"', ""),
        (b'{"event":"boom"}\n', "Invalid value 'boom'"),
        (b'{"no":"event"}\n', " 1 "),
        (b"[]\n", " 1 "),
        (b"\xff\xfe\n", " 1 "),
        (b"[" * 5000 + b"\n", " 1 "),
        (b'{"event":"hold","at":"reserved"}\n', "`hold reserved`"),
        (lines("high")[0], "`start`"),
        (b"".join(lines("high")[:-1]), "`hold end`"),
        (lines("high")[0] * 2, " 2 "),
        (b"".join(lines("high") + lines("refused")[1:]), "`throw`"),
        (b"".join(lines("high")[:2] + lines("high")[3:3] + lines("high")[4:]), "`reserved`"),
        (b" " * (LONGEST_LINE + 1) + b"\n", "bytes long"),
        (lines("high")[0].replace(b'"pid":', b'"pid":"'), " 1 "),
        (lines("high")[0].replace(b'"schema":1', b'"schema":2'), " 1 "),
        (lines("high")[0].replace(b'"pid":', b'"pip":1,"pid":'), "unknown field `pip`"),
    ],
)
def test_a_report_that_makes_no_sense_is_malformed(text: bytes, problem: str) -> None:
    problems = read_report(text).problems
    assert samples.says(problems, Code.REPORT_MALFORMED, problem), problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b'"base":1065151889408', b'"base":4096', "reservation"),
        (b'"bitmap_size":1073741824', b'"bitmap_size":1', "bitmap"),
        (b'"arena_used":1066226679808', b'"arena_used":1', "arena_used"),
        (b'"end","path":"high"', b'"end","path":"low"', "from high to low"),
        (b'"verified":true', b'"verified":false', "workload"),
        (b'"small":270', b'"small":0', "workload"),
    ],
)
def test_numbers_that_contradict_each_other(old: bytes, new: bytes, problem: str) -> None:
    text = b"".join(lines("high"))
    assert old in text
    problems = read_report(text.replace(old, new)).problems
    assert samples.says(problems, Code.REPORT_INCONSISTENT, problem), problems


def test_nothing_is_believed_after_the_first_nonsense() -> None:
    start, *rest = lines("high")
    report = read_report(start + b"nonsense\n" + b"".join(rest))
    assert report.one(Start)
    assert report.one(End) is None
    assert report.path is None


def test_a_throw_after_the_reservation_keeps_its_path() -> None:
    report = read_report(b"".join(lines("low")[:3]) + lines("refused")[1])
    assert report.path is ReservationPath.LOW
    assert report.one(Throw)


@given(st.binary(max_size=300))
def test_garbage_never_raises(text: bytes) -> None:
    assert read_report(text).problems


@given(st.data())
def test_garbled_reports_never_raise(data: st.DataObject) -> None:
    text = b"".join(lines(data.draw(st.sampled_from(["high", "low", "refused"]))))
    at = data.draw(st.integers(0, len(text)))
    upto = data.draw(st.integers(at, len(text)))
    read_report(text[:at] + data.draw(st.binary(max_size=4)) + text[upto:])
