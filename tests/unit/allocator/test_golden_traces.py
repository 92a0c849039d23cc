import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.options import parse_size
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from foothold_lab.allocator.trace import Call

DATA = Path(__file__).parents[2] / "data/golden"
GOLDEN = {
    pointer: json.loads((DATA / name).read_text("utf-8"))
    for pointer, name in ((8, "startup.json"), (4, "startup-386.json"))
}
CASES = [case for golden in GOLDEN.values() for case in golden["cases"]]
ROOT = Path(__file__).parents[3]


def golden(case: dict[str, Any]) -> dict[str, Any]:
    """Return the file of a case."""
    return GOLDEN[case["kernel"].get("pointer_size", 8)]


def expected(case: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for line in case["calls"]:
        lines += golden(case).get(line, [line])
    return lines


def model(kernel: dict[str, Any]) -> ModelKernel:
    made = dict(kernel)
    for name in ("task_size", "rlimit_as", "mmap_base"):
        if name in made:
            made[name] = parse_size(made[name])
    if "occupied" in made:
        made["occupied"] = [tuple(map(parse_size, pair)) for pair in made["occupied"]]
    return ModelKernel(AddressSpace(**made))


def compare(calls: list[str], wanted: list[str]) -> None:
    """Compare calls. A `*` in the expected call stands for any address."""
    shown = [
        want if re.fullmatch(re.escape(want).replace(r"\*", "0x[0-9a-f]+"), call) else call
        for call, want in zip(calls, wanted, strict=False)
    ]
    assert shown + calls[len(wanted) :] == wanted


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_model_makes_every_observed_call(case: dict[str, Any]) -> None:
    outcome = predict(POLICIES[case["policy"]], model(case["kernel"]), workload=case["workload"])
    compare([str(call) for call in outcome.calls], expected(case))
    assert (outcome.path, outcome.status) == (case["path"], case["status"])
    stderr = "".join(line + "\n" for line in outcome.printed)
    if outcome.message:
        stderr += f"throw: {outcome.message}\n"
    assert stderr == case["stderr"]
    if case["workload"] == "hello" and outcome.status == 0:
        assert golden(case)["stats"].items() <= outcome.stats.items()
        assert outcome.stats["mspan_inuse"] % golden(case)["mspan"] == 0


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="a Python of 64 bits is asked for")
@pytest.mark.parametrize("case", CASES[:2], ids=[case["name"] for case in CASES[:2]])
def test_the_real_kernel_sees_the_observed_calls(case: dict[str, Any]) -> None:
    argv = ["--trace", "--policy", case["policy"], "--workload", "hello"]
    done = subprocess.run(
        [sys.executable, "-m", "allocator", *argv], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    calls = [
        str(Call(name=event["name"], args=tuple(event["args"]), result=event["result"]))
        for event in events
        if event["event"] == "call"
    ]
    if calls[0].endswith("= 0xf800000000") or case["policy"] == "before":
        compare(calls, expected(case))
        end = events[-1]
        assert (end["event"], end["path"], end["stats"]["sys"]) == ("end", "high", 5110008)
    else:  # a machine whose address space has no such place
        assert events[-1]["event"] in ("end", "throw") and events[-1].get("path") != "high"


# The heap of a Python that is not position-independent begins at random in the first GiB, and may lie
# where the arena should: then it starts again, to get another one.
OCCUPY = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_ssize_t
if 0x20000000 < libc.sbrk(0) < 0x22500000 + (640 << 20):
    os.execv(sys.executable, sys.orig_argv)
libc.mmap.argtypes = [ctypes.c_size_t] * 2 + [ctypes.c_int] * 3 + [ctypes.c_ssize_t]
libc.mmap(0xF800000000, 4096, 0, 0x32, -1, 0)
from allocator.__main__ import main
sys.exit(main(["--trace", "--workload", "hello", "--end", "0x22443a68"]))
"""


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="a Python of 64 bits is asked for")
def test_the_low_path_on_the_real_kernel_if_the_probe_fails() -> None:
    """--end lies above Python's own heap, so that the low arena gets the address of its hint."""
    done = subprocess.run(
        [sys.executable, "-c", OCCUPY], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    calls = [event["args"] for event in events if event["event"] == "call"]
    assert calls == [
        [0xF800000000, 65536, 0, 0x22],
        [0x22500000, 671088640, 0, 0x22],
        [0, 131072, 7, 0x22],
        [0x2A500000, 1048576, 7, 0x32],
        [0x2A4F0000, 65536, 7, 0x32],
        [0, 131072, 7, 0x22],
        [0, 131072, 7, 0x22],
        [0, 1048576, 7, 0x22],
        [0x2A600000, 1048576, 7, 0x32],
        [0x2A4E0000, 65536, 7, 0x32],
        [0, 1439992, 7, 0x22],
    ]
    assert (events[-1]["path"], events[-1]["stats"]["sys"]) == ("low", 5110008)


def test_the_large_block_of_hello_has_the_observed_address() -> None:
    """Observed on both paths and on 386: arena_start + 0x1a000."""
    from allocator_support import Lab, narrow, uml

    from foothold_lab.allocator.workload import run

    for lab, start in ((Lab(), 0xF840000000), (uml(), 0xA500000), (narrow(), 0x18500000)):
        runtime = lab.begin()
        run(runtime, "hello")
        assert runtime.mlookup(start + 0x1A000) == (start + 0x1A000, 1 << 20)


@pytest.mark.parametrize(("pointer_size", "mib"), [(8, 69), (4, 67)])
def test_grow_64_uses_the_observed_amount_of_heap(pointer_size: int, mib: int) -> None:
    """Observed without a collector (GOGC=off)."""
    kernel = ModelKernel(AddressSpace(pointer_size=pointer_size))
    outcome = predict(POLICIES["after"], kernel, workload="grow-64")
    assert outcome.stats["heap_sys"] == mib << 20


ARENAS = json.loads((DATA / "arenas.json").read_text("utf-8"))


@pytest.mark.parametrize("case", ARENAS["cases"], ids=lambda case: case["name"])
def test_modern_finds_its_first_arena_as_go_1_19_does(case: dict[str, Any]) -> None:
    hints = [f"{hint:#x}" for hint in POLICIES["modern"].hints]
    assert [hints[0], hints[1], hints[-1]] == ARENAS["hints"]
    kernel = model(case["kernel"])
    if not kernel.top_down:
        kernel.mmap_base -= 131072  # for our table of caches, which comes first
    outcome = predict(POLICIES["modern"], kernel, workload="none")
    reserving = [str(call) for call in outcome.calls if call.args[0] or call.args[2] == 0]
    wanted = [line.format(hint=hint) for hint in hints for line in case["each_hint"]]
    wanted += case["then"]
    assert reserving[: len(wanted)] == wanted
    assert (outcome.path, f"{outcome.addresses['base']:#x}") == (case["path"], case["base"])


def test_limits_do_not_change_the_path_of_after_natively() -> None:
    for mib in (128, 192, 300, 512, 1024, 2048, 20480):
        outcome = predict(
            POLICIES["after"], ModelKernel(AddressSpace(rlimit_as=mib << 20)), workload="grow-64"
        )
        assert (outcome.path, outcome.status) == ("high", 0)


def test_golden_files_do_not_name_a_machine() -> None:
    assert os.fspath(ROOT) not in json.dumps(GOLDEN)
