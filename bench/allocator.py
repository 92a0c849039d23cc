"""The speed of the allocator, as ratios to operations of the same Python in the same run.

A pair of malloc and free is compared with the call of an empty method. A run of the deployed
program is compared with a Python that only imports ctypes. All figures are medians.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

from foothold_lab.allocator import bundle
from foothold_lab.allocator.malloc import Runtime
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.realkernel import RealKernel

ROUNDS = 25
STARTS = 40
MIXED = (8, 16, 24, 48, 100, 256, 500, 1000, 2048, 4000, 10000, 32768)
GOALS = {"malloc+free 16": 12.0, "start, to mallocinit": 1.4}


class Empty:
    """The reference for a pair of malloc and free."""

    def method(self) -> None:
        """Do nothing."""


def main() -> None:
    """Print the table. It reserves an arena, so it can run only once in a process."""
    print(f"Python {sys.version.split()[0]}, medians of {ROUNDS} rounds and of {STARTS} starts")
    print(f"{'what':28}{'median':>14}{'ratio':>9}{'goal':>7}")
    _table(_pairs(), "ns", "empty method call")
    _table(_starts(), "us", "python -c 'import ctypes'")


def _table(medians: dict[str, float], unit: str, base: str) -> None:
    for name, median in medians.items():
        goal = f"{GOALS[name]:7.1f}" if name in GOALS else ""
        print(f"{name:28}{median:>11.0f} {unit}{median / medians[base]:>9.2f}{goal}")


def _pairs() -> dict[str, float]:
    """Return nanoseconds of one call or one pair, including the loop around it."""
    runtime = Runtime(RealKernel(), POLICIES["after"])
    runtime.mallocinit()
    kept = [runtime.malloc(size) for size in (16, *MIXED)]  # so that their spans are not freed
    measured: list[tuple[str, Callable[[Runtime, int], None], int]] = [
        ("empty method call", _empty_calls, 20_000),
        ("malloc+free 16", _small_pairs, 5_000),
        ("malloc+free mixed, 96 held", _mixed_pairs, 1_920),
        ("malloc+free 100000", _large_pairs, 200),
    ]
    times: dict[str, list[float]] = {name: [] for name, _, _ in measured}
    for _ in range(ROUNDS):
        for name, function, n in measured:
            begin = perf_counter_ns()
            function(runtime, n)
            times[name].append((perf_counter_ns() - begin) / n)
    for v in kept:
        runtime.free(v)
    return {name: statistics.median(each) for name, each in times.items()}


def _empty_calls(_: Runtime, n: int) -> None:
    method = Empty().method
    for _i in range(n):
        method()


def _small_pairs(runtime: Runtime, n: int) -> None:
    malloc, free = runtime.malloc, runtime.free
    for _ in range(n):
        free(malloc(16))


def _mixed_pairs(runtime: Runtime, n: int) -> None:
    malloc, free, sizes = runtime.malloc, runtime.free, MIXED * 8
    for _ in range(n // len(sizes)):
        blocks = [malloc(size) for size in sizes]
        for v in blocks:
            free(v)


def _large_pairs(runtime: Runtime, n: int) -> None:
    malloc, free = runtime.malloc, runtime.free
    for _ in range(n):
        free(malloc(100_000))


def _starts() -> dict[str, float]:
    """Return microseconds from spawn to end, measured in turns."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / bundle.PACKAGE
        bundle.write(package)
        bundle.write_bytecode(package)
        script = str(package / bundle.SCRIPT)
        python = [sys.executable, "-I", "-S"]
        commands = {
            "python -c 'import ctypes'": [*python, "-c", "import ctypes"],
            "start, to mallocinit": [*python, script, "--workload", "none"],
            "start, hello": [*python, script, "--workload", "hello"],
            "start, default workload": [*python, script],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(STARTS):
            for name, argv in commands.items():
                begin = perf_counter_ns()
                subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
                times[name].append((perf_counter_ns() - begin) / 1000)
    return {name: statistics.median(each) for name, each in times.items()}
