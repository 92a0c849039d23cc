"""Limits as words and as JSON: what was written is read again, what makes no sense is told."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.failures import CALLS, Failure
from foothold_lab.harness.model.limits import (
    EVERYWHERE,
    HIGHEST_CEILING,
    LOWEST_CEILING,
    Limits,
    Range,
    parse_user,
)

sizes = st.none() | st.integers(0, 1 << 50)
ranges = st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 40)).map(
    lambda pair: Range(pair[0] << 12, pair[0] + pair[1] << 12)
)


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    call = draw(st.sampled_from([*CALLS]))
    words = draw(st.sets(st.sampled_from(CALLS[call]), max_size=3)) if CALLS[call] else ()
    nth = draw(st.integers(1, 1000))
    error = "ENOMEM" if call == "brk" else draw(st.sampled_from(["ENOMEM", "EACCES"]))
    every = draw(st.sampled_from([0, 1, nth]))
    selected = tuple(word for word in CALLS[call] if word in words)
    return Failure(call, nth, error, selected, every)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    made = draw(many)
    rlimits = [name for name in made.named if name.startswith("rlimit_")]
    soft = draw(st.sets(st.sampled_from(rlimits))) if rlimits else set()
    return replace(made, soft_only=tuple(name for name in rlimits if name in soft))


ceilings = st.integers(32, 57).map(lambda bits: 1 << bits) | st.integers(
    LOWEST_CEILING >> 12, HIGHEST_CEILING >> 12
).map(lambda page: page << 12)
counts = st.none() | st.integers(1, 65530)
many = st.builds(
    Limits,
    rlimit_as=sizes,
    rlimit_data=sizes,
    rlimit_stack=sizes,
    rlimit_fsize=sizes,
    rlimit_memlock=sizes,
    rlimit_nofile=counts,
    rlimit_nproc=counts,
    user=st.sampled_from([None, "nobody", "1000", "www-data"]),
    memory=sizes,
    overcommit=st.none() | st.integers(0, 2),
    max_map_count=counts,
    mmap_rnd_bits=counts,
    mmap_rnd_compat_bits=counts,
    hugepages=counts,
    thp=st.sampled_from([None, "always", "madvise", "never"]),
    wx_refused=st.booleans(),
    exec_refused=st.sampled_from([(), ("/tmp",), ("/tmp", "/var/cache")]),
    seccomp=st.sampled_from([None, "docker", "/etc/profile.json", "../my own.json"]),
    noreplace_unknown=st.booleans(),
    noreserve_ignored=st.booleans(),
    no_aslr=st.booleans(),
    legacy_layout=st.booleans(),
    ceiling=st.none() | ceilings,
    occupied=st.lists(ranges, max_size=3).map(tuple),
    hints_ignored=st.none() | st.just(EVERYWHERE) | ranges,
    fail=st.lists(failures(), max_size=3).map(tuple),
)


@given(limits())
def test_limits_are_read_as_they_were_written(one: Limits) -> None:
    assert Limits.parse(str(one)) == one
    assert msgspec.json.decode(msgspec.json.encode(one), type=Limits) == one


@given(limits(), limits())
def test_limits_have_an_order(one: Limits, other: Limits) -> None:
    assert (one < other) + (other < one) + (one == other) == 1


@given(limits())
def test_what_is_named_is_what_differs(one: Limits) -> None:
    assert (one.named == ()) == (one == Limits()) == (str(one) == "none")
    assert not one.without_faults.faults
    assert one.faults == (one.without_faults != one)


def test_words_have_one_spelling() -> None:
    text = "hints=ignored+rlimit_as=307200K+fail=mmap:3:ENOMEM+no-aslr"
    assert str(Limits.parse(text)) == "rlimit_as=300M+no-aslr+hints=ignored+fail=mmap:3:ENOMEM"
    assert (
        str(Limits.parse("rlimit_nofile=64:soft+wx=refused")) == "rlimit_nofile=64:soft+wx=refused"
    )
    assert str(Limits.parse("fail=mmap[fixed,exec]:1-:EPERM")) == "fail=mmap[exec,fixed]:*:EPERM"
    assert str(Limits.parse("fail=mmap:%1:EPERM+fail=mmap:%3:EPERM+fail=mmap:3-:EPERM")) == (
        "fail=mmap:*:EPERM+fail=mmap:%3:EPERM+fail=mmap:3-:EPERM"
    )
    assert str(Limits.parse("ceiling=0x8000000000")) == "ceiling=39bit"
    assert str(Limits.parse("ceiling=256G")) == "ceiling=38bit"
    assert str(Limits.parse("ceiling=0x7fc0000000")) == "ceiling=0x7fc0000000"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("overcommit=3", "'3' is not an allowed value"),
        ("layout=new", "'new' is not an allowed value"),
        ("rlimit_as=300M+rlimit_as=1G", "rlimit_as occurs twice"),
        ("no-aslr=1", "unknown limit"),
        ("max_map_count=0", "'0' is not a count"),
        ("ceiling=39", "no address space ends at 39"),
        ("ceiling=31bit", "no address space ends at 31bit"),
        ("ceiling=58bit", "no address space ends at 58bit"),
        ("ceiling=0x8000000001", "no address space ends at 0x8000000001"),
        ("ceiling=wide", "no address space ends at wide"),
        ("ceiling=39bit+ceiling=38bit", "ceiling occurs twice"),
        ("occupied=0x1000", "not a range of addresses"),
        ("occupied=0x2000-0x1000", "not a range of addresses"),
        ("occupied=0x1001-0x2000", "not a range of addresses"),
        ("fail=brk:1:EAGAIN", "has no error but ENOMEM"),
        ("fail=mprotect[execute]:1:EACCES", "did you mean exec"),
        ("fail=munmap[exec]:1:EACCES", "not describe a failing call"),
        ("fail=mmap[]:1:EACCES", "not describe a failing call"),
        ("fail=mmap:%0:EACCES", "not describe a failing call"),
        ("fail=mmap:-3:EACCES", "not describe a failing call"),
        ("rlimit_as=300M:hard", "not a size"),
        ("memory=300M:soft", "not a size"),
        ("rlimit_nofile=many", "not a count"),
        ("user=no body", "not a user"),
        ("seccomp=", "not a seccomp profile"),
        ("wx=allowed", "not an allowed value"),
        ("exec=allowed@/tmp", "not an allowed value"),
        ("exec=refused", "not the absolute path of a directory"),
        ("exec=refused@tmp", "not the absolute path of a directory"),
        ("exec=refused@/tmp/../usr", "not the absolute path of a directory"),
        ("exec=refused@/", "no program could start"),
        ("thp=sometimes", "not an allowed value"),
        ("noreplace=ignored", "not an allowed value"),
        ("fail=mmap:0:ENOMEM", "not describe a failing call"),
        ("fail=mmap:1:12", "not describe a failing call"),
        ("fail=hint:1:ENOMEM", "did you mean hinted"),
        ("fail=mmap:1:ENOMEN", "did you mean ENOMEM"),
        ("hints=honoured", "not an allowed value"),
        ("none+rlimit_as=1G", "unknown limit 'none'"),
        ("rlimit_as=300M+", "unknown limit ''"),
    ],
)
def test_nonsense_is_told(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        Limits.parse(text)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("when", "failing"),
    [("3", [3]), ("3-", [3, 4, 5, 6, 7]), ("*", [1, 2, 3, 4, 5, 6, 7]), ("%3", [3, 6])],
)
def test_calls_fail_once_or_again(when: str, failing: list[int]) -> None:
    failure = Failure.parse(f"munmap:{when}:EINVAL")
    assert [count for count in range(1, 8) if failure.fails(count)] == failing


def test_the_name_of_a_cell_is_a_relative_path_of_three_parts() -> None:
    limits = Limits.parse("seccomp=../profiles/mine.json+rlimit_as=1G")
    cell = Cell(guest="native", limits=limits, policy="", subject="server")
    assert cell.id == "native/rlimit_as=1G+seccomp=..%2Fprofiles%2Fmine.json/server"
    assert "seccomp=../profiles/mine.json" in " ".join(cell.command)


@pytest.mark.parametrize("text", ["", "-1", "a b", "4294967295", "9" * 30])
def test_a_user_is_a_name_or_a_number_that_there_may_be(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        parse_user(text)
    assert parse_user("4294967294") == "4294967294"
