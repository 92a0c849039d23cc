"""The exit codes for `git bisect run`: an error of Foothold must not look like a bad kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.cli.bisect import RunOutcome, bisect_step
from foothold_lab.harness.cli.plan_options import Overrides
from foothold_lab.harness.guests.custom_kernels import CustomKernels
from foothold_lab.harness.model.errors import Blame, InfrastructureError, UsageError
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.images.errors import ImageError

NOTHING = Overrides({"limits": (), "policies": (), "subjects": (), "expect": "low"})


@pytest.mark.parametrize(
    "done, code",
    [
        (RunOutcome(0, frozenset(), False), 0),
        (RunOutcome(1, frozenset(), False), 1),
        (RunOutcome(1, frozenset({Blame.GUEST}), False), 1),  # a finding is certain
        (RunOutcome(3, frozenset({Blame.GUEST}), False), 125),
        (RunOutcome(3, frozenset({Blame.SUBJECT}), False), 125),
        (RunOutcome(0, frozenset({Blame.UNSUPPORTED}), False), 125),
        (RunOutcome(3, frozenset({Blame.INFRASTRUCTURE}), False), 255),
        (RunOutcome(3, frozenset({Blame.INFRASTRUCTURE, Blame.GUEST}), False), 255),
        (RunOutcome(0, frozenset(), True), 255),
        (RunOutcome(130, frozenset(), False), 130),
    ],
)
def test_the_outcome_of_a_run_decides(done: RunOutcome, code: int) -> None:
    assert bisect_step(CustomKernels(), NOTHING, lambda _: done) == code


@pytest.mark.parametrize(
    "error", [UsageError("a"), InfrastructureError("b", "do this"), ImageError("c", "d"), OSError()]
)
def test_an_error_aborts_the_bisection(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Overrides) -> RunOutcome:
        raise error

    assert bisect_step(CustomKernels(), NOTHING, fail) == 255
    assert "bisection" in capsys.readouterr().err


def test_skips_a_kernel_that_was_not_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        bisect_step(CustomKernels(uml=tmp_path / "linux"), NOTHING, lambda _: pytest.fail("asked"))
        == 125
    )
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
def test_a_bad_command_line_aborts_the_bisection(words: list[str], code: int) -> None:
    """2 would be a bad kernel, and all of them would be."""
    assert main.main(words) == code


def test_runs_one_cell_by_default() -> None:
    heard: list[Overrides] = []

    def hear(asked: Overrides) -> RunOutcome:
        heard.append(asked)
        return RunOutcome(0, frozenset(), False)

    bisect_step(CustomKernels(), NOTHING, hear)
    assert (heard[0].given["limits"], heard[0].given["policies"]) == (("none",), ("after",))
    bisect_step(CustomKernels(), Overrides({**NOTHING.given, "policies": ("before",)}), hear)
    assert heard[1].given["policies"] == ("before",)
    bisect_step(CustomKernels(), Overrides({**NOTHING.given, "subjects": ("./server",)}), hear)
    assert heard[2].given["policies"] == ()


@pytest.mark.parametrize("path", ["high", "low", "refused"])
def test_a_path_alone_is_an_expectation(path: str) -> None:
    assert Expectation.parse(path) == Expectation.parse(f"path:{path}")
