"""Faults of a kernel in the text of a console."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.model.kernel_log import CONTEXT, excerpt, kernel_faults, panic_message
from foothold_lab.harness.runner import ConsoleLog


@pytest.mark.parametrize(
    "line",
    [
        "[    1.2] BUG: Bad page map in process server  pte:8000 pmd:1000",
        "[    1.2] WARNING: CPU: 0 PID: 31 at mm/memory.c:1 zap_pte+0x1/0x2",
        "[    1.2] WARNING: arch/um/kernel/tlb.c:1 at um_tlb_sync+0x1/0x2, CPU#0: server/31",
        "[    1.2] WARNING: possible recursive locking detected",
        "[    1.2] WARNING: inconsistent lock state",
        "[    1.2] WARNING: suspicious RCU usage",
        "[    1.2] Oops: 0000 [#1] PREEMPT SMP",
        "[    1.2] kernel BUG at mm/mmap.c:100!",
        "Kernel panic - not syncing: sysrq triggered crash",
    ],
)
def test_finds_a_fault_with_the_lines_that_follow(line: str) -> None:
    more = [f"line {number}" for number in range(20)]
    text = "\r\n".join(["booting", line, *more])
    assert kernel_faults(text) == ("\n".join([line, *more[: CONTEXT - 1]]),)


@pytest.mark.parametrize("line", ["random: crng init done", "WARNING: no raw image", "debug: x"])
def test_ignores_other_lines(line: str) -> None:
    assert kernel_faults(line) == ()


def test_an_excerpt_begins_at_the_head_of_a_panic() -> None:
    panic = "Kernel panic - not syncing: no init"
    lines = [*map(str, range(50)), panic, *map(str, range(30))]
    assert excerpt(lines, 3) == [panic, "0", "1"]
    assert excerpt(lines[:50], 2) == ["48", "49"]


def test_the_last_panic_is_that_of_the_kernel() -> None:
    forged = "Kernel panic - not syncing: forged"
    last = "[    1.2] Kernel panic - not syncing: Fatal exception\r\nCPU: 0\r\n"
    assert panic_message(f"{forged}\n{last}") == (
        "[    1.2] Kernel panic - not syncing: Fatal exception\nCPU: 0"
    )
    assert panic_message("BUG: x\n") == ""


def test_what_a_kernel_reports_of_its_boot_is_not_of_a_program(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    file.write_text("watchdog: BUG: soft lockup - CPU#0 stuck for 86s! [swapper/0:1]\n")
    console = ConsoleLog(tmp_path)
    assert kernel_faults(console.read()) == ()
    with file.open("a") as log:
        log.write("BUG: Bad page map in process x\n")
    assert kernel_faults(console.read()) == ("BUG: Bad page map in process x",)
    assert ConsoleLog(tmp_path / "native").read() == ""
