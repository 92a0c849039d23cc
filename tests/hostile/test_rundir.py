"""A run directory from elsewhere: links, devices, FIFOs, names that lead outside, damaged JSON."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foothold_lab.harness import run_directory
from foothold_lab.harness.cli import main
from foothold_lab.harness.interactive.guest_server import SOCKET, connect
from foothold_lab.harness.interactive.shell import ProgramRequest
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.run_directory import RunFiles, files
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from tests.hostile.targets import check_run_directory, describe_bundle, run_directory_of_a_program
from tests.unit.html_report import runs

HARNESS = Path(run_directory.__file__).parents[1]
SECRET = "root:secret of this machine"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return runs.write(tmp_path / "run", runs.events())


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the history of the user."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("FOOTHOLD_HISTORY", raising=False)
    monkeypatch.delenv("FOOTHOLD_DEBUG", raising=False)
    return tmp_path / "state"


@pytest.fixture(params=["at once", "by parts"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways to open a file beneath a directory: openat2(2), and one without it."""
    if request.param == "by parts":

        def refuse(_base: int, _name: str) -> int:
            raise NotImplementedError

        monkeypatch.setattr(files, "_open_at_once", refuse)
    yield request.param


def put(place: Path, kind: str, outside: Path) -> None:
    """Put an attack in the place of a file."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "link":
            place.symlink_to(outside)
        case "relative link":
            place.symlink_to(os.path.relpath(outside, place.parent))
        case "link to a link":
            (outside.parent / "hop").symlink_to(outside)
            place.symlink_to(outside.parent / "hop")
        case "FIFO":
            os.mkfifo(place)
        case "endless":
            place.symlink_to("/dev/zero")
        case "environment":
            place.symlink_to("/proc/self/environ")
        case "directory":
            place.mkdir()
        case "sparse":
            with place.open("wb") as file:
                file.truncate(1 << 42)


KINDS = (
    "link", "relative link", "link to a link", "FIFO", "endless", "environment", "directory",
    "sparse",
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
def test_opens_nothing_but_files_beneath(directory: Path, way: str, kind: str) -> None:
    outside = directory.parent / "shadow"
    outside.write_text(SECRET)
    put(directory / "cells/file", kind, outside)
    opened = RunFiles(directory)
    with pytest.raises(OSError):
        opened.read("cells/file")
    assert opened.is_file("cells/file") is (kind == "sparse")
    target = directory.parent / "copy"
    if kind == "sparse":
        with pytest.raises(OSError, match="more than 4 GiB"):
            opened.beneath("cells").copy_tree(target)
    else:
        opened.beneath("cells").copy_tree(target)
        assert (target / "file").exists() is (kind == "directory")
    shutil.rmtree(target)


@pytest.mark.parametrize(
    "name", ["..", "../shadow", "cells/../../shadow", "/etc/passwd", "", ".", "a\0b", "x" * 5000,
             "cells//x", "link/shadow"]
)  # fmt: skip
def test_a_name_leads_nowhere_else(directory: Path, way: str, name: str) -> None:
    (directory.parent / "shadow").write_text(SECRET)
    (directory / "link").symlink_to(directory.parent)
    with pytest.raises(OSError):
        RunFiles(directory).read(name)
    assert not RunFiles(directory).is_file(name)


def test_reads_what_is_there(directory: Path, way: str) -> None:
    opened = RunFiles(directory)
    assert opened.read("run.json") == (directory / "run.json").read_bytes()
    assert opened.read_start("run.json", 5) == ((directory / "run.json").read_bytes()[:5], True)
    assert opened.read_end("run.json", 2) == b"}\n"
    assert "events.jsonl" in opened.names()
    assert opened.beneath("cells").is_directory(runs.LOW.id)
    opened.copy_tree(directory.parent / "copy")
    copied = subprocess.run(["diff", "-r", directory, directory.parent / "copy"], check=False)
    assert copied.returncode == 0


def test_copies_links_only_where_a_subject_has_them(directory: Path, way: str) -> None:
    share = directory / "share"
    (share / "subject/one").mkdir(parents=True)
    for place in ("subject/one/lib", "run", "link"):
        (share / place).symlink_to("/etc/passwd")
    target = directory.parent / "share"
    RunFiles(directory).beneath("share").copy_tree(target, links_below="subject")
    assert [str(each.relative_to(target)) for each in target.rglob("*") if each.is_symlink()] == [
        "subject/one/lib"
    ]


def test_no_device_is_opened_for_reading(directory: Path, way: str) -> None:
    """Opening a device may rewind a tape or start a watchdog."""
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(directory / "device", 0o600 | 0o020000, os.makedev(1, 7))  # /dev/full
    with pytest.raises(OSError, match="it is a device"):
        RunFiles(directory).read("device")


EVIDENCE = (
    "run.json", "events.jsonl", f"cells/{runs.LOW.id}/strace", f"cells/{runs.LOW.id}/maps-end",
    f"cells/{runs.LOW.id}", f"cells/{runs.LOW.id}/stdout.jsonl", "guests/uml-6.12/console.log",
    "guests/uml-6.12", "cells", "guests",
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", EVIDENCE)
@pytest.mark.parametrize("kind", ["link", "FIFO", "endless", "environment"])
def test_a_report_shows_no_file_of_this_machine(
    directory: Path, kind: str, place: str, capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("FOOTHOLD_SECRET", SECRET)
    outside = directory.parent / "shadow"
    if Path(place).suffix or "maps" in place or "strace" in place:
        outside.write_text(SECRET)
    else:
        outside.mkdir()
        for name in ("strace", "console.log", "maps-end", "stderr"):
            (outside / name).write_text(SECRET)
    put(directory / place, kind, outside)
    for words in (["report", str(directory), "-o", "-"], ["show", str(directory)]):
        assert main.main(words) in (0, 2)
    seen = capfdbinary.readouterr()
    assert SECRET.encode() not in seen.out + seen.err
    assert b"unexpected" not in seen.err


def test_a_report_is_not_written_through_a_link(directory: Path) -> None:
    outside = directory.parent / "device"
    os.mkfifo(outside)
    (directory / "report.html").symlink_to(outside)
    assert main.main(["report", str(directory)]) == 0
    assert not (directory / "report.html").is_symlink()
    assert outside.is_fifo()


def test_an_image_is_an_entry_of_the_store(tmp_path: Path) -> None:
    """`images.agent = "../../../evil"` once ran that directory's agent on this machine."""
    cache = Cache(tmp_path / "cache")
    cache.obtain("agent", "0123456789abcdef", lambda _: {})
    cache.obtain("root", "0123456789abcdef", lambda _: {})
    evil = tmp_path / "evil"
    shutil.copytree(cache.path("agent", "0123456789abcdef"), evil)
    shutil.copytree(evil, tmp_path / "cache/store/evil")
    (tmp_path / "cache/store/agent-link").symlink_to(evil)
    builder = Builder(cache)
    builder.pin("agent", "agent-0123456789abcdef")
    names = (
        "../../../evil", "../evil", "evil", "agent-link", "root-0123456789abcdef", ".", "..", "",
        str(evil), "agent-0123456789abcdef/", "agent-0123456789abcdef/.", "a\0b", "x" * 5000,
    )  # fmt: skip
    for name in names:
        with pytest.raises(ImageError):
            builder.pin("agent", name)
    with pytest.raises(ImageError):
        builder.pin("../agent", "agent-0123456789abcdef")


