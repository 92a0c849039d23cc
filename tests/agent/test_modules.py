"""The modules of the agent that parse: C tests and fuzz targets under AddressSanitizer and
UndefinedBehaviorSanitizer, and the static analyzer of gcc.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.compiler import (
    ADDED,
    AGENT,
    ENVIRONMENT,
    FLAGS,
    HERE,
    SANITIZERS,
    analyzing_compiler,
    compile_c,
    fuzzing_compiler,
    run,
    sanitizing_compiler,
)

pytestmark = pytest.mark.agent

FUZZ_SECONDS = "2"
OPTIONS = (
    "run_options", "subject_limits", "faults", "cgroup", "syscall_filter", "subject_root",
    "readiness", "process_state", "mount_point", "account", "write_execute", "no_exec", "util",
    "syscall_regs",
)  # fmt: skip
# a test or fuzz target, and the modules that are linked with it
MODULES = {
    "arguments": ("arguments", "frames", "util"),
    "newc": ("newc",),
    "frames": ("frames",),
    "address_map": ("address_map", "util"),
    "options": OPTIONS,
    "faults": ("faults", "syscall_filter", "syscall_regs", "util"),
    "util": ("util",),
    "guest_filter": (),  # the test includes it
    "seal": ("seal", "blake2s", "frames", "util"),
}
FUZZED = ("newc", "frames", "address_map", "options")
PARSERS = (
    *OPTIONS, "newc", "frames", "address_map", "sandbox", "boot_payload", "text_output",
    "bind_images", "arguments",
)  # fmt: skip


@pytest.fixture
def compiler() -> str:
    if (found := sanitizing_compiler()) is None:
        pytest.skip("no C compiler with AddressSanitizer on this machine: install gcc")
    return found


def sources(name: str, target: str) -> list[Path]:
    return [HERE / f"{target}.c", *(AGENT / f"{each}.c" for each in MODULES[name])]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_passes_its_c_tests(name: str, compiler: str, tmp_path: Path) -> None:
    program = tmp_path / name
    compile_c(compiler, FLAGS, [*sources(name, f"test_{name}"), *ADDED], program)
    done = run([program], ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("name", FUZZED)
def test_a_parser_survives_mutated_input(name: str, compiler: str, tmp_path: Path) -> None:
    program = tmp_path / name
    compile_c(compiler, SANITIZERS, [*sources(name, f"fuzz_{name}"), HERE / "fuzz_main.c"], program)
    done = run([program, FUZZ_SECONDS], ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert int(done.stdout.split()[0]) > 1000


@pytest.mark.parametrize("name", FUZZED)
def test_a_parser_survives_libfuzzer(name: str, compiler: str, tmp_path: Path) -> None:
    if (clang := fuzzing_compiler()) is None:
        pytest.skip("no clang with libFuzzer on this machine: install clang")
    seeder, program, seeds = tmp_path / "seeder", tmp_path / name, tmp_path / "seeds"
    target = sources(name, f"fuzz_{name}")
    seeds.mkdir()
    compile_c(compiler, SANITIZERS, [*target, HERE / "fuzz_main.c"], seeder)
    assert run([seeder, "--seeds", seeds], ENVIRONMENT).returncode == 0
    assert any(seeds.iterdir())
    compile_c(clang, (*SANITIZERS, "-fsanitize=fuzzer"), target, program)
    done = run(
        [program, f"-max_total_time={FUZZ_SECONDS}", "-seed=1", f"-artifact_prefix={tmp_path}/",
         seeds],
        ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_the_analyzer_finds_nothing(name: str, tmp_path: Path) -> None:
    if (gcc := analyzing_compiler()) is None:
        pytest.skip("no gcc with a static analyzer on this machine: install gcc 10 or newer")
    compile_c(gcc, ("-O1", "-fanalyzer", "-c"), [AGENT / f"{name}.c"], tmp_path / f"{name}.o")


def test_the_fuzzer_finds_a_planted_bug(compiler: str, tmp_path: Path) -> None:
    """The check can fail: a reader without the check of the length is caught."""
    text = (AGENT / "newc.c").read_text()
    planted = text.replace("data + size > length || ", "")
    assert planted != text
    bad = tmp_path / "newc.c"
    bad.write_text(planted)
    program = tmp_path / "newc"
    compile_c(compiler, SANITIZERS, [HERE / "fuzz_newc.c", HERE / "fuzz_main.c", bad], program)
    done = run([program, "20"], ENVIRONMENT)
    assert done.returncode != 0
    assert b"input of " in done.stderr
