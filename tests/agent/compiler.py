"""The host's C compilers, as far as the tests of the agent need them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "images/agent"
HERE = Path(__file__).parent
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Werror")
SANITIZERS = (
    "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)  # fmt: skip
# `python -m tests.agent.coverage` names the directory for what programs count
COUNTS = os.environ.get("FOOTHOLD_AGENT_COUNTS")
COUNTERS = (
    "-O0", "--coverage", "-fprofile-update=atomic", "-fprofile-info-section=counters",
    "-D_exit=exit_with_counters", "-Dreboot=reboot_with_counters",
)  # fmt: skip
FLAGS = (*COUNTERS, f'-DCOUNTS="{COUNTS}"') if COUNTS else SANITIZERS
ADDED = (HERE / "counters.c",) if COUNTS else ()
ENVIRONMENT = {
    "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PATH": "/usr/bin:/bin",
}
# the agent itself does not free what it needs until its end, and it traces, which stops LeakSanitizer
AGENT_ENVIRONMENT = ENVIRONMENT | {"ASAN_OPTIONS": "detect_leaks=0"}


def run(
    argv: Sequence[str | Path], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program for at most two minutes."""
    return subprocess.run(
        argv, capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip


def compile_c(compiler: str, flags: Sequence[str], sources: Sequence[Path], out: Path) -> None:
    """Compile and link sources. Raises AssertionError with what the compiler prints."""
    done = run(
        [compiler, "-D_FILE_OFFSET_BITS=64", *WARNINGS, *flags, "-iquote", AGENT, *sources,
         "-o", out]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def _works(compiler: str | None, flags: Sequence[str], source: str) -> bool:
    """Whether a compiler makes a program with these flags that runs."""
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory() as directory:
        file, program = Path(directory, "try.c"), Path(directory, "try")
        file.write_text(source)
        if run([compiler, *flags, file, "-o", program]).returncode:
            return False
        return run([program, "-runs=1"], ENVIRONMENT).returncode == 0


@functools.cache
def sanitizing_compiler() -> str | None:
    """Return a compiler whose programs run under AddressSanitizer, if there is one."""
    source = "#include <stdlib.h>\nint main(void) { free(malloc(1)); return 0; }\n"
    found = map(shutil.which, ("gcc", "clang", "cc"))
    return next((each for each in found if each and _works(each, SANITIZERS, source)), None)


@functools.cache
def fuzzing_compiler() -> str | None:
    """Return a clang that has libFuzzer, if there is one."""
    source = (
        "#include <stddef.h>\n"
        "int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)\n"
        "{ return data && size > 1 ? 0 : 0; }\n"
    )
    clang = shutil.which("clang")
    return clang if _works(clang, ("-fsanitize=fuzzer,address",), source) else None


@functools.cache
def analyzing_compiler() -> str | None:
    """Return a gcc that has a static analyzer (gcc 10), if there is one."""
    gcc = shutil.which("gcc")
    return gcc if _works(gcc, ("-fanalyzer",), "int main(void) { return 0; }\n") else None


def build_agent(out: Path, *more: Path, flags: tuple[str, ...] = ()) -> Path:
    """Compile the agent with sanitizers, or skip the test."""
    if (compiler := sanitizing_compiler()) is None:
        pytest.skip("no C compiler with AddressSanitizer on this machine: install gcc")
    compile_c(compiler, (*FLAGS, *flags), [*sorted(AGENT.glob("*.c")), *more, *ADDED], out)
    return out
