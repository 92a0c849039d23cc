"""Machines that are reached by SSH: their names in plans and on command lines, and what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.guests import catalogue
from foothold_lab.harness.guests.base import GuestPaths
from foothold_lab.harness.guests.machine_probe import parse_machine, probe_command
from foothold_lab.harness.guests.remote_machine import machines_of
from foothold_lab.harness.model.errors import GuestError, UnsupportedError, UsageError
from foothold_lab.harness.model.ssh_address import SshAddress, split_machine
from foothold_lab.harness.plan import load_plan
from foothold_lab.harness.subjects.subject import Subject, for_guest
from tests.unit.harness.samples import KNOWN

TOKEN = "0123456789abcdef" * 2
PLAN = """\
schema = 1
name = "boards"
require = ["pi"]

[guest.pi]
ssh = "pi@board:2222"

[axes]
guests = ["native", "p?", "ssh:root@server"]
"""


def read(tmp_path: Path, old: str = "", new: str = ""):  # type: ignore[no-untyped-def]
    path = tmp_path / "boards.toml"
    assert old in PLAN
    path.write_text(PLAN.replace(old, new) if old else PLAN)
    return load_plan(path, KNOWN)


def test_a_plan_names_a_machine(tmp_path: Path) -> None:
    plan = read(tmp_path)
    assert [cell.guest for cell in plan.cells()] == ["native", "pi", "ssh:root@server"]
    assert plan.vocabulary.machines == {"pi": SshAddress("board", "pi", 2222)}
    native, pi, server = plan.cells()
    assert pi.where == ("--guest", "pi=ssh:pi@board:2222")
    assert (native.where, server.where) == ((), ())
    assert "pi=ssh:pi@board:2222" in pi.command
    assert "ssh:root@server" in server.command


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[guest.pi]", "[guest.native]", "boards.toml:5: guest.native: a guest 'native' exists"),
        ("[guest.pi]", '[guest."a b"]', "'a b' is not a valid name for a guest"),
        ('"pi@board:2222"', '"pi@"', "boards.toml:6: guest.pi.ssh: 'pi@' is not the address"),
        ('ssh = "pi@board:2222"', "", "missing key 'ssh'"),
        ("ssh:root@server", "ssh:@", "axes.guests[2]: 'ssh:@' is not the address"),
        ('["pi"]', '["pe"]', "unknown guest 'pe'"),
    ],
)
def test_rejects_a_wrong_machine(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, old, new)
    assert told in str(caught.value)


@pytest.fixture
def known_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "known_guests", lambda *_: dict(KNOWN.guests))


@pytest.mark.usefixtures("known_guests")
def test_a_command_line_names_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--guest", "pi=ssh:pi@board", "--guest", "ssh:pi@board", "--limit", "none"]
    assert main.main(words) == 0
    cells = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert cells == [
        "pi/none/before", "pi/none/after", "ssh:pi@board/none/before", "ssh:pi@board/none/after",
    ]  # fmt: skip
    for word in ("native=ssh:pi@board", "pi=ssh:pi@", "a/b=ssh:pi@board", "pi=board"):
        assert main.main(["plan", "--guest", word]) == 2, word
        assert "foothold: --guest" in capsys.readouterr().err


def test_a_word_that_names_a_machine_is_split() -> None:
    assert split_machine("pi=ssh:pi@board") == ("pi", SshAddress("board", "pi"))
    assert split_machine("ssh:pi@board") is split_machine("native") is None


def test_a_copied_program_leaves_the_libraries_of_this_machine_here(tmp_path: Path) -> None:
    program = tmp_path / "opt/program"
    beside = tmp_path / "opt/lib/beside.so"
    files = {
        f"root{program}": program,
        f"root{beside}": beside,
        "root/lib64/ld-linux-x86-64.so.2": Path("/lib64/ld-linux-x86-64.so.2"),
        "root/usr/lib/x86_64-linux-gnu/libc.so.6": Path("/lib/libc.so.6"),
        "root/etc/ld.so.cache": Path("/etc/ld.so.cache"),
        "work/given": tmp_path / "given",
        "stdin": tmp_path / "input",
    }
    links = {"root/lib/libc.so.6": "../usr/lib/x86_64-linux-gnu/libc.so.6"}
    subject = Subject(name="program", argv=(str(program),), files=files, links=links)
    kept = for_guest(subject, GuestPaths(placement="uploaded"))
    assert set(kept.files) == {f"root{program}", f"root{beside}", "work/given", "stdin"}
    assert not kept.links
    assert for_guest(subject, GuestPaths()) == subject


def test_the_first_command_means_the_same_in_every_shell() -> None:
    command = probe_command(TOKEN, 20)
    assert command.count("'") == 2
    assert command.startswith("exec sh -c '")
    assert command.endswith("'")
    assert not re.search(r"[!\\\n]", command)
    assert len(command) < 2000


@pytest.fixture(params=["sh", "bash", "dash", "busybox", "zsh", "ksh"])
def shell(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Shells of this machine."""
    program = shutil.which(request.param)
    if not program:
        pytest.skip(f"no {request.param} here")
    yield [program, "sh"] if request.param == "busybox" else [program]


