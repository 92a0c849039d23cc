"""The command line: exit codes, and words instead of tracebacks. The laboratory is a fake."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from foothold_lab.harness import runner
from foothold_lab.harness.cli import kernel_options as cli_kernels
from foothold_lab.harness.cli import main
from foothold_lab.harness.cli import run as cli_run
from foothold_lab.harness.guests import catalogue, doctor
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import GuestError, InfrastructureError
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.runner import RunOptions, RunSummary
from foothold_lab.images.errors import ImageError
from tests.unit.harness import samples

Lab = Callable[[tuple[Cell, ...], RunOptions, Emit], RunSummary]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's is touched, and no mirror is asked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FOOTHOLD_CACHE", str(tmp_path / "cache"))
    for name in ("FOOTHOLD_DEBUG", "FOOTHOLD_HISTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalogue, "known_guests", lambda *_: dict(samples.KNOWN.guests))
    for module in (cli_kernels, cli_run):
        monkeypatch.setattr(module, "handle_termination", lambda: None)
    return tmp_path


class Laboratory:
    """Gives every cell the same result; keeps what it was asked."""

    def __init__(self) -> None:
        self.result: Result | BaseException = Result.PASS
        self.summary: dict[str, object] = {}
        self.cells: tuple[Cell, ...] = ()
        self.options: RunOptions | None = None

    def __call__(
        self, cells: tuple[Cell, ...], options: RunOptions, emit: Emit, workforce: object = None
    ) -> RunSummary:
        self.cells, self.options = cells, options
        emit(samples.started(*cells))
        if isinstance(self.result, BaseException):
            raise self.result
        for cell in cells:
            emit(samples.done(cell, self.result, *([] if self.result is Result.PASS else ["no"])))
        counts = {self.result.value: len(cells)}
        emit(samples.finished(**counts))
        return dataclasses.replace(RunSummary(counts=counts), **self.summary)  # type: ignore[arg-type]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    fake = Laboratory()
    monkeypatch.setattr(runner, "run_cells", fake)
    return fake


NATIVE = ["run", "--guest", "native", "--limit", "none", "--policy", "after"]


@pytest.mark.parametrize(
    ("result", "summary", "code"),
    [
        (Result.PASS, {}, 0),
        (Result.UNSUPPORTED, {}, 3),  # no cell was tried
        (Result.FAIL, {}, 1),
        (Result.ERROR, {}, 3),
        (Result.UNSUPPORTED, {"required_missing": ("native",)}, 1),
        (Result.PASS, {"interrupted": True}, 130),
        (Result.PASS, {"counts": {"fail": 1, "error": 1}}, 1),
        (Result.PASS, {"counts": {}}, 3),  # a cell without a result
        (GuestError("the guest hung", "look"), {}, 3),
        (ImageError("no mirror", "connect"), {}, 3),
        (KeyboardInterrupt(), {}, 130),
        (OSError(28, "No space left on device", "/x"), {}, 3),
        (RuntimeError("a bug"), {}, 3),
    ],
)
def test_exit_codes(
    lab: Laboratory, result: Result | BaseException, summary: dict[str, object], code: int
) -> None:
    lab.result, lab.summary = result, summary
    assert main.main(NATIVE) == code


def test_options_reach_the_runner(lab: Laboratory, tmp_path: Path) -> None:
    directory = tmp_path / "here"
    asked = ["-j", "3", "--boot-per-cell", "--locked", "--retries", "2", "--require", "uml-bookworm",
             "--guest", "uml-6.1", "--run-dir", str(directory)]  # fmt: skip
    assert main.main([*NATIVE, *asked]) == 0
    assert [cell.id for cell in lab.cells] == ["native/none/after", "uml-6.1/none/after"]
    options = lab.options
    assert options is not None
    assert (options.jobs, options.fresh, options.plan) == (3, True, "default")
    assert options.retries == 2
    assert options.require == {"uml-6.1"}
    assert options.directory == directory
    assert (directory / "run.json").exists()


def test_writes_every_report(
    lab: Laboratory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    lab.result = Result.FAIL
    wanted = {"--json": "a.json", "--junit": "a.xml", "--html": "a.html"}
    files = [word for name, file in wanted.items() for word in (name, str(tmp_path / file))]
    assert main.main([*NATIVE, *files, "--github"]) == 1
    assert {*wanted.values(), "summary.md"} <= {path.name for path in tmp_path.iterdir()}
    assert b"1 of 1 cells is not as expected" in (tmp_path / "a.html").read_bytes()
    assert (
        "\n::error title=not as expected (plan/expectation)%3A native/none/after::no"
        in capsys.readouterr().out
    )


def test_annotates_on_github_only(
    lab: Laboratory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert main.main(NATIVE) == 0
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main.main([*NATIVE, "--no-github"]) == 0
    assert "::" not in capsys.readouterr().out
    assert main.main(NATIVE) == 0
    assert "::stop-commands::" in capsys.readouterr().out


def test_a_run_has_its_own_directory_and_prints_it(
    lab: Laboratory, capsys: pytest.CaptureFixture[str], at_home: Path
) -> None:
    for _ in range(2):
        assert main.main(NATIVE) == 0
    runs = sorted((at_home / "state/foothold/runs").iterdir())
    assert len(runs) == 2
    assert all((each / "events.jsonl").exists() for each in runs)
    assert "kept in /runs/r" in capsys.readouterr().out


def test_json_on_stdout_moves_the_table_to_stderr(
    lab: Laboratory, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.main([*NATIVE, "--json", "-", "--junit", str(tmp_path / "x.xml")]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["counts"]["pass"] == 1
    assert "1 cell: 1 passed" in err
    assert (tmp_path / "x.xml").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), InfrastructureError("broke", "mend")])
def test_reports_are_whole_if_a_run_breaks_off(
    lab: Laboratory, tmp_path: Path, failure: BaseException
) -> None:
    lab.result = failure
    files = [tmp_path / "x.json", tmp_path / "x.xml"]
    assert main.main([*NATIVE, "--json", str(files[0]), "--junit", str(files[1])]) in (3, 130)
    whole = json.loads(files[0].read_text())
    assert (whole["interrupted"], whole["counts"]["not-run"]) == (True, 1)
    assert b'errors="1"' in files[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told", "remedy"),
    [
        (["run", "nightli"], "nightli: no such plan: did you mean nightly?", "default"),
        (["run", "--guest", "uml"], "unknown guest 'uml'", "uml-bookworm"),
        (["run", "--limit", "rlimit_as=300XB"], "'300XB' is not a size", "300M"),
        (["run", "--limit", "cgroup=1G"], "unknown limit 'cgroup=1G'", "rlimit_as=SIZE"),
        (["run", "--policy", "befor"], "did you mean before", "after"),
        (
            ["run", "--guest", "native", "--require", "docker"],
            "--require: docker",
            "--guest docker",
        ),
        (["run", "-j", "0"], "-j", "foothold run --help"),
        (["run", "--user", ""], "--user: the value is empty", "--user NAME|UID"),
        (
            ["run", "--subject", "/bin/true", "--subject", "/bin/false", "--timeout", "3"],
            "--timeout describes one program, and 2 are given",
            "give one --subject",
        ),
        (
            ["run", "--subject", "go-hello", "--timeout", "3"],
            "--timeout needs a program",
            "PROGRAM",
        ),
        (["run", "--file", "/etc/passwd", "--file", ""], "--file: the value is empty", "FILE"),
        (["run", "--shard", ""], "--shard: '' is not a shard", "number/count"),
        (
            ["run", "--subject", "/bin/true", "--user", "root", "--limit", "user=daemon"],
            "--user root and the limit user=daemon name different users",
            "leave one",
        ),
        (["run", "--nonsense"], "No such option", "foothold run --help"),
        (["images"], "Missing command", "foothold images --help"),
        (["threshold", "c-*"], "'c-*' matches 20 subjects", "one"),
        (["rum"], "No such command 'rum': did you mean run?", "foothold --help"),
        (["walk"], "No such command 'walk'", "foothold --help"),
        (["predict", "--policy", "befor"], "unknown policy", "memlimit"),
        (["predict", "--task-size", "12"], "12 bits", "33 to 64"),
        (["predict", "--task-size", "0x1001000123"], "0x1001000123", "39"),
        (["predict", "--task-size", "lots"], "'lots' is not a size", "300M"),
        (["predict", "--pointer-size", "4", "--task-size", "39"], "39 bits", "28 to 32"),
        (["predict", "--pointer-size", "4", "--task-size", "5G"], "do not reach 5G", "0xfffff000"),
        (["predict", "--pointer-size", "4", "--policy", "modern"], "modern is not", "another"),
        (["predict", "--pointer-size", "5"], "'5' is not one of '4', '8'", "--help"),
        (["predict", "--page-size", "8K"], "'8K' is not one of '4K', '16K', '64K'", "--help"),
        (
            ["predict", "--page-size", "16K", "--limit", "ceiling=0x7fc0001000"],
            "0x7fc0001000 is not a multiple of the page, 16K",
            "round",
        ),
        (["predict", "--page-size", "64K", "--task-size", "0x7fc0001000"], "of 65536", "39"),
        (["predict", "--limit", "hints"], "unknown limit 'hints'", "rlimit_as=SIZE"),
        (["predict", "--limit", "ceiling=48bit"], "ends at 0x7ffffffff000", "--task-size"),
        (["predict", "--limit", "overcommit=2"], "overcommit=2", "--commit-limit 200M"),
        (["images", "build", "--update", "--locked"], "--update", "--help"),
        (["facts", "nativ"], "did you mean native", "docker"),
        (["history"], "there is no history in", "foothold run"),
        (["show"], "there is no history in", "--history"),
        (["compare", "a", "b"], "there is no history in", "--history"),
        (["flaky", "--limit", "3"], "No such option", "foothold flaky --help"),
        (["history", "import", "/nowhere"], "/nowhere", "foothold run"),
        (["history", "--plan", "p", "import", "x"], "behind `import`", "foothold history --help"),
    ],
)
def test_usage_errors_are_two_lines_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], at_home: Path, arguments: list[str], told: str, remedy: str
) -> None:
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert first.startswith("foothold: ")
    assert told in first
    assert second.startswith("  remedy: ")
    assert remedy in second
    assert out == ""
    assert not (at_home / "state").exists(), "nothing is left of a run that never was"


def test_rejects_a_directory_that_holds_a_run(lab: Laboratory, tmp_path: Path) -> None:
    asked = [*NATIVE, "--run-dir", str(tmp_path / "d")]
    assert main.main(asked) == 0
    assert main.main(asked) == 2


def test_reports_a_directory_that_cannot_be_created(
    lab: Laboratory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main.main([*NATIVE, "--run-dir", str(tmp_path / "file/d")]) == 3
    assert "--run-dir" in capsys.readouterr().err


@pytest.mark.parametrize(("result", "code"), [(Result.PASS, 3), (Result.FAIL, 1)])
def test_a_report_that_fails_is_reported_and_the_run_goes_on(
    lab: Laboratory, capsys: pytest.CaptureFixture[str], result: Result, code: int
) -> None:
    lab.result = result
    assert main.main([*NATIVE, "--junit", "/dev/full"]) == code
    assert lab.cells
    assert "JUnitReporter failed" in capsys.readouterr().err


def test_records_every_run_in_the_history(
    lab: Laboratory, at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(NATIVE) == 0
    lab.result = Result.FAIL
    assert main.main([*NATIVE, "--history", str(at_home / "other.db")]) == 1
    assert main.main([*NATIVE, "--no-history"]) == 1
    capsys.readouterr()
    assert main.main(["history"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["run", "started", "plan"]
    assert " finished " in line and "1 passed" in line
    assert (at_home / "state/foothold/history.db").exists()
    assert main.main(["history", "--history", str(at_home / "other.db")]) == 0
    assert "1 failed" in capsys.readouterr().out


def test_records_an_interrupted_run(lab: Laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    lab.result = KeyboardInterrupt()
    assert main.main(NATIVE) == 130
    capsys.readouterr()
    assert main.main(["history"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert " broken " in line, "this laboratory did not come to say that it was interrupted"
    assert "1 not run" in line


@pytest.mark.parametrize(("result", "code"), [(Result.PASS, 3), (Result.FAIL, 1)])
def test_a_history_that_fails_is_reported_and_the_run_goes_on(
    lab: Laboratory, capsys: pytest.CaptureFixture[str], at_home: Path, result: Result, code: int
) -> None:
    (at_home / "file.db").write_text("this is something else, and it is not ours to change" * 9)
    lab.result = result
    assert main.main([*NATIVE, "--history", str(at_home / "file.db")]) == code
    out, err = capsys.readouterr()
    assert "1 cell: 1 " in out
    assert err.count("file.db is not an SQLite database; the run continues without it") == 1
    assert "remedy: choose another file with --history" in err


def test_an_unexpected_error_is_one_line_and_its_traceback_is_saved(
    lab: Laboratory, capsys: pytest.CaptureFixture[str], at_home: Path
) -> None:
    lab.result = RuntimeError("a bug")
    assert main.main(NATIVE) == 3
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "RuntimeError: a bug; " in err
    [kept] = (at_home / "state/foothold/crashes").iterdir()
    assert str(kept) in err
    assert "Traceback" in kept.read_text()


def test_shows_the_traceback_with_foothold_debug(
    lab: Laboratory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTHOLD_DEBUG", "1")
    lab.result = RuntimeError("a bug")
    assert main.main(NATIVE) == 3
    assert "Traceback" in capsys.readouterr().err


def test_rejects_other_systems_than_linux(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main.main(["run"]) == 3
    assert "darwin" in capsys.readouterr().err


def test_plan_lists_cells_and_expectations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "--guest", "uml-bookworm", "--policy", "after"]) == 0
    out = capsys.readouterr().out
    assert "uml-6.1/none/after            low, allocates\n" in out
    assert out.endswith("3 cells\n")


@pytest.mark.parametrize(
    ("arguments", "first", "reason"),
    [
        (["--task-size", "39"], "low, allocates", "beyond the task size 0x7ffffff000"),
        (
            ["--task-size", "0x7fc0000000", "--rlimit-as", "300M"],
            f"dies, status 2: {samples.CANNOT_RESERVE}",
            "640M",
        ),
        (
            ["--task-size", "0x7fc0000000", "--policy", "before"],
            f"dies, status 2: {samples.OUT_OF_MEMORY}",
            "nothing else is tried",
        ),
        ([], "high, allocates", "is granted"),
        (["--task-size", "39", "--bottom-up"], "low, allocates", "0x40000000"),
        (["--policy", "memlimit", "--rlimit-as", "1G"], "low, allocates", "is not tried"),
        (["--limit", "occupied=0xf800000000-0xf800010000"], "low, allocates", "is occupied"),
        (
            ["--limit", "fail=hinted:1:ENOMEM+rlimit_as=600M"],
            f"dies, status 2: {samples.CANNOT_RESERVE}",
            "fails with ENOMEM",
        ),
        (
            ["--limit", "rlimit_data=40M", "--policy", "modern"],
            "dies, status 2: throw: out of memory allocating heap arena metadata",
            "RLIMIT_DATA",
        ),
        (
            ["--limit", "overcommit=2", "--commit-limit", "40M", "--policy", "modern"],
            f"dies, status 2: {samples.OUT_OF_MEMORY}",
            "overcommit mode 2",
        ),
        (
            ["--limit", "ceiling=39bit", "--policy", "before"],
            f"dies, status 2: {samples.OUT_OF_MEMORY}",
            "beyond the task size 0x8000000000",
        ),
        (
            ["--limit", "layout=legacy+ceiling=0x7fc0000000", "--policy", "modern"],
            "low, allocates",
            "the kernel gives 64M elsewhere",
        ),
        (["--pointer-size", "4"], "low, allocates", "768M are to be had at 0x8500000"),
        (["--page-size", "64K"], "high, allocates", "granted"),
        (
            ["--page-size", "16K", "--policy", "memlimit", "--limit", "rlimit_as=300M"],
            "dies, status 2: throw: runtime: cannot map pages in arena address space",
            "within a page of 16K, where MAP_FIXED fails with EINVAL",
        ),
        (
            [
                "--pointer-size",
                "4",
                "--task-size",
                "32",
                "--policy",
                "before",
                "--limit",
                "layout=legacy+rlimit_as=300M",
            ],
            f"dies, status 2: {samples.CANNOT_RESERVE}",
            "768M",
        ),
    ],
)
def test_predict_asks_the_oracle_and_the_model(
    capsys: pytest.CaptureFixture[str], arguments: list[str], first: str, reason: str
) -> None:
    assert main.main(["predict", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == first
    assert reason in out
    assert "    mmap(" in out


def test_policies_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["policies"]) == 0
    out = capsys.readouterr().out
    assert "after  (2012-02-08, 0fd3bb7e7)" in out


def test_doctor_says_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [
        doctor.Check("native", True, "can be booted", "", ("fine",)),
        doctor.Check("docker", False, "no engine answers", "start one", ()),
    ]
    monkeypatch.setattr(doctor, "examine", lambda _: checks)
    assert main.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok  native  can be booted" in out
    assert "note: fine" in out
    assert "no  docker  no engine answers\n            remedy: start one" in out


def test_facts_are_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    booted = SimpleNamespace(guest=None, facts=samples.facts())
    monkeypatch.setattr(runner, "open_guest", lambda *_: contextlib.nullcontext(booted))
    assert main.main(["facts", "uml-bookworm"]) == 0
    assert json.loads(capsys.readouterr().out)["task_size"] == 0x7FFFFFFFF000


def test_images_of_an_empty_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["images", "list"]) == 0
    assert main.main(["images", "build", "nope"]) == 2
    assert "'nope'" in capsys.readouterr().err


def spawn(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "foothold_lab.harness.cli", "--help"], capture_output=True,
        text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    for module in (
        "paramiko",
        "docker",
        "rich",
        "pexpect",
        "msgspec",
        "foothold_lab.images.builder",
    ):
        assert f" {module}\n" not in done.stderr, module


@pytest.mark.parametrize("words", ["predict", "schema", "--help", "run --help", "plan --list"])
def test_a_broken_pipe_is_exit_code_141(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "foothold_lab.harness.cli", *words.split()],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "words", ["run --json -", "threshold go-hello --json -", "report last --output -"]
)
def test_rejects_a_document_for_a_closed_output(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", *words.split()],
        preexec_fn=lambda: os.close(1), stderr=subprocess.PIPE, text=True, check=False,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 2
    assert "-: standard output is closed" in done.stderr
    assert "remedy: give a file" in done.stderr


def test_the_version() -> None:
    assert spawn("--version").stdout.startswith("foothold, version ")


def test_no_argument_shows_the_help() -> None:
    done = spawn()
    assert " threshold " in done.stdout
    assert "Traceback" not in done.stderr


def test_works_in_any_locale() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = spawn("run", "größer", env=environment)
    assert done.returncode == 2
    assert "no such plan" in done.stderr


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=str)
def test_closed_standard_streams_count_as_dev_null(closed: list[int], tmp_path: Path) -> None:
    """As a shell starts `foothold plan >&-`."""
    argv = [sys.executable, "-m", "foothold_lab.harness.cli", "plan", "--guest", "native"]
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    child = os.fork()
    if child == 0:
        os.chdir(Path(__file__).parents[3])
        for descriptor in closed:
            os.close(descriptor)
        os.execve(sys.executable, argv, environment)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not (tmp_path / "foothold/crashes").exists()


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--subject", "/bin/ls", "64"], "--arg 64"),
        (["nightly", "--subject", "/bin/ls", "64", "a b"], "--arg 64 --arg 'a b'"),
        (["--subject", "/bin/ls", "--", "-l"], "--arg=-l"),
        (["/bin/ls"], "--subject /bin/ls"),
        (["/bin/ls", "64"], "--subject /bin/ls --arg 64"),
        (["go-hello"], "--subject go-hello"),
        (["uml-bookworm"], "--guest uml-bookworm"),
        (["before"], "--policy before"),
        (["rlimit_as=300M"], "--limit rlimit_as=300M"),
        (["nightly", "default"], "one plan"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_argument_that_is_not_a_plan_gets_the_right_option(
    command: str, words: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([command, *words]) == 2
    assert capsys.readouterr().err.splitlines()[1].endswith(remedy) or remedy == "one plan"


def test_an_argument_after_the_subject_of_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["threshold", "/bin/ls", "64"]) == 2
    assert capsys.readouterr().err.endswith(" --arg 64\n")


@pytest.mark.parametrize("option", ["--json", "--junit", "--html", "--history"])
@pytest.mark.parametrize("place", ["no/such/file", "directory"])
def test_a_report_that_cannot_be_written_is_rejected_before_the_run(
    lab: Laboratory, option: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "directory").mkdir()
    assert main.main([*NATIVE, option, str(tmp_path / place)]) == 2
    assert not lab.cells
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "state").exists()
    assert option in capsys.readouterr().err


def test_a_report_may_be_in_the_new_run_directory(lab: Laboratory, tmp_path: Path) -> None:
    run_dir = tmp_path / "new"
    files = ["--junit", str(run_dir / "x.xml"), "--html", str(run_dir / "page/x.html")]
    assert main.main([*NATIVE, "--run-dir", str(run_dir), *files]) == 0
    assert (run_dir / "x.xml").exists()
    assert (run_dir / "page/x.html").exists()


def test_a_run_without_a_tried_cell_says_so_in_its_last_lines(
    lab: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.result = Result.UNSUPPORTED
    assert main.main(NATIVE) == 3
    error, remedy = capsys.readouterr().err.splitlines()
    assert "no cell was tried" in error
    assert "foothold doctor" in remedy


@pytest.mark.parametrize(("word", "hint"), [("test", "./foothold test"), ("version", "--version")])
def test_words_that_are_not_commands(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([word]) == 2
    assert hint in capsys.readouterr().err