def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every event of a run, and run.json."""
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    head = json.loads((directory / "run.json").read_text())
    for event in (*lines, head["started"]):
        change(event)
    (directory / "events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (directory / "run.json").write_text(json.dumps(head))


def run_native(directory: Path, program: Path, *history: str) -> None:
    """Run a program natively into a directory; without `history` it is not recorded."""
    argv = [
        *(sys.executable, "-m", "foothold_lab.harness.cli", "run", "--guest", "native"),
        *("--subject", str(program), "--run-dir", str(directory), "--limit", "none"),
        *(history or ("--no-history",)),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.guests
def test_a_directory_from_elsewhere_runs_nothing_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "touch.sh"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    directory = tmp_path / "run"
    run_native(directory, program)
    (tmp_path / "ran").unlink()
    cell = "native/none/touch.sh"
    assert main.main(["repro", str(directory), cell]) == 2
    assert "add --trust" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert main.main(["repro", str(directory), cell, "--bundle", str(tmp_path / "b.tar")]) == 2

    def name_an_evil_agent(event: dict[str, Any]) -> None:
        if "images" in event:
            event["images"]["agent"] = "../../../evil"

    edit(directory, name_an_evil_agent)
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "agent").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (evil / "agent").chmod(0o755)
    assert main.main(["repro", str(directory), cell, "--trust"]) == 2
    assert "the cache no longer has ../../../evil" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("guest", ["nowhere", "uml-own"])
def test_a_guest_that_this_foothold_does_not_have_is_an_error_in_words(
    guest: str, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(directory)
    run_directory_of_a_program(directory)
    for name in ("events.jsonl", "run.json"):
        text = (directory / name).read_text().replace('"native/', f'"{guest}/')
        text = re.sub(r'"(guest|boot)": ?"native"', rf'"\1":"{guest}"', text)
        (directory / name).write_text(text)
    for folder in ("guests", "cells"):
        (directory / folder / "native").rename(directory / folder / guest)
    for words in ((), ("--bundle", str(tmp_path / "x.tar"))):
        assert main.main(["repro", str(directory), f"{guest}/none/prog", "--trust", *words]) == 2
        assert f"names the guest {guest}" in capsys.readouterr().err


@pytest.mark.guests
def test_trust_and_the_own_history_repeat_a_cell(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    run_native(directory, Path("/bin/true"))
    assert main.main(["repro", str(directory), "native/none/true", "--trust"]) == 0
    assert main.main(["history", "import", str(directory)]) == 0, capsys.readouterr().err
    assert main.main(["repro", str(directory), "native/none/true"]) == 2
    run_native(tmp_path / "own", Path("/bin/true"), "--history", str(state / "foothold/history.db"))
    assert main.main(["repro", str(tmp_path / "own"), "native/none/true"]) == 0


@pytest.mark.timeout(280)
@settings(max_examples=50, suppress_health_check=list(HealthCheck), deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_a_damaged_run_directory_is_an_error_in_words(random: Random) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        check_run_directory(random, Path(scratch))


def test_the_events_of_a_run_agree_with_each_other(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (directory / "events.jsonl").read_bytes().splitlines(keepends=True)
    finished = next(line for line in lines if b'"cell-finished"' in line)
    started = next(line for line in lines if b'"run-started"' in line)
    unknown = finished.replace(runs.NATIVE.id.encode(), b"native/none/unknown")
    for wrong, told in (
        ([*lines, unknown], "an event of no cell of this run: 'native/none/unknown'"),
        ([*lines, finished], "a second verdict on"),
        ([*lines, started], "a second run starts"),
        ([started.replace(b'"guest":"native"', b'"guest":"../.."')], "is not a name"),
        ([started.replace(b'"at":1', b'"at":99999')], "is not a time"),
        (lines[1:2], "has no run"),
    ):
        (directory / "events.jsonl").write_bytes(b"".join(wrong))
        for command in (["show"], ["report"], ["compare", str(directory)]):
            assert main.main([*command, str(directory)]) == 2
            assert told in capsys.readouterr().err


# --- who opens files -------------------------------------------------------------------------

READERS = (
    "html_report", "survey/loader.py", "results_db/writer.py", "results_db/reader.py",
    "interactive/bundle.py", "interactive/recorded_cell.py", "cli/show.py", "cli/report.py",
    "cli/compare.py", "cli/repro.py",
)  # fmt: skip
OPENING = {"open", "read_text", "read_bytes", "glob", "rglob", "iterdir", "walk", "copytree",
           "copy2", "copyfile", "copy", "listdir", "scandir"}  # fmt: skip
# an archive that is written; the templates and the script that belong to the package; an image
ALLOWED = {
    ("html_report/document.py", "read_text"), ("interactive/bundle.py", "read_text"),
    ("interactive/bundle.py", "open"), ("html_report/page.py", "open"),
}  # fmt: skip


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            if isinstance(function, ast.Name):
                name = function.id
            on_files = isinstance(function, ast.Attribute) and "files" in ast.unparse(
                function.value
            )
            if name in OPENING and not on_files:
                yield name


@pytest.mark.parametrize("place", READERS)
def test_readers_of_a_run_directory_open_files_in_one_way(place: str) -> None:
    paths = sorted((HARNESS / place).rglob("*.py")) if "." not in place else [HARNESS / place]
    assert paths
    found = {(str(path.relative_to(HARNESS)), name) for path in paths for name in calls(path)}
    assert found <= ALLOWED, sorted(found - ALLOWED)


def test_a_bundle_holds_no_file_of_this_machine(tmp_path: Path) -> None:
    """See test_bundle.py for its script."""
    directory = run_directory_of_a_program(tmp_path / "run")
    outside = tmp_path / "shadow"
    outside.write_text(SECRET)
    put(directory / "cells/native/none/prog/stderr", "link", outside)
    put(directory / "cells/native/none/prog/files", "link", tmp_path)
    put(directory / "guests/native/console.log", "environment", outside)
    put(directory / "guests/native/share/subject/prog/work/x", "FIFO", outside)
    put(directory / "guests/native/share/run", "link", outside)
    tree = tmp_path / "tree"
    describe_bundle(directory, "native/none/prog", tree)
    entries = list(tree.rglob("*"))
    assert (tree / "share/subject/prog/work/data").read_text() == "of the subject\n"
    assert not [each for each in entries if each.is_symlink() or each.is_fifo()]
    assert not [each for each in entries if each.is_file() and SECRET in each.read_text()]
    assert not (tree / "recorded/guest/console.log").exists()


ANSWERING = """
import os, socket, sys
path, answer, user = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.setuid(int(user))
listener.listen()
print(flush=True)
connection, _ = listener.accept()
connection.sendall(answer.encode())
connection.recv(65536)
"""


@contextmanager
def answering(path: Path, answer: str, user: int = os.geteuid()) -> Iterator[Path]:
    """A process of a user that listens on a socket and gives a client an answer."""
    argv = [sys.executable, "-I", "-c", ANSWERING, str(path), answer, str(user)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield path
        finally:
            process.kill()


def attach(directory: Path) -> None:
    with connect(directory, "native", ProgramRequest(argv=("true",))):
        pass


def test_no_service_of_this_machine_is_reached_through_a_run_directory(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    with answering(tmp_path / "service", "{}\n") as service:
        (directory / SOCKET).symlink_to(service)
        with pytest.raises(UsageError, match="keeps no guest"):
            attach(directory)
        (directory / SOCKET).unlink()
        (directory / SOCKET).write_text("a file")
        with pytest.raises(UsageError, match="keeps no guest"):
            attach(directory)


@pytest.mark.parametrize("answer", ["no JSON\n", '{"error": 7}\n', "[" * 9000 + "\n"])
def test_an_answer_of_another_program_is_an_error_in_words(answer: str, tmp_path: Path) -> None:
    with answering(tmp_path / SOCKET, answer), pytest.raises(UsageError, match="cannot be read"):
        attach(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_guests_of_another_user_are_not_attached(tmp_path: Path) -> None:
    with answering(tmp_path / SOCKET, "{}\n"):
        attach(tmp_path)
    (tmp_path / SOCKET).unlink()
    with (
        answering(tmp_path / SOCKET, "{}\n", user=65534),
        pytest.raises(UsageError, match="are kept by the user 65534"),
    ):
        attach(tmp_path)