def run_probe(shell: list[str], temporary: Path, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    command = probe_command(TOKEN, 20)
    script = command.removeprefix("exec sh -c '").removesuffix("'")
    return subprocess.run(
        [*shell, "-c", script], input=sent, capture_output=True, check=False, timeout=60,
        env={"TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_the_first_command_starts_the_agent(shell: list[str], tmp_path: Path) -> None:
    agent = b'#!/bin/sh\nif test "$1" = session; then echo "$0 $*"; rm "$0"; rmdir "${0%/*}"; fi\n'
    done = run_probe(shell, tmp_path, b"%d\n" % len(agent) + agent)
    head, _, rest = done.stdout.partition(f"end {TOKEN}\n".encode())
    text = head.partition(f"\nready {TOKEN}\n".encode())[2]
    machine = parse_machine(text, "", TOKEN, "board")
    assert machine.directory == f"{tmp_path}/foothold-{TOKEN}"
    assert machine.kernel.startswith("Linux ")
    assert rest[:4] == b"\x7fELF"
    assert rest[20:].decode() == f"{machine.directory}/agent session {TOKEN} 20\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [b"", b"100\ntoo short", b"4\nfail", b"no number\n"])
def test_the_first_command_leaves_nothing_without_an_agent(
    shell: list[str], tmp_path: Path, sent: bytes
) -> None:
    done = run_probe(shell, tmp_path, sent)
    assert f"\nfailed {TOKEN}\n".encode() in done.stdout
    assert list(tmp_path.iterdir()) == []


FACTS = f"kernel Linux 6.1\nmachine aarch64\ndirectory /tmp/foothold-{TOKEN}\npython /usr/bin/python3.11\nuser 1000\n"


@pytest.mark.parametrize(
    ("python", "usable"),
    [
        ("/usr/bin/python3.11", True),
        ("/usr/bin/python3.14", True),
        ("/usr/bin/python3.9", False),
        ("/home/pi/.pyenv/shims/python3", False),
        ("python3.12", False),
        ("", False),
    ],
)
def test_reads_which_python_a_machine_has(python: str, usable: bool) -> None:
    text = FACTS.replace("/usr/bin/python3.11", python).encode()
    assert parse_machine(text, "", TOKEN, "board").python == (python if usable else "")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (f"/tmp/foothold-{TOKEN}", "", UnsupportedError),
        (f"/tmp/foothold-{TOKEN}", f"/tmp/a b/foothold-{TOKEN}", UnsupportedError),
        (f"/tmp/foothold-{TOKEN}", f"/tmp/$(id)/foothold-{TOKEN}", UnsupportedError),
        (f"/tmp/foothold-{TOKEN}", f"/tmp/../foothold-{TOKEN}", UnsupportedError),
        (f"/tmp/foothold-{TOKEN}", "/home/pi", UnsupportedError),
        (f"/tmp/foothold-{TOKEN}", f"foothold-{TOKEN}", UnsupportedError),
        ("user 1000", "user root", GuestError),
        ("user 1000", "", GuestError),
    ],
)
def test_rejects_what_a_machine_says(old: str, new: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_machine(FACTS.replace(old, new).encode(), "", TOKEN, "board")


@pytest.mark.parametrize(
    ("kernel", "user", "machines"),
    [
        ("aarch64", "arm", ("arm", "aarch64")),  # 32 bits on a kernel of 64 bits
        ("aarch64", "aarch64", ("aarch64",)),
        ("x86_64", "i386", ("i386", "x86_64")),
        ("armv7l", "", ("arm",)),
        ("i686", "", ("i386",)),
        ("riscv64", "riscv64", ("riscv64",)),
    ],
)
def test_the_user_space_of_a_machine_comes_first(
    kernel: str, user: str, machines: tuple[str, ...]
) -> None:
    text = FACTS.replace("machine aarch64", f"machine {kernel}").encode()
    assert machines_of(parse_machine(text, user, TOKEN, "board")) == machines


def test_says_which_directories_were_refused() -> None:
    text = f"noexec /tmp\nunwritable /var/tmp\n{FACTS}".replace(f"/tmp/foothold-{TOKEN}", "")
    with pytest.raises(UnsupportedError) as caught:
        parse_machine(text.encode(), "", TOKEN, "board")
    assert "/tmp (noexec), /var/tmp (unwritable)" in str(caught.value)
    assert "TMPDIR" in caught.value.remedy
