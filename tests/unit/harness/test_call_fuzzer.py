"""Random programs of calls: made from a seed, compared, and shrunk."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from foothold_lab.harness.call_fuzzer import (
    Campaign,
    CorpusProgram,
    Interpreter,
    Program,
    parse_program,
    program_text,
    read_corpus,
)
from foothold_lab.harness.call_fuzzer.comparison import Difference, first_difference
from foothold_lab.harness.call_fuzzer.generator import random_programs
from foothold_lab.harness.call_fuzzer.report import HANGS, Answers, read_call_report
from foothold_lab.harness.call_fuzzer.shrink import shrink
from foothold_lab.harness.conformance import Kernel, known_differences
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images.probes import probe_names

PROGRAM = ("map 0 1 rw memory private+fixed", "advise 0 1 dontfork", "fork 1", "write 0 2")
NATIVE = ("0: at 0", "1: 0", "2: starts", "3f: [segv code 1 addr 0 mask segv]", "fork: exit 0")
OTHER = (*NATIVE[:3], "3f: 2", "fork: exit 0")


def test_the_same_seed_makes_the_same_programs() -> None:
    programs = random_programs(7, 500)
    assert programs == random_programs(7, 500)
    assert programs != random_programs(8, 500)
    calls = {step.split()[0] for program in programs for step in program}
    assert {"map", "remap", "advise", "protect", "fork", "exec", "handle", "interrupt"} <= calls


def test_reads_a_program() -> None:
    assert parse_program(program_text(PROGRAM)) == PROGRAM
    with pytest.raises(UsageError):
        parse_program(" ; ")


def test_finds_the_step_that_differs() -> None:
    found = first_difference(PROGRAM, NATIVE, OTHER)
    assert found and (found.step, found.native, found.other) == ("write 0 2", NATIVE[3], OTHER[3])
    assert first_difference(PROGRAM, NATIVE, NATIVE) is None


def test_finds_an_answer_that_is_missing() -> None:
    found = first_difference(PROGRAM, NATIVE, NATIVE[:2])
    assert found and found.native == "2: starts"


def difference(*program: str, native: str = "9: 0", other: str = "9: 4") -> Difference:
    return Difference(program=program, step=program[-1], native=native, other=other)


def test_a_difference_explains_one_with_the_same_kinds_of_steps() -> None:
    small = difference("advise 0 1 dontfork", "read 0", native="3f: 5", other="3f: 6 7")
    larger = difference(
        "lock 0 1", "advise 4 2 dontfork", "read 9", native="6ft: 8", other="6ft: 1 2"
    )
    assert small.explains(larger)
    assert not larger.explains(small)


def test_a_difference_without_the_trigger_is_another() -> None:
    small = difference("advise 0 1 dontfork", "read 0", native="3f: 5", other="3f: 6 7")
    assert not small.explains(
        difference("advise 0 1 free", "read 0", native="1: 5", other="1: 6 7")
    )


def test_one_more_mapping_does_not_make_all_pages_differ() -> None:
    split = difference(
        "map 0 6 rw memory private",
        "remap 0 0 1 fixed 1",
        native="end: 0-6rw-p | 0 0 0 0 0 0 s1 s1",
        other="end: 0-1rw-p 2-6rw-p | 0 s1 0 0 0 0 s1 s1",
    )
    shorter = difference(
        "map 3 2 rw memory private",
        "remap 4 0 1 fixed 3",
        native="end: 3-5rw-p | s1 s1 s1 0 0 s1 s1 s1",
        other="end: 4-5rw-p | s1 s1 s1 s1 0 s1 s1 s1",
    )
    assert split.signature[1:] == ("-rw-p", "-rw-p s")
    assert split.explains(shorter)
    assert shorter.explains(split)


def test_mremap_of_an_old_size_of_0_explains_no_move() -> None:
    copy = difference("remap 0 0 1 fixed 1", "read 1", native="1: 4", other="1: s1")
    assert copy.explains(difference("remap 5 0 2 fixed 1", "read 9", native="1: 5", other="1: s1"))
    move = difference("remap 0 1 1 fixed 1", "read 1", native="1: 4", other="1: s1")
    assert not copy.explains(move)
    assert not move.explains(copy)


def test_shrinks_to_the_steps_that_matter() -> None:
    def differs(programs: Sequence[Program]) -> list[bool]:
        return [
            any(step.startswith("fork") for step in each)
            and any(step.endswith("dontfork") and int(step.split()[1]) >= 3 for step in each)
            for each in programs
        ]

    program = ("map 0 9 rw memory shared+fixed", "fork 4", "read 5", "advise 7 2 dontfork", "maps")
    assert shrink(program, differs) == ("fork 0", "advise 3 0 dontfork")


def test_reads_answers_up_to_the_program_that_ended_its_guest() -> None:
    stdout = b'{"started": 0}\n{"program": 0, "answers": ["0: 1"]}\n{"started": 1}\n'
    report = read_call_report(stdout)
    assert (report.answers, report.unfinished) == ((("0: 1",),), True)
    assert not read_call_report(stdout[: stdout.rindex(b"{")]).unfinished


def test_each_program_of_the_corpus_says_where_it_differs() -> None:
    corpus = read_corpus()
    assert {each.probe for each in corpus} - {""} <= set(probe_names())
    native = Kernel(guest="native", release="6.18.0")
    assert not any(each.may_differ(native, known_differences()) for each in corpus)
    old = Kernel(guest="uml-6.1", release="6.1.176", mode="ptrace")
    dontfork = next(each for each in corpus if each.probe == "mmap/madvise-dontfork")
    assert dontfork.may_differ(old, known_differences())


class Recorded(Interpreter):
    """A guest that answers every program as recorded; `late` is its answer at its second start."""

    def __init__(self, guest: str, answers: Answers, late: Answers = ()) -> None:
        self.guest = guest
        self._answers = answers
        self._late = late
        self._starts = 0

    def run(self, programs: Sequence[Program]) -> list[Answers]:
        self._starts += 1
        late = self._late if self._starts == 2 else ()
        return [late or self._answers for _ in programs]


def test_a_known_difference_of_a_program_that_was_late_is_not_new() -> None:
    """On a busy machine the program hung in its first run, and was not explained by that answer."""
    guest = Recorded("uml-6.1", OTHER, late=(*OTHER[:2], HANGS))
    kernel = Kernel(guest="uml-6.1", release="6.1.176", mode="ptrace")
    campaign = Campaign(Recorded("native", NATIVE), [(guest, kernel)], lambda _: None)
    known = CorpusProgram(calls=PROGRAM, because="known", probe="mmap/madvise-dontfork")
    campaign.replay([known], known_differences())
    campaign._compare(guest, 1, [PROGRAM], [NATIVE])
    assert not campaign.result.found
    assert campaign.result.known == {"uml-6.1": 2}
