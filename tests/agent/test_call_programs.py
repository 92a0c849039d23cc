"""The interpreter of images/call_programs on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from foothold_lab.harness.call_fuzzer import program_text, read_corpus
from foothold_lab.harness.call_fuzzer.generator import random_programs
from foothold_lab.harness.call_fuzzer.report import Answers, read_call_report
from foothold_lab.images.probes import CALL_SOURCES, FLAGS

pytestmark = pytest.mark.agent


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("this machine has no C compiler")
    out = tmp_path_factory.mktemp("call-programs") / "call-programs"
    warnings = ("-Wshadow", "-Wstrict-prototypes")
    subprocess.run(
        [compiler, *FLAGS, *warnings, "-o", out, *CALL_SOURCES.glob("*.c")], check=True, timeout=60
    )
    return out


def run(interpreter: Path, *programs: str) -> tuple[Answers, ...]:
    done = subprocess.run([interpreter, *programs], capture_output=True, timeout=60)
    report = read_call_report(done.stdout)
    assert (done.returncode, report.unfinished) == (0, False)
    return report.answers


def test_a_child_has_memory_of_its_own(interpreter: Path) -> None:
    [answers] = run(
        interpreter, "map 0 2 rw memory private+fixed;write 0 65;fork 2;write 0 66;read 1;read 0"
    )
    assert "3f: 66" in answers and "5: 65" in answers
    assert any(each.startswith("endf: 0-2rw-p | 66 0 s1") for each in answers)


def test_answers_with_signal_code_and_address_of_a_fault(interpreter: Path) -> None:
    [answers] = run(interpreter, "map 0 1 r memory private+fixed;write 0 1;read 3")
    assert answers[1] == "1: [segv code 2 addr 0 mask segv]"
    assert answers[2] == "2: [segv code 1 addr 3 mask segv]"


def test_a_handler_runs_on_the_alternate_stack(interpreter: Path) -> None:
    [answers] = run(
        interpreter, "handle usr1 catch stack usr2 raise rt1;altstack 65536 on;queue usr1 7"
    )
    assert answers[2].startswith("2: [usr1 code -1 value 7 stack mask usr1+usr2 [rt1 code -6 stack")


def test_exec_keeps_what_is_blocked_and_pending(interpreter: Path) -> None:
    [answers] = run(interpreter, "mask block alrm;raise alrm;exec;pending;read 0")
    assert "3e: alrm" in answers
    assert "4e: [segv code 1 addr 0 mask segv+alrm]" not in answers
    assert any(each.startswith("4e: [segv code 1 addr 0") for each in answers)


def test_restarts_only_with_sa_restart(interpreter: Path) -> None:
    [answers] = run(
        interpreter,
        "handle usr1 catch restart - nothing;interrupt pipe usr1;"
        "handle usr1 catch - - nothing;interrupt pipe usr1;handle usr1 ignore - - nothing;"
        "interrupt sleep usr1",
    )
    assert answers[1] == "1: [usr1 code -6 mask usr1] 1 released"
    assert answers[3] == "3: [usr1 code -6 mask usr1] EINTR"
    assert answers[5] == "5: EINTR released"


def test_says_which_program_hangs_or_dies(interpreter: Path) -> None:
    answers = run(interpreter, "handle term default - - nothing;raise term", "read 0")
    assert answers[0][-1] == "program: killed by term"
    assert answers[1][-1] == "program: exit 0"


def test_rejects_an_unknown_word(interpreter: Path) -> None:
    done = subprocess.run([interpreter, "map 0 1 rw memory priv"], capture_output=True, timeout=10)
    assert b"an unknown word: priv" in done.stderr
    [answers] = read_call_report(done.stdout).answers
    assert answers[-1] == "program: exit 2"


def test_random_programs_answer_the_same_again(interpreter: Path) -> None:
    programs = [*map(program_text, random_programs(3, 400))]
    programs += [program_text(each.calls) for each in read_corpus()]
    first, second = run(interpreter, *programs), run(interpreter, *programs)
    assert len(first) == len(programs)
    ends = Counter(each[-1] for each in first)
    assert ends["program: exit 0"] > 0.9 * len(programs)
    assert not ends["program: exit 2"] and not ends["program: hangs"]
    differing = [text for text, one, two in zip(programs, first, second, strict=True) if one != two]
    assert not differing
