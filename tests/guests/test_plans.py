"""Plans for real: subjects with roots of their own, workloads, repeats; the subject_trace of 2012."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.evidence.arena_detection import POLICIES
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model import events
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.plan import PlanFile, Selection, Vocabulary, find_plan, load_plan
from foothold_lab.harness.plan.model import Axes
from foothold_lab.images.builder import Builder
from tests.guests.conftest import Happened, happen

SEVERAL = """\
schema = 1
name = "several"

[axes]
guests = ["native", "uml-testing"]
subjects = ["allocator", "hello", "sh"]
workloads = ["none", "hello"]

[subject.hello]
program = "./hello.sh"
files = ["word"]
env = { WHO = "you" }
expect = "dies:good bye, you"

[subject.sh]
program = "sh"
args = ["-c", "test -e /etc/os-release && read stat < /proc/self/stat && test -d /sys/kernel"]
root = "host"

[[override]]
subjects = ["hello"]
repeats = 2
"""


def run(plan: PlanFile, asked: Selection, builder: Builder, directory: Path) -> Happened:
    cells = plan.cells(asked)
    return happen(cells, builder, directory, subjects=subjects_of(cells, plan, {}))


def words(builder: Builder) -> Vocabulary:
    return Vocabulary(known_guests(builder), POLICIES)


def test_subjects_of_one_root_share_a_boot(builder: Builder, tmp_path: Path) -> None:
    script = tmp_path / "hello.sh"
    script.write_text('#!/bin/sh\necho "$(cat word), $WHO"\nexit 3\n')
    script.chmod(0o755)
    (tmp_path / "word").write_text("good bye")
    (tmp_path / "plan.toml").write_text(SEVERAL)
    plan = load_plan(tmp_path / "plan.toml", words(builder))
    happened = run(plan, Selection(), builder, tmp_path / "run")
    assert {name.partition("/")[2] for name in happened.verdicts} == {
        "none/after+none",
        "none/after+hello",
        "none/hello",
        "none/hello~2",
        "none/sh",
    }
    for verdict in happened.verdicts.values():
        if verdict.result is not Result.UNSUPPORTED:
            assert (verdict.result, verdict.findings) == (Result.PASS, ())
    booted = [each.guest for each in happened.events if isinstance(each, events.GuestReady)]
    assert booted.count("native") == 2
    kept = {path.name for path in (tmp_path / "run/guests").iterdir()}
    assert {"native", "native+host"} <= kept


@pytest.mark.parametrize("guest", ["uml-bookworm", "uml-testing"])
def test_the_bug_of_2012_and_its_repair(guest: str, builder: Builder, tmp_path: Path) -> None:
    plan = load_plan(find_plan("uml-bug-2012"), words(builder))
    name = plan.vocabulary.resolve_guest(guest)
    asked = Selection(axes=Axes(guests=(name,), workloads=("hello",)))
    happened = run(plan, asked, builder, tmp_path)
    for cell in ("before+hello", "after+hello"):
        verdict = happened.verdicts[f"{name}/none/{cell}"]
        if verdict.result is Result.UNSUPPORTED:
            pytest.skip(verdict.reason)
        assert (verdict.result, verdict.findings) == (Result.PASS, ())
        assert verdict.observed
        died = cell == "before+hello" and guest == "uml-bookworm"
        assert str(verdict.observed).startswith("dies, status 2: throw:") == died
