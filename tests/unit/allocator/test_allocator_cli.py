"""The program: its report, its exit statuses, and its messages for bad input."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.allocator import __main__ as program
from foothold_lab.allocator import options, report
from foothold_lab.allocator.report import dumps, write
from foothold_lab.allocator.workload import Broken

ROOT = Path(__file__).parents[3]
MODEL = ["--kernel", "model"]
UML = [*MODEL, "--task-size", "0x7fc0000000", "--placement", "bottom-up"]


def run(*argv: str, stdin: str = "", **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "allocator", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        input=stdin,
        check=False,
        **more,
    )


def call(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[dict], str]:
    """Run in this process. Returns (status, events, standard error)."""
    status = program.main(list(argv))
    out, err = capfd.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err


def test_reports_the_default_workload(capfd: pytest.CaptureFixture[str]) -> None:
    status, events, err = call(capfd, *MODEL)
    assert (status, err) == (0, "")
    assert [event["event"] for event in events] == ["start", "reserved", "workload", "end"]
    start, reserved, workload, end = events
    assert start == {
        "event": "start",
        "schema": 1,
        "pid": os.getpid(),
        "policy": "after",
        "workload": "default",
        "pointer_size": 8,
        "page_size": 4096,
        "end": 0x2443A68,
        "kernel": "model",
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    assert reserved == {
        "event": "reserved",
        "path": "high",
        "base": 0xF800000000,
        "length": 17 << 30,
        "bitmap": 0xF800000000,
        "bitmap_size": 1 << 30,
        "arena_start": 0xF840000000,
        "arena_used": 0xF840100000,
        "arena_end": 0xFC40000000,
    }
    assert workload["name"] == "default" and workload["verified"] is True
    assert workload["small"] >= 180 and workload["large"] >= 5
    assert end["path"] == "high" and end["stats"]["heap_alloc"] == 0
    assert list(end["stats"])[:3] == ["alloc", "total_alloc", "sys"]


def test_runs_on_the_real_kernel() -> None:
    done = run("--workload", "hello")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr, events[-1]["event"]) == (0, "", "end")
    assert events[0]["kernel"] == "real" and events[0]["end"] > 0


def test_a_death_is_reported_and_printed(capfd: pytest.CaptureFixture[str]) -> None:
    status, events, err = call(capfd, *UML, "--rlimit-as", "300M")
    assert (status, err) == (
        2,
        "throw: runtime: cannot reserve arena virtual address space\n",
    )
    assert events[-1] == {
        "event": "throw",
        "message": "runtime: cannot reserve arena virtual address space",
        "printed": [],
        "status": 2,
    }


def test_reports_what_was_printed_before_a_death(capfd: pytest.CaptureFixture[str]) -> None:
    status, events, err = call(capfd, *MODEL, "--workload", "block:17G")
    assert status == 2
    line = "runtime: out of memory: cannot allocate 18253611008-byte block (1048576 in use)"
    assert err == f"{line}\nthrow: out of memory\n"
    assert events[-1]["printed"] == [line]


def test_reports_an_exit_without_a_throw(capfd: pytest.CaptureFixture[str]) -> None:
    status, events, err = call(capfd, *MODEL, "--fail", "mmap:2:13")
    assert (status, events[-1]["event"], events[-1]["status"]) == (2, "exit", 2)
    assert err.startswith("runtime: mmap: access denied\nif you're running SELinux, ")


def test_reports_every_call_with_trace(capfd: pytest.CaptureFixture[str]) -> None:
    _, events, _ = call(capfd, *UML, "--workload", "none", "--trace", "--policy=memlimit")
    calls = [event for event in events if event["event"] == "call"]
    assert calls[0] == {
        "event": "call",
        "name": "getrlimit",
        "args": [],
        "result": (1 << 64) - 1,
    }
    assert calls[2] == {
        "event": "call",
        "name": "mincore",
        "args": [0xF800000000, 65536],
        "result": -12,
    }


def test_hold_waits_twice(capfd: pytest.CaptureFixture[str]) -> None:
    done = run(*MODEL, "--hold", stdin="go\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event.get("at", event["event"]) for event in events] == [
        "start",
        "reserved",
        "reserved",
        "workload",
        "end",
        "end",
    ]
    assert done.returncode == 0


def test_hold_keeps_the_arena_alive() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "allocator", "--hold"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        events = {}
        for line in process.stdout:
            event = json.loads(line)
            events[event["event"]] = event
            if event["event"] == "hold":
                start = events["reserved"]["arena_start"]
                maps = Path(f"/proc/{process.pid}/maps").read_text()
                assert any(
                    int(row.split("-")[0], 16) <= start < int(row.split("-")[1].split()[0], 16)
                    for row in maps.splitlines()
                )
                process.stdin.write("\n")
                process.stdin.flush()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "workload",
    ["grow:5M", "grow-3", "block:100", "block:0", "block:100k", "none", "hello", "small:9:64"],
)
def test_runs_each_workload(workload: str, capfd: pytest.CaptureFixture[str]) -> None:
    status, events, err = call(capfd, *MODEL, "--workload", workload)
    assert (status, err, events[-1]["event"]) == (0, "", "end")


def test_reports_the_path_low_grown(capfd: pytest.CaptureFixture[str]) -> None:
    _, events, _ = call(capfd, *UML, "--workload", "grow-600")
    assert (events[1]["path"], events[-1]["path"]) == ("low", "low-grown")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--nonsense"], "unknown argument '--nonsense': see --help"),
        (["stray"], "unknown argument 'stray'"),
        (["--policy"], "--policy needs a value"),
        (["--hold=1"], "--hold takes no value"),
        (
            ["--policy", "never"],
            "unknown policy 'never': use before, after, grsec, memlimit, modern",
        ),
        (["--workload", "sleep"], "unknown workload 'sleep': use none, default, hello"),
        (["--workload", "grow:lots"], "'lots' is not a size"),
        (["--workload", "grow:"], "unknown workload 'grow:'"),
        (["--workload", "grow-x"], "unknown workload 'grow-x'"),
        (["--workload", "small:3:33K"], "with a SIZE of at most 32K"),
        (["--workload", "small:x:8"], "unknown workload 'small:x:8'"),
        (["--workload", "block:-1"], "'-1' is not a size: write 4096, 0x1000, 300M or 2G"),
        (["--end", "300XB"], "--end: '300XB' is not a size"),
        (["--end", "0xZZ"], "--end: '0xZZ' is not a size"),
        (["--end", "1" * 50], "is not a size"),
        (["--end", "99999999999P"], "too large: a size has at most 64 bits"),
        (["--kernel", "hurd"], "unknown kernel 'hurd': use real or model"),
        (["--task-size", "39"], "--task-size needs the model kernel: add --kernel model"),
        ([*MODEL, "--task-size", "100000"], "is not a number of pages above 128 KiB"),
        ([*MODEL, "--placement", "sideways"], "use top-down or bottom-up"),
        ([*MODEL, "--occupied", "1G"], "write two addresses, FROM-TO"),
        ([*MODEL, "--occupied", "2G-1G"], "FROM must be below TO, both multiples of 4096"),
        ([*MODEL, "--occupied", "0-0x1000000000000"], "is not in the address space"),
        ([*MODEL, "--fail", "brk:1:12"], "write CALL:N:ERRNO, for example mmap:2:12"),
        ([*MODEL, "--fail", "mmap:0:12"], "write CALL:N:ERRNO"),
    ],
)
def test_rejects_bad_input(
    argv: list[str], expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, events, err = call(capfd, *argv)
    assert (status, events) == (2, [])
    assert err.startswith("allocator: ") and err.count("\n") == 1
    assert expected in err


def test_accepts_the_options_of_the_model(capfd: pytest.CaptureFixture[str]) -> None:
    status, events, _ = call(
        capfd,
        *MODEL,
        "--task-size",
        "47",
        "--mmap-base",
        "0x7f0000000000",
        "--ignore-hints",
        "--policy",
        "grsec",
        "--occupied",
        "0x10000-0x20000",
        "--image",
        "1M",
        "--end",
        "4M",
        "--workload",
        "none",
        "--trace",
    )
    assert status == 0
    assert events[1]["result"] == 0x7F0000000000 - 65536
    assert events[0]["end"] == 4 << 20


def test_the_real_kernel_is_the_default(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without an arena in this process: the runtime never unmaps it."""
    monkeypatch.setattr("foothold_lab.allocator.realkernel.RealKernel.mmap", lambda *_: -12)
    status, events, err = call(capfd)
    assert (status, events[0]["kernel"]) == (2, "real")
    assert err == "throw: runtime: cannot reserve arena virtual address space\n"


