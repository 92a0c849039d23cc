"""Kernels with pages of 16 KiB: the model kernel, the allocator, limits and foreign programs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from foothold_lab.allocator.trace import Call
from foothold_lab.harness import oracle, subjects
from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.guests.limit_support import measure_under, support_for
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath, Result
from foothold_lab.harness.oracle.modelled import Narrowed
from foothold_lab.harness.subjects.subject import FILE, of_program
from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import ARM64, EMULATORS
from tests.go_trace import symbolic
from tests.guests.conftest import happen

GUEST = "qemu-arm64-16k"
PAGE = 16 << 10
END = 0x50000000  # behind Python's image and heap on arm64, and below all libraries
HINT = 0xF800000000

pytestmark = pytest.mark.foothold_guest(GUEST)

# each call with the place of the hint as an argument, and its result: an address, 0, or -errno
CALLS = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_ssize_t
libc.mmap.argtypes = [ctypes.c_size_t] * 2 + [ctypes.c_int] * 3 + [ctypes.c_ssize_t]
libc.munmap.argtypes = [ctypes.c_size_t] * 2
libc.mincore.argtypes = [ctypes.c_size_t] * 3
vector = (ctypes.c_char * 4096)()
def call(name, *args):
    if name == "mmap":
        got = libc.mmap(*args, -1, 0)
    elif name == "munmap":
        got = libc.munmap(*args)
    else:
        got = libc.mincore(*args, ctypes.addressof(vector))
    return got if got != -1 else -ctypes.get_errno()
print(json.dumps([call(*each) for each in json.loads(sys.argv[1])]))
"""
ASKED = [
    ("mmap", HINT + 4096, 4096, 3, 0x22),
    ("mmap", HINT + 4096, 4096, 3, 0x32),
    ("mincore", HINT, 4096),
    ("mincore", HINT, PAGE),
    ("mincore", HINT, PAGE + 1),
    ("mincore", HINT + 4096, 4096),
    ("munmap", HINT + 4096, 4096),
    ("munmap", HINT, 4096),
    ("mincore", HINT, 4096),
    ("mmap", HINT + PAGE - 1, PAGE + 1, 3, 0x22),
    ("mincore", HINT, 2 * PAGE),
    ("mmap", HINT + PAGE, 1, 3, 0x32),
    ("mmap", (1 << 62) + 1, 4096, 3, 0x32),
    ("munmap", HINT, PAGE + 1),
    ("mincore", HINT + PAGE, 1),
]


def test_every_answer_of_the_kernel_is_that_of_the_model(foothold_guest: OpenGuest) -> None:
    guest = foothold_guest.guest
    assert foothold_guest.facts.page_size == PAGE
    argv = [guest.paths.python, "-I", "-S", "-c", CALLS, json.dumps(ASKED)]
    record = run_program(guest, argv, Limits(), Deadline.after(60))
    assert record.ending.status == 0, record.stderr
    model = ModelKernel(AddressSpace(page_size=PAGE))
    answers = [getattr(model, name)(*args) for name, *args in ASKED]
    assert json.loads(record.stdout) == answers
    assert answers[:2] == [HINT, -22]


RUNS = [
    *((policy, "none", "default") for policy in POLICIES),
    *((policy, "none", "hello") for policy in ("before", "after", "modern-1.24")),
    ("after", "none", "grow:20M"),
    ("modern", "none", "grow:80M"),
    ("modern-1.24", "none", "small:20000:1000"),
    # 1 MiB + 1152K of heap need 136K of bitmap, which do not begin at a page
    *((policy, "none", "block:1150000") for policy in ("before", "after", "memlimit")),
    ("after", "ceiling=39bit", "default"),
    ("after", "ceiling=39bit", "grow:20M"),
    ("after", "ceiling=39bit", "block:1150000"),
    ("before", "ceiling=39bit", "default"),
    ("grsec", "hints=ignored", "default"),
    # RLIMIT_AS leaves an arena that begins at a multiple of the runtime's own page
    ("memlimit", "rlimit_as=300M", "default"),
    ("memlimit", "rlimit_as=306M", "default"),
]


def calls_of(stdout: bytes) -> list[Call]:
    events = [json.loads(line) for line in stdout.splitlines()]
    return [
        Call(name=each["name"], args=tuple(each["args"]), result=each["result"])
        for each in events
        if each["event"] == "call"
    ]


