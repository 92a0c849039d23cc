"""What a subject finds open: its standard streams, and no descriptor of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import ARM64, PORTS, Port
from tests.hostile.conftest import Attack, Attackers

GUESTS = (
    "native", "uml-6.1", "uml-6.12", "uml-7.2", "uml-7.2-ptrace", "qemu-x86_64", "docker",
)  # fmt: skip
EMULATORS = {"qemu-user-arm64": "arm64", "qemu-user-riscv64": "riscv64"}


def lines(artefacts: str) -> list[str]:
    return (Path(artefacts) / "stdout").read_text().splitlines()


@pytest.mark.parametrize("limits", ["none", "occupied=0x20000000-0x20001000"])
@pytest.mark.parametrize("trace", [True, False], ids=["traced", "untraced"])
@pytest.mark.parametrize("guest", GUESTS)
def test_only_the_standard_streams_are_open(
    guest: str, trace: bool, limits: str, attackers: Attackers
) -> None:
    program = attackers.compile("descriptors")
    [verdict] = attackers.run(
        guest, Attack(program, trace=trace, limits=limits)
    ).verdicts.values()  # fmt: skip
    assert verdict.result is Result.PASS, str(verdict)
    assert [line.split()[0] for line in lines(verdict.artefacts)] == ["0", "1", "2"]


def compile_for(port: Port, name: str, builder: Builder, attackers: Attackers) -> Path:
    return attackers.compile(name, compiler=compiler.command(builder.image, port))


@pytest.fixture(params=EMULATORS)
def emulated(request: pytest.FixtureRequest, builder: Builder, attackers: Attackers) -> Attack:
    port = PORTS[EMULATORS[request.param]]
    attack = Attack(compile_for(port, "descriptors", builder, attackers))
    attack.guest = request.param
    return attack


def test_an_emulator_has_its_log_and_no_more(emulated: Attack, attackers: Attackers) -> None:
    [verdict] = attackers.run(emulated.guest, emulated).verdicts.values()
    assert verdict.result is Result.PASS, str(verdict)
    found = [line.split()[0] for line in lines(verdict.artefacts)]
    assert found == ["0", "1", "2", "3"]  # docs/guests.md
    assert any("can forge them" in note for note in verdict.notes)


def test_recognises_lines_that_a_program_writes_into_the_log(
    emulated: Attack, attackers: Attackers
) -> None:
    emulated.arguments = ("forge",)
    emulated.expect = "path:high"
    [verdict] = attackers.run(emulated.guest, emulated).verdicts.values()
    assert verdict.result is Result.FAIL, str(verdict)
    assert Code.LOG_TOUCHED in {each.code for each in verdict.findings}


def test_recognises_a_log_that_a_program_of_this_machine_forges(
    builder: Builder, attackers: Attackers
) -> None:
    """It inherits the log when it is executed, and passed as `high` in 47 bits."""
    program = compile_for(ARM64, "leave_emulator", builder, attackers)
    attacks = [Attack(program, how, expect="path:high", name=how) for how in ("denied", "silent")]
    fails = Attack(program, "fails", name="fails")
    verdicts = attackers.run("qemu-user-arm64", *attacks, fails).verdicts
    codes = {
        verdict.cell.rpartition("/")[2]: {each.code for each in verdict.findings}
        for verdict in verdicts.values()
    }
    assert Code.LOG_TOUCHED in codes["denied"] & codes["silent"]
    assert codes["fails"] == set()
    assert [each.result for each in verdicts.values()] == [Result.FAIL, Result.FAIL, Result.PASS]