def test_prints_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert program.main(["-h"]) == 0
    out, err = capfd.readouterr()
    assert "before, after, grsec, memlimit, modern" in out and err == ""
    assert max(map(len, out.splitlines())) <= 100


def test_rejects_a_policy_that_does_not_exist_for_the_pointer_size(
    capfd: pytest.CaptureFixture[str],
) -> None:
    of_kernel = ("--kernel", "model", "--pointer-size", "4")
    status, events, err = call(capfd, "--policy", "modern", *of_kernel)
    assert (status, events) == (2, [])
    assert err == (
        "allocator: the policy modern does not exist for 4-byte pointers: use a 64-bit machine\n"
    )
    status, events, err = call(capfd, *of_kernel)
    assert (status, err) == (0, "")
    assert (events[0]["pointer_size"], events[0]["end"]) == (4, 0x847DA08)
    assert events[1]["length"] == 768 << 20


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (MemoryError(), 2, "too little memory for Python: raise the address-space limit"),
        (ImportError("no _ctypes"), 2, "Python cannot import a module (no _ctypes)"),
        (BrokenPipeError(), 2, "standard output is closed"),
        (OSError(28, "No space left on device"), 2, "cannot be written: No space left on device"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_reports_a_failure_in_one_line(
    error: BaseException,
    status: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(options, "parse", fail)
    assert program.main([]) == status
    err = capfd.readouterr().err
    assert expected in err and err.count("\n") == (1 if expected else 0)


def test_limits_below_what_python_needs_never_end_in_a_traceback() -> None:
    """Under any limit there is a report, or one line from us or from the interpreter."""
    for mib in (14, 16, 20, 24, 28, 32, 48):
        done = subprocess.run(
            ["/bin/sh", "-c", 'ulimit -v "$0" && exec "$@"', str(mib << 10),
             sys.executable, "-m", "allocator", "--workload", "none"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.stdout:
            assert "Traceback" not in done.stderr
            assert done.returncode in (0, 2)


def test_a_closed_reader_causes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "allocator"],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 2
    assert done.stderr == b"allocator: the report cannot be written: standard output is closed\n"


def test_reports_broken_memory(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from foothold_lab.allocator.malloc import Runtime

    given: list[int] = []
    malloc = Runtime.malloc

    def twice(self: Runtime, size: int) -> int:
        v = malloc(self, size)
        given.append(v)
        return given[-2] if len(given) == 5 else v

    monkeypatch.setattr(Runtime, "malloc", twice)
    status, events, _ = call(capfd, *MODEL)
    assert status == 1
    assert events[-1]["event"] == "broken" and "is not zero" in events[-1]["message"]


def test_held_blocks_are_checked() -> None:
    from allocator_support import Lab

    from foothold_lab.allocator.workload import Held, Outcome

    runtime = Lab().begin()
    held = Held(runtime, Outcome("test"))
    v = held.take(1000)
    runtime.kernel.words[v >> 3] ^= 1
    with pytest.raises(Broken, match=f"the block of 1000 bytes at {v:#x} changed at {v:#x}"):
        held.check()
    runtime.kernel.words[v >> 3] ^= 1
    held.check()
    held._blocks[v + 8] = 16
    with pytest.raises(Broken, match="overlaps"):
        held.check()


def test_writes_valid_json() -> None:
    value = {
        "a": [1, -5, True, False, None, ()],
        'quoted " \\ and \n, runtime·mlookup, \U0001f600': "x",
        "n": 1 << 64,
    }
    assert json.loads(dumps(value)) == json.loads(json.dumps(value))


def test_continues_a_partial_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def one_byte(_: int, data: bytes) -> int:
        written.append(data[:1])
        return 1

    monkeypatch.setattr(report, "write_some", one_byte)
    write(1, "abc")
    monkeypatch.undo()
    assert b"".join(written) == b"abc"


def test_a_crash_of_the_runtime_kills_the_process() -> None:
    argv = [sys.executable, "-m", "allocator", "--kernel", "model", "--fail", "munmap:1:22"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGSEGV, "")
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "event": "killed",
        "signal": 11,
        "printed": [],
    }
