"""Subjects in plans: an axis, programs that the plan defines, and what is expected of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.cli.plan_options import Overrides
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import PlanFile, find_plan, load_plan
from foothold_lab.harness.plan.vocabulary import Vocabulary
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
    return load_plan(path, PACKAGED)


def overrides(*subjects: str, **more: object) -> Overrides:
    lists = ("guests", "limits", "policies", "workloads", "tags", "args", "files", "env")
    single = (
        "expect",
        "root",
        "sysroot",
        "stdin",
        "user",
        "timeout",
        "ready_pattern",
        "ready_port",
        "ready_file",
        "ready_notify",
        "keep_secrets",
        "repeats",
        "deadline",
        "trace",
    )
    values = dict.fromkeys(lists, ()) | dict.fromkeys(single) | {"subjects": subjects}
    return Overrides(values | more)


def test_only_the_allocator_has_policies_and_workloads(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["", "default", "nightly", "weekly"])
def test_the_command_of_a_cell_runs_that_cell_only(name: str, tmp_path: Path) -> None:
    whole = load_plan(find_plan(name), KNOWN) if name else read(tmp_path)
    for cell in whole.cells():
        words = cell.command[cell.command.index("--guest") :]
        given = {words[n]: words[n + 1] for n in range(0, len(words), 2)}
        keys = ("--guest", "--limit", "--policy", "--subject", "--workload")
        axes = ("guests", "limits", "policies", "subjects", "workloads")
        words = {each: (given[key],) for key, each in zip(keys, axes, strict=True) if key in given}
        _, [again] = overrides(**({"subjects": ()} | words), repeats=1).select_cells(whole)
        assert (again.id, again.expected) == (replace(cell, repeat=1).id, cell.expected)


def test_paths_are_relative_to_the_plan(tmp_path: Path) -> None:
    program = read(tmp_path).programs["server"]
    assert program.program == str(tmp_path / "server")
    assert program.files == (str(tmp_path / "config.toml"),)
    assert (program.args, program.env) == (("--port=80",), ("MODE=test",))
    assert program.timeout == 2.5
    assert read(tmp_path, '"./server"', '"server"').programs["server"].program == "server"


def test_only_subjects_of_cells_are_made(tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (tmp_path / "config.toml").touch()
    plan = read(tmp_path)

    def never() -> Subject:
        raise AssertionError

    makes = {"go-hello": lambda: Subject(name="go-hello", argv=("/go",)), "java": never}
    found = subjects_of(plan.cells(), plan, makes)
    assert set(found) == {"allocator", "server", "go-hello"}
    assert found["allocator"] is ALLOCATOR
    assert found["server"].argv == (str(script), "--port=80")
    assert set(found["server"].files) == {
        f"root{script}",
        "work/config.toml",
        f"root{tmp_path}/config.toml",
    }
    assert found["server"].environment["MODE"] == "test"
    plan, cells = overrides("allocator").select_cells(plan)
    only = subjects_of(cells, plan, {})
    assert set(only) == {"allocator"}


def test_a_missing_program_is_reported_with_its_line(tmp_path: Path) -> None:
    plan = read(tmp_path)
    line = 1 + PLAN.splitlines().index("[subject.server]")
    with pytest.raises(UsageError, match="server is not a program of this machine") as error:
        subjects_of(
            plan.cells(), plan, {"go-hello": lambda: Subject(name="go-hello", argv=("/go",))}
        )
    assert str(error.value).startswith(f"{tmp_path / 'plan.toml'}:{line}: subject.server: ")


def test_a_program_on_the_command_line_is_a_subject(tmp_path: Path) -> None:
    plan, [cell, _] = overrides("/bin/ls", args=("-l",), expect="dies:x").select_cells(
        read(tmp_path)
    )
    assert cell.id == "native/none/ls"
    assert str(cell.expected) == "dies, saying /x/"
    assert cell.command[-6:] == ("--subject", "/bin/ls", "--arg", "-l", "--expect", "dies:x")
    assert subjects_of([cell], plan, {})["ls"].argv[-1] == "-l"


def test_known_names_win_over_programs(tmp_path: Path) -> None:
    plan, cells = overrides("server", "go-hello").select_cells(read(tmp_path))
    assert {cell.subject for cell in cells} == {"server", "go-hello"}
    assert set(plan.programs) == {"server"}


def test_expect_replaces_the_expectation_of_the_allocator(tmp_path: Path) -> None:
    _, cells = overrides("allocator", expect="path:low").select_cells(read(tmp_path))
    assert {str(cell.expected) for cell in cells} == {"path low"}
    assert cells[0].command[-2:] == ("--expect", "path:low")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (overrides("server", args=("-x",)), "--arg needs a program"),
        (overrides(root="host"), "--root needs a program"),
        (overrides("/bin/ls", "/bin/cat", timeout="2"), "--timeout describes one program, and 2 "),
        (overrides("/elsewhere/server"), "a subject 'server' exists already"),
        (overrides("/bin/ls", "/usr/bin/ls"), "a subject 'ls' exists already"),
    ],
)
def test_rejects_contradicting_options(tmp_path: Path, given: Overrides, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        given.select_cells(read(tmp_path))


def test_a_program_has_no_policy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only the allocator has policies"):
        overrides("server", policies=("after",)).select_cells(read(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ('"server", "go', '"servr", "go', 6, "unknown subject 'servr': did you mean server"),
        ("[subject.server]", "[subject.allocator]", 9, "a subject 'allocator' exists already"),
        ("[subject.server]", "[subject.java]", 9, "a subject 'java' exists already"),
        ("[subject.server]", "[subject.after]", 9, "'after' is a policy of the allocator"),
        ("[subject.server]", '[subject."a/b"]', 9, "'a/b' is not a valid name"),
        ('subjects = ["allocator", ', "subjects = [", 7, "only the allocator has workloads"),
        ('"hello"]', '"helo"]', 7, "unknown workload 'helo'"),
        ('"hello"]', '"grow:3XB"]', 7, "'3XB' is not a size"),
        ('"path:low"', '"path:lo"', 19, "unknown expectation 'path:lo': did you mean path:low"),
        ('"path:low"', '"lives"', 19, "unknown expectation 'lives'"),
        ('"path:low"', '"dies:("', 19, "is not a regular expression"),
        ('"path:low"', '"starts"\nstatus = 2', 19, "both expect and status are given"),
        ('expect = "path:low"', 'path = "high"', 16, "missing key 'outcome'"),
        (
            'expect = "path:low"',
            'path = "high"\noutcome = "allocates"',
            18,
            "the allocator reports",
        ),
        ('["go-*"]', '["rust-*"]', 18, "'rust-*' matches nothing"),
    ],
)
def test_a_mistake_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        read(tmp_path, old, new)
    assert str(error.value).startswith(f"{tmp_path / 'plan.toml'}:{line}: ")


def test_a_program_beside_a_plan_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(tmp_path)
    monkeypatch.chdir(tmp_path)
    plan = load_plan(Path("plan.toml"), PACKAGED)
    assert plan.programs["server"].program == str(tmp_path / "server")


def test_rejects_an_unknown_key_of_a_subject(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'arg': did you mean args"):
        read(tmp_path, "args =", "arg =")


def test_repeats_have_their_own_names() -> None:
    one = Cell(guest="native", limits=Limits(), policy="after", repeat=2)
    assert one.id == "native/none/after~2"
    assert replace(one, repeat=1).id == "native/none/after"


def test_a_pattern_in_an_axis_means_all_matches(tmp_path: Path) -> None:
    plan = read(tmp_path, '["native", "uml-bookworm"]', '["docker", "uml-*"]')
    uml = ("uml-6.1", "uml-6.12", "uml-7.2", "uml-5.10", "uml-7.2-ptrace")
    assert plan.axes.guests == ("docker", *uml)
    _, cells = overrides("server", "go-*", guests=("uml-*",)).select_cells(plan)
    assert len(cells) == len(uml) * 2
    with pytest.raises(UsageError, match=r"--subject: 'rust-\*' matches nothing"):
        overrides("rust-*").select_cells(plan)
    with pytest.raises(UsageError, match="native is listed already"):
        read(tmp_path, '["native", "uml-bookworm"]', '["*", "native"]')


def test_an_unknown_subject_gets_the_subjects_of_this_machine() -> None:
    known = Vocabulary({}, (), {"go-hello": "Go", "go-hello-arm64": "Go", "mine": ""})
    with pytest.raises(
        UsageError, match=r"unknown subject 'go-helo': did you mean go-hello\?"
    ) as it:
        known.check_subject("go-helo")
    assert it.value.remedy == (
        "known subjects: allocator, go-hello, mine; runtimes also with -arm64 and -riscv64"
    )


def test_a_new_subject_runs_in_every_guest_of_the_plan() -> None:
    plan = load_plan(find_plan("default"), PACKAGED)
    guests = {cell.guest for cell in plan.cells()}
    _, cells = overrides("go-hello").select_cells(plan)
    assert {cell.guest for cell in cells} == guests
    assert len(guests) == 10
    assert {cell.subject for cell in cells} == {"go-hello"}
    assert len(cells) == len(set(cells))
    _, native = overrides("/bin/ls", guests=("native",)).select_cells(plan)
    assert {cell.guest for cell in native} == {"native"}


def test_a_subject_of_the_plan_runs_where_the_plan_runs_it(tmp_path: Path) -> None:
    include = '\n[[include]]\nguests = ["docker"]\nsubjects = ["go-hello"]\n'
    plan = read(tmp_path, more=include)
    _, [*cells] = overrides("server").select_cells(plan)
    assert {cell.guest for cell in cells} == {"native", "uml-6.1"}
    _, [*cells] = overrides("go-hello").select_cells(plan)
    assert {cell.guest for cell in cells} == {"native", "uml-6.1", "docker"}
    _, [*cells] = overrides("go-hello", "java").select_cells(plan)
    docker = {cell.subject for cell in cells if cell.guest == "docker"}
    assert docker == {"go-hello", "java"}
