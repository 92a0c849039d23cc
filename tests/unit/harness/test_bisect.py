"""The exit codes of `git bisect run`: no failure of ours may look like a bad kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.cli.bisect import Done, answer
from foothold_lab.harness.cli.plan_options import Asked
from foothold_lab.harness.guests.custom_kernels import OwnKernels
from foothold_lab.harness.model.errors import Blame, InfrastructureError, UsageError
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.images.errors import ImageError

NOTHING = Asked({"limits": (), "policies": (), "subjects": (), "expect": "low"})


@pytest.mark.parametrize(
    "done, code",
    [
        (Done(0, frozenset(), False), 0),
        (Done(1, frozenset(), False), 1),
        (Done(1, frozenset({Blame.GUEST}), False), 1),  # a finding is certain
        (Done(3, frozenset({Blame.GUEST}), False), 125),
        (Done(3, frozenset({Blame.SUBJECT}), False), 125),
        (Done(0, frozenset({Blame.UNSUPPORTED}), False), 125),
        (Done(3, frozenset({Blame.INFRASTRUCTURE}), False), 255),
        (Done(3, frozenset({Blame.INFRASTRUCTURE, Blame.GUEST}), False), 255),
        (Done(0, frozenset(), True), 255),
        (Done(130, frozenset(), False), 130),
    ],
)
def test_what_a_run_comes_to(done: Done, code: int) -> None:
    assert answer(OwnKernels(), NOTHING, lambda _: done) == code


@pytest.mark.parametrize(
    "error", [UsageError("a"), InfrastructureError("b", "do this"), ImageError("c", "d"), OSError()]
)
def test_what_keeps_a_run_from_answering(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Asked) -> Done:
        raise error

    assert answer(OwnKernels(), NOTHING, fail) == 255
    assert "the bisection cannot go on" in capsys.readouterr().err


def test_a_kernel_that_was_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(OwnKernels(tmp_path / "linux"), NOTHING, lambda _: pytest.fail("asked")) == 125
    assert "it is skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "--uml", "./linux", "--expect", "low", "--nonsense"], 255),
        (["run", "--kernel=bzImage", "--expect=low", "--jobs"], 255),
        (["run", "--uml", "./linux", "--nonsense"], 2),
        (["plan", "--expect", "low", "--nonsense"], 2),
    ],
)
def test_a_command_line_that_cannot_be_read(words: list[str], code: int) -> None:
    """2 would be a bad kernel, and all of them would be."""
    assert main.main(words) == code


def test_one_question_if_no_other_is_asked() -> None:
    heard: list[Asked] = []

    def hear(asked: Asked) -> Done:
        heard.append(asked)
        return Done(0, frozenset(), False)

    answer(OwnKernels(), NOTHING, hear)
    assert (heard[0].words["limits"], heard[0].words["policies"]) == (("none",), ("after",))
    answer(OwnKernels(), Asked({**NOTHING.words, "policies": ("before",)}), hear)
    assert heard[1].words["policies"] == ("before",)
    answer(OwnKernels(), Asked({**NOTHING.words, "subjects": ("./server",)}), hear)
    assert heard[2].words["policies"] == ()


@pytest.mark.parametrize("path", ["high", "low", "refused"])
def test_a_path_alone_is_an_expectation(path: str) -> None:
    assert Expectation.parse(path) == Expectation.parse(f"path:{path}")
