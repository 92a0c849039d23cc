"""Subjects in plans: an axis, programs that the plan defines, and what is expected of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.cli.plan_options import Asked
from foothold_lab.harness.cli.subject import subjects_of
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import PlanFile, load
from foothold_lab.harness.plan.vocabulary import Known
from foothold_lab.harness.subjects.subject import ALLOCATOR, Subject
from tests.unit.harness.samples import KNOWN

PACKAGED = replace(KNOWN, subjects={"go-hello": "Debian's Go", "java": "OpenJDK"})
PLAN = """\
schema = 1
name = "several"

[axes]
guests = ["native", "uml-bookworm"]
subjects = ["allocator", "server", "go-hello"]
workloads = ["default", "hello"]

[subject.server]
program = "./server"
args = ["--port=80"]
files = ["config.toml"]
env = { MODE = "test" }
timeout = 2.5

[[expect]]
guests = ["uml-*"]
subjects = ["go-*"]
expect = "path:low"

[[expect]]
path = "high"
outcome = "allocates"
"""


def read(tmp_path: Path, old: str = "", new: str = "", more: str = "") -> PlanFile:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.replace(old, new) + more if old else PLAN + more)
    return load(path, PACKAGED)


def asked(*subjects: str, **more: object) -> Asked:
    lists = ("guests", "limits", "policies", "workloads", "tags", "args", "files", "env")
    single = (
        "expect",
        "root",
        "sysroot",
        "timeout",
        "ready_pattern",
        "repeats",
        "deadline",
        "trace",
    )
    values = dict.fromkeys(lists, ()) | dict.fromkeys(single) | {"subjects": subjects}
    return Asked(values | more)


def test_policies_and_workloads_are_the_allocators(tmp_path: Path) -> None:
    expected = {cell.id: str(cell.expected) for cell in read(tmp_path).cells()}
    assert expected == {
        "native/none/after": "high, allocates",
        "native/none/after+hello": "high, allocates",
        "native/none/server": "starts",
        "native/none/go-hello": "starts",
        "uml-6.1/none/after": "high, allocates",
        "uml-6.1/none/after+hello": "high, allocates",
        "uml-6.1/none/server": "starts",
        "uml-6.1/none/go-hello": "path low",
    }


def test_a_cells_command_runs_that_cell_alone(tmp_path: Path) -> None:
    whole = read(tmp_path)
    for cell in whole.cells():
        words = cell.command[3:]
        given = {words[n]: words[n + 1] for n in range(0, len(words), 2)}
        keys = ("--guest", "--limit", "--policy", "--subject", "--workload")
        axes = ("guests", "limits", "policies", "subjects", "workloads")
        words = {each: (given[key],) for key, each in zip(keys, axes, strict=True) if key in given}
        _, [again] = asked(**({"subjects": ()} | words)).cells(whole)
        assert (again, again.expected) == (cell, cell.expected)


def test_what_a_program_is_comes_from_the_plans_own_directory(tmp_path: Path) -> None:
    program = read(tmp_path).programs["server"]
    assert program.program == str(tmp_path / "server")
    assert program.files == (str(tmp_path / "config.toml"),)
    assert (program.args, program.env) == (("--port=80",), ("MODE=test",))
    assert program.timeout == 2.5
    assert read(tmp_path, '"./server"', '"server"').programs["server"].program == "server"


def test_only_what_cells_need_is_found_or_made(tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (tmp_path / "config.toml").touch()
    plan = read(tmp_path)

    def never() -> Subject:
        raise AssertionError

    makes = {"go-hello": lambda: Subject("go-hello", ("/go",)), "java": never}
    found = subjects_of(plan.cells(), plan, makes)
    assert set(found) == {"allocator", "server", "go-hello"}
    assert found["allocator"] is ALLOCATOR
    assert found["server"].argv == ("{share}/subject/server/server", "--port=80")
    assert set(found["server"].files) == {"server", "config.toml"}
    assert found["server"].environment == {"MODE": "test"}
    plan, cells = asked("allocator").cells(plan)
    only = subjects_of(cells, plan, {})
    assert set(only) == {"allocator"}


def test_a_program_that_is_not_there_is_a_mistake_in_the_plan(tmp_path: Path) -> None:
    plan = read(tmp_path)
    line = 1 + PLAN.splitlines().index("[subject.server]")
    with pytest.raises(UsageError, match="server is no program of this machine") as error:
        subjects_of(plan.cells(), plan, {"go-hello": lambda: Subject("go-hello", ("/go",))})
    assert str(error.value).startswith(f"{tmp_path / 'plan.toml'}:{line}: subject.server: ")


def test_a_program_of_the_command_line_is_a_subject_as_any_other(tmp_path: Path) -> None:
    plan, [cell, _] = asked("/bin/ls", args=("-l",), expect="dies:x").cells(read(tmp_path))
    assert cell.id == "native/none/ls"
    assert str(cell.expected) == "dies, saying /x/"
    assert cell.command[-6:] == ("--subject", "/bin/ls", "--arg", "-l", "--expect", "dies:x")
    assert subjects_of([cell], plan, {})["ls"].argv[-1] == "-l"


def test_known_names_go_before_programs(tmp_path: Path) -> None:
    plan, cells = asked("server", "go-hello").cells(read(tmp_path))
    assert {cell.subject for cell in cells} == {"server", "go-hello"}
    assert set(plan.programs) == {"server"}


def test_what_is_expected_of_the_allocator_may_be_replaced_too(tmp_path: Path) -> None:
    _, cells = asked("allocator", expect="path:low").cells(read(tmp_path))
    assert {str(cell.expected) for cell in cells} == {"path low"}
    assert cells[0].command[-2:] == ("--expect", "path:low")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (asked("server", args=("-x",)), "--arg is for a program of yours"),
        (asked(root="host"), "--root is for a program of yours"),
        (asked("/bin/ls", "/bin/cat", timeout="2"), "--timeout is for a program of yours"),
        (asked("/elsewhere/server"), "there is a subject 'server' already"),
        (asked("/bin/ls", "/usr/bin/ls"), "there is a subject 'ls' already"),
    ],
)
def test_what_makes_no_sense_together(tmp_path: Path, given: Asked, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        given.cells(read(tmp_path))


def test_a_program_has_no_policy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only the allocator has policies"):
        asked("server", policies=("after",)).cells(read(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ('"server", "go', '"servr", "go', 6, "unknown subject 'servr': did you mean server"),
        ("[subject.server]", "[subject.allocator]", 9, "there is a subject 'allocator' already"),
        ("[subject.server]", "[subject.java]", 9, "there is a subject 'java' already"),
        ("[subject.server]", "[subject.after]", 9, "'after' is a policy of the allocator"),
        ("[subject.server]", '[subject."a/b"]', 9, "'a/b' is no name"),
        ('subjects = ["allocator", ', "subjects = [", 7, "only the allocator has workloads"),
        ('"hello"]', '"helo"]', 7, "unknown workload 'helo'"),
        ('"hello"]', '"grow:3XB"]', 7, "'3XB' is no size"),
        ('"path:low"', '"path:lo"', 19, "unknown expectation 'path:lo': did you mean path:low"),
        ('"path:low"', '"lives"', 19, "'lives': write starts, path:high"),
        ('"path:low"', '"dies:("', 19, "is no regular expression"),
        ('"path:low"', '"starts"\nstatus = 2', 19, "both this and status are given"),
        ('expect = "path:low"', 'path = "high"', 16, "missing key 'outcome'"),
        (
            'expect = "path:low"',
            'path = "high"\noutcome = "allocates"',
            18,
            "the allocator reports",
        ),
        ('["go-*"]', '["rust-*"]', 18, "'rust-*' matches none of them"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        read(tmp_path, old, new)
    assert str(error.value).startswith(f"{tmp_path / 'plan.toml'}:{line}: ")


def test_an_unknown_word_of_a_subject_is_a_mistake_in_the_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'arg': did you mean args"):
        read(tmp_path, "args =", "arg =")


def test_repeats_have_names_of_their_own() -> None:
    one = Cell("native", Limits(), "after", repeat=2)
    assert one.id == "native/none/after~2"
    assert replace(one, repeat=1).id == "native/none/after"


def test_a_pattern_in_an_axis_is_all_that_match(tmp_path: Path) -> None:
    plan = read(tmp_path, '["native", "uml-bookworm"]', '["docker", "uml-*"]')
    assert plan.axes.guests == ("docker", "uml-6.1", "uml-6.12", "uml-7.2")
    _, cells = asked("server", "go-*", guests=("uml-*",)).cells(plan)
    assert len(cells) == 3 * 2
    with pytest.raises(UsageError, match=r"--subject: 'rust-\*' matches none of them"):
        asked("rust-*").cells(plan)
    with pytest.raises(UsageError, match="native is there already"):
        read(tmp_path, '["native", "uml-bookworm"]', '["*", "native"]')


def test_a_subject_that_is_not_known_is_told_those_of_this_machine() -> None:
    known = Known({}, (), {"go-hello": "Go", "go-hello-arm64": "Go", "mine": ""})
    with pytest.raises(
        UsageError, match=r"unknown subject 'go-helo': did you mean go-hello\?"
    ) as it:
        known.subject("go-helo")
    assert it.value.remedy == (
        "there is: allocator, go-hello, mine, the runtimes with -arm64 and -riscv64 as well"
    )
