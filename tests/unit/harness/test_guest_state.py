"""What a cell has changed of its guest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.runner.guest_state import change_of_guest


def record(**states: str) -> Record:
    return Record(
        argv=(), pid=1, ending=Ending(status=0), stdout=b"", stderr=b"", guest_state=states
    )


def test_names_what_was_changed() -> None:
    before, after = "vm/a\t1\nvm/b\t2\nclock\t5000\n", "vm/a\t1\nvm/b\t60\nclock\t5900\n"
    state, change = change_of_guest(record(before=before, after=after), "")
    assert state == after
    assert change
    assert change.code is Code.GUEST_CHANGED
    assert "vm/b was 2, is 60" in change.text
    assert "clock" not in change.text


def test_compares_with_the_cell_before() -> None:
    assert change_of_guest(record(after="a\t1\n"), "a\t1\n") == ("a\t1\n", None)
    _, change = change_of_guest(record(after="a\t1\nclock\t9000\n"), "b\t1\nclock\t0\n")
    assert change
    assert "a was absent, is 1" in change.text
    assert "b was 1, is absent" in change.text
    assert "clock was 0, is 9000" in change.text


def test_names_settings_that_were_written() -> None:
    after = "vm/a\t1\nwritten\t /proc/sys/vm/b /proc/sys/kernel/c\n"
    _, change = change_of_guest(record(after=after), "vm/a\t1\nwritten\t\n")
    assert change
    assert change.text == "the cell changed its guest: it wrote /proc/sys/vm/b, /proc/sys/kernel/c"


def test_knows_nothing_of_a_first_cell_without_a_state_before() -> None:
    assert change_of_guest(record(after="a\t1\n"), "") == ("a\t1\n", None)
    assert change_of_guest(record(), "a\t1\n") == ("a\t1\n", None)


@given(st.text(), st.text(), st.text())
def test_survives_any_text(before: str, after: str, last: str) -> None:
    change_of_guest(record(before=before, after=after), last)