@pytest.mark.parametrize(("policy", "limit", "workload"), RUNS)
def test_every_call_of_the_allocator_is_that_on_the_model(
    policy: str, limit: str, workload: str, foothold_guest: OpenGuest
) -> None:
    guest, limits = foothold_guest.guest, Limits.parse(limit)
    facts = measure_under(guest, foothold_guest.facts, limits, Deadline.after(60))
    argv = [guest.paths.python, "-I", "-S", f"{guest.paths.share}/{FILE}", "--policy", policy,
            "--workload", workload, "--trace", "--end", hex(END)]  # fmt: skip
    record = run_program(guest, argv, limits, Deadline.after(120))
    model = predict(
        POLICIES[policy],
        Narrowed(facts, limits, oracle.Process()),
        end=END,
        workload=workload,
    )
    assert symbolic(calls_of(record.stdout)) == symbolic(model.calls)
    assert (record.ending.status, record.ending.signal) == (model.status, model.signal)
    last = json.loads(record.stdout.splitlines()[-1])
    if model.status:
        assert last["message"] == model.message
    else:
        assert (last["path"], last["stats"]) == (model.path, dict(model.stats))


@pytest.mark.parametrize(
    "limit",
    ["occupied=0xc000001000-0xc000008000", "ceiling=0x7fc0001000", "hints=ignored@0x1000-0x8000"],
)
def test_a_range_must_be_whole_pages_of_the_guest(limit: str, foothold_guest: OpenGuest) -> None:
    support = support_for(foothold_guest.guest, foothold_guest.facts, Limits.parse(limit))
    assert not support.ok
    assert "is not a multiple of the page of this guest, 16K" in support.reason
    assert support.remedy == "give multiples of 16K, or take a guest with smaller pages"


def test_a_program_for_pages_of_4_kib_dies(builder: Builder, tmp_path: Path) -> None:
    """As jemalloc in oxlint 0.4.4 and many others on a Raspberry Pi 5 (oxc-project/oxc#3783)."""
    program = tmp_path / "old-pages"
    source = Path(__file__).with_name("old_pages.c")
    compile_program = compiler.command(builder.image, ARM64)
    subprocess.run([*compile_program, "-static", "-o", program, source], check=True)
    subject = of_program(str(program))
    message = "<jemalloc>: Unsupported system page size"
    starts = Expectation(path=None, outcome=Outcome.STARTS)
    dies = Expectation(path=None, outcome=Outcome.DIES, message=message)
    cells = [
        Cell(guest=guest, limits=Limits(), policy="", subject=subject.name, expected=expected)
        for guest, expected in [
            ("qemu-arm64", starts),
            (GUEST, dies),
            (f"{GUEST}-va52", dies),
            ("qemu-user-arm64-16k", dies),
            ("qemu-user-arm64-64k", dies),
        ]
    ]
    run = happen(cells, builder, tmp_path / "run", subjects={subject.name: subject})
    for cell in cells:
        verdict = run.verdicts[cell.id]
        assert verdict.result is Result.PASS, verdict.findings
        assert verdict.observed
    started = run.verdicts[cells[0].id].observed
    assert started
    assert started.path is ReservationPath.HIGH


def test_a_run_explains_a_range_of_no_whole_pages(builder: Builder, tmp_path: Path) -> None:
    limits = Limits.parse("occupied=0xf800001000-0xf800100000")
    [cell] = cells = [Cell(guest=GUEST, limits=limits, policy="after")]
    verdict = happen(cells, builder, tmp_path).verdicts[cell.id]
    assert verdict.result is Result.UNSUPPORTED
    assert verdict.findings[0].code is Code.UNSUPPORTED_LIMIT
    assert "0xf800001000 is not a multiple of the page" in verdict.reason


EMULATED = [
    *((policy, 0, "default") for policy in POLICIES),
    ("modern-1.24", 0, "small:20000:1000"),
    ("before", 1 << 39, "default"),
    ("after", 1 << 39, "default"),
    ("grsec", 1 << 39, "hello"),
    ("modern-arm64", 1 << 39, "default"),
]


@pytest.mark.parametrize("page", [16 << 10, 64 << 10])
@pytest.mark.parametrize(("policy", "reserved", "workload"), EMULATED)
def test_an_emulator_with_larger_pages_answers_as_the_model(
    policy: str, reserved: int, workload: str, page: int, builder: Builder, tmp_path: Path
) -> None:
    """QEMU 7.2 has a page size to choose (-p): no guest has pages of 64 KiB. It is not a kernel: it
    accepts MAP_FIXED within a page, so this is only about calls that are whole pages.
    """
    subjects.deploy(tmp_path)
    root, emulator = builder.image("root-arm64"), builder.image(EMULATORS)
    python = root / "usr/bin/python3"
    argv = [
        emulator / "usr/bin" / ARM64.emulator, "-p", str(page), "-R", hex(reserved), "-L", root,
        python, "-I", "-S", tmp_path / FILE, "--policy", policy, "--workload", workload, "--trace",
        "--end", hex(END),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, check=False)
    space = AddressSpace(page_size=page, task_size=reserved or None)
    model = predict(POLICIES[policy], ModelKernel(space), end=END, workload=workload)
    assert json.loads(done.stdout.splitlines()[0])["page_size"] == page
    assert symbolic(calls_of(done.stdout)) == symbolic(model.calls)
    assert (done.returncode, done.stderr.decode()) == (
        model.status, f"throw: {model.message}\n" if model.message else "",
    )  # fmt: skip
