"""Compiles the attackers, and runs them as subjects of real guests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.verdict import Expectation, Result
from foothold_lab.harness.subjects import ProgramOptions, of_program
from foothold_lab.images import processes
from foothold_lab.images.builder import Builder
from tests.guests.conftest import Happened, builder, happen, history, images
from tests.host_compiler import host_compiler

__all__ = ["builder", "history", "images"]


# attacks by files and text, which need no guest; tests of these modules that do are marked
WITHOUT_GUESTS = {
    f"test_{name}.py"
    for name in ("bundle", "elf", "escapes", "fuzz", "rundir", "secrets", "streams")
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = Path(item.path)
        if "hostile" in path.parts and path.name not in WITHOUT_GUESTS:
            item.add_marker(pytest.mark.guests)


class Attackers:
    """Compiles an attacker and runs it, for real, in one guest after another."""

    def __init__(self, builder: Builder, directory: Path) -> None:
        self._builder = builder
        self._directory = directory

    def compile(self, name: str, *flags: str, compiler: Sequence[str | Path] = ()) -> Path:
        """Compile NAME.c of this directory, linked statically."""
        out = self._directory / name
        source = Path(__file__).with_name(f"{name}.c")
        done = processes.run(
            [*(compiler or host_compiler(static=True)), "-O1", "-static", *flags, "-o", out, source]
        )
        if done.returncode:
            pytest.skip(f"no C compiler: {done.stderr.strip()}")
        return out

    def script(self, name: str, text: str) -> Path:
        """Write a shell script."""
        out = self._directory / name
        out.write_text(f"#!/bin/sh\n{text}\n")
        out.chmod(0o755)
        return out

    def run(self, guest: str, *attacks: Attack, jobs: int = 1) -> Happened:
        """Run attackers in one boot of a guest, in this order."""
        programs = [of_program(str(each.program), each.arguments, each.options)
                    for each in attacks]  # fmt: skip
        cells = [
            Cell(
                guest=known_guests(self._builder)[guest],
                limits=Limits.parse(attack.limits),
                policy="",
                subject=subject.name,
                expected=Expectation.parse(attack.expect),
                deadline=attack.deadline,
                trace=attack.trace,
            )
            for attack, subject in zip(attacks, programs, strict=True)
        ]
        subjects = {each.name: each for each in programs}
        place = self._directory / "run"
        happened = happen(cells, self._builder, place, jobs=jobs, subjects=subjects)
        for verdict in happened.verdicts.values():
            if verdict.result is Result.UNSUPPORTED:
                pytest.skip(f"{guest}: {verdict.reason}")
        return happened


class Attack:
    """A subject with what is expected of it."""

    def __init__(
        self,
        program: Path,
        *arguments: str,
        expect: str = "starts",
        limits: str = "none",
        deadline: float | None = None,
        trace: bool = True,
        **options: object,
    ) -> None:
        self.guest = ""
        self.program = program
        self.arguments = arguments
        self.expect = expect
        self.limits = limits
        self.deadline = deadline
        self.trace = trace
        self.options = ProgramOptions(**options)  # type: ignore[arg-type]


@pytest.fixture
def attackers(builder: Builder, tmp_path: Path) -> Iterator[Attackers]:
    yield Attackers(builder, tmp_path)
