"""A machine that is reached by SSH as a guest: a real OpenSSH server, on this machine, for another user."""

from __future__ import annotations

import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.cli.main import main
from foothold_lab.harness.guests import remote_directory, remote_session
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.guests.remote_machine import RemoteMachine
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    Blame,
    FootholdError,
    GuestError,
    InfrastructureError,
    UnsupportedError,
)
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.plan import Vocabulary, load_plan
from foothold_lab.harness.plan.model import STARTS
from foothold_lab.harness.subjects import ALLOCATOR, ProgramOptions, Subject, of_program, packaged
from foothold_lab.harness.transport.supervised import supervise
from foothold_lab.images.builder import Builder
from tests.guests.conftest import Happened, happen
from tests.guests.ssh_server import OpenSsh, SshServer, make_key, ssh_server, trust
from tests.host_compiler import host_compiler

GONE_SECONDS = 5.0  # after which nothing of ours may be left there
SECONDS = 60.0


@pytest.fixture(scope="module")
def openssh(builder: Builder) -> Iterator[OpenSsh]:
    if platform.machine() != "x86_64":
        pytest.skip("the SSH server of the tests is a program for x86_64")
    with tempfile.TemporaryDirectory(prefix="foothold-openssh-") as name:
        Path(name).chmod(0o755)
        yield OpenSsh(builder, Path(name))


@pytest.fixture
def server(openssh: OpenSsh, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    with ssh_server(openssh) as started:
        enter_home(started, monkeypatch)
        yield started


def enter_home(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the SSH configuration that belongs to a server."""
    monkeypatch.setenv("HOME", str(server.own))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def machine(
    server: SshServer, place: GuestConfig, address: SshAddress | None = None
) -> RemoteMachine:
    return RemoteMachine("pi", address or server.address, place)


def wait_until_gone(server: SshServer) -> float:
    """Wait until nothing of ours is left there; return the seconds."""
    started = time.monotonic()
    while left := server.left():
        assert time.monotonic() - started < GONE_SECONDS, left
        time.sleep(0.02)
    return time.monotonic() - started


def refusal(
    server: SshServer, place: GuestConfig, address: SshAddress | None = None
) -> FootholdError:
    """The error of a machine that cannot be booted."""
    one = machine(server, place, address)
    with pytest.raises(FootholdError) as caught:
        one.boot(Deadline.after(SECONDS))
    one.stop()
    wait_until_gone(server)
    return caught.value


PLAN = """
schema = 1
name = "boards"

[guest.board]
ssh = "{address}"

[axes]
guests = ["native", "board"]
limits = ["none", "rlimit_as=300M", "ceiling=39bit", "no-aslr", "fail=mmap:1000000:ENOMEM"]
policies = ["before", "after"]

[[expect]]
policies = ["before"]
limits = ["none", "rlimit_as=300M", "no-aslr", "fail=*"]
path = "high"
outcome = "allocates"

[[expect]]
policies = ["before"]
limits = ["ceiling=39bit"]
path = "refused"
outcome = "dies"
status = 2
message = "throw: runtime: out of memory"

[[expect]]
limits = ["ceiling=39bit"]
path = "low"
outcome = "allocates"

[[expect]]
path = "high"
outcome = "allocates"
"""


def run_plan(server: SshServer, builder: Builder, directory: Path) -> Happened:
    file = directory / "boards.toml"
    file.write_text(PLAN.format(address=str(server.address).removeprefix("ssh:")))
    plan = load_plan(file, Vocabulary(known_guests(builder), ("before", "after")))
    machines = plan.vocabulary.machines
    return happen(plan.cells(), builder, directory / "run", machines=machines, jobs=1)


def test_runs_a_plan_as_native_does(server: SshServer, builder: Builder, tmp_path: Path) -> None:
    done = run_plan(server, builder, tmp_path)
    there = {cell: each for cell, each in done.verdicts.items() if cell.startswith("board/")}
    assert len(there) == 10
    for cell, verdict in there.items():
        assert verdict.result is Result.PASS, (cell, verdict.findings)
        here = done.verdicts[cell.replace("board/", "native/")]
        assert verdict.observed and here.observed
        assert verdict.observed.path is here.observed.path
        assert verdict.observed.outcome is here.observed.outcome
        assert _witnesses(verdict) == _witnesses(here)
        assert any("trace" in each for each in _witnesses(verdict))
    wait_until_gone(server)


def _witnesses(verdict: Verdict) -> list[str]:
    assert verdict.observed
    return [line.partition(":")[0] for line in verdict.observed.evidence]


@pytest.fixture
def probe(tmp_path: Path) -> Callable[..., Subject]:
    """Makes a subject of a static C program, so that it needs no library."""

    def make(source: str, **options: object) -> Subject:
        (tmp_path / "probe.c").write_text(source)
        argv = [
            *host_compiler(static=True),
            "-static",
            "-o",
            tmp_path / "probe",
            tmp_path / "probe.c",
        ]
        subprocess.run(argv, check=True)
        return of_program(str(tmp_path / "probe"), (), ProgramOptions(**options))  # type: ignore[arg-type]

    return make


PROBE = r"""
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char text[64] = "", place[512];
	FILE *given = fopen("given.txt", "r"), *made = fopen("made.txt", "w");
	if (!given || !made || !fgets(text, sizeof text, given) || !getcwd(place, sizeof place))
		return 1;
	fputs("written there", made);
	printf("%s by %d in %s as %s\n", text, (int)getuid(), place, argv[0]);
	return 0;
}
"""


def program_cell(server: SshServer, name: str) -> Cell:
    return Cell(
        guest=server.guest, limits=Limits(), policy="", subject=name, workload="", expected=STARTS
    )


def run_subject(
    server: SshServer, subject: Subject, builder: Builder, directory: Path, **options: object
) -> Happened:
    cell = program_cell(server, subject.name)
    known = {subject.name: subject}
    return happen([cell], builder, directory, subjects=known, jobs=1, **options)


def test_a_program_gets_its_files_and_what_it_writes_is_kept(
    server: SshServer, builder: Builder, probe: Callable[..., Subject], tmp_path: Path
) -> None:
    (tmp_path / "given.txt").write_text("read")
    subject = probe(PROBE, files=(str(tmp_path / "given.txt"),))
    done = run_subject(server, subject, builder, tmp_path / "run")
    [verdict] = done.verdicts.values()
    assert verdict.result is Result.PASS, verdict
    kept = tmp_path / "run/cells" / verdict.cell
    printed = (kept / "stdout").read_text()
    place = f"{server.temporary}/foothold-"
    assert printed.startswith(f"read by {server.uid} in {place}")
    assert f" as {place}" in printed
    assert (kept / "files/made.txt").read_text() == "written there"
    wait_until_gone(server)


@pytest.mark.weekly
def test_packaged_runtimes_bring_their_libraries(
    server: SshServer, builder: Builder, tmp_path: Path
) -> None:
    """One is linked statically, the other has a loader in its image."""
    known = {name: packaged.subject(name, builder) for name in ("go-hello", "luajit-hello")}
    cells = [program_cell(server, name) for name in known]
    done = happen(cells, builder, tmp_path / "run", subjects=known, jobs=1)
    for verdict in done.verdicts.values():
        assert verdict.result is Result.PASS, verdict.findings
    [trace] = (tmp_path / "run/cells").rglob("luajit-hello/strace")
    maps = (trace.parent / "maps-end").read_text()
    image = Path(known["luajit-hello"].image_directory)
    assert f"{server.temporary}/foothold-" in maps
    assert f"/{image.name}/lib/" in maps
    assert str(image) not in maps + trace.read_text(errors="replace")
    wait_until_gone(server)


SHELLS = {
    "fish": "usr/bin/fish",
    "csh": "bin/tcsh",
    "noisy": "",
}


@pytest.mark.parametrize("kind", SHELLS)
def test_the_login_shell_may_be_any(
    kind: str, openssh: OpenSsh, place: GuestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(dir=openssh.directory))
    folder.chmod(0o755)
    if kind == "noisy":
        shell = folder / "noisy"
        shell.write_text('#!/bin/sh\nprintf "Welcome!"; set -x; echo oops >&2\nexec /bin/sh "$@"\n')
        shell.chmod(0o755)
    else:
        shell = openssh.shell(SHELLS[kind], folder)
    with ssh_server(openssh, shell=str(shell)) as server:
        enter_home(server, monkeypatch)
        one = machine(server, place)
        assert one.boot(Deadline.after(SECONDS)).pointer_size == 8
        odd = "two words, 'quotes', $HOME, !! and \\ and \u00fc\n"
        argv = ["/bin/sh", "-c", 'printf %s "$1"', "sh", odd]
        record = run_program(one, argv, Limits(), Deadline.after(SECONDS))
        assert record.stdout.decode() == odd
        one.stop()
        wait_until_gone(server)


HOSTILE = {
    "endless": "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
    "silent": "exit 0",
    "a command as directory": "facts '/tmp/x;touch${IFS}owned'; cat",
    "a path that leads elsewhere": "facts /tmp/../etc; cat",
    "an escape sequence": "facts '/tmp/\\033]0;owned'; cat",
    "no facts": "echo; echo ready $t; echo end $t; cat",
    "other frames": "facts /tmp/foothold-$t; echo; echo ready $t; exec yes xxxxxxxxxxxxxxxxxxxxxx",
    "no frames": "facts /tmp/foothold-$t; echo; echo ready $t",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_machine_is_an_error_in_words(
    kind: str, openssh: OpenSsh, place: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_directory, "PARTING", 0.5)
    folder = Path(tempfile.mkdtemp(dir=openssh.directory))
    folder.chmod(0o755)
    shell = folder / "hostile"
    shell.write_text(
        "#!/bin/sh\nt=$(printf %s \"$2\" | sed 's/.*t=\\([0-9a-f]*\\);.*/\\1/; s/.* \\([0-9a-f]\\{32\\}\\).*/\\1/')\n"
        "facts() { echo; echo ready $t; echo kernel Linux; echo machine x86_64; echo user 0\n"
        f"printf 'directory %b\\n' \"$1\"; echo end $t; head -c 20 /bin/sh; read n; head -c $n >/dev/null; }}\n"
        f"{HOSTILE[kind]}\n"
    )
    shell.chmod(0o755)
    with ssh_server(openssh, shell=str(shell)) as server:
        enter_home(server, monkeypatch)
        one = machine(server, place)
        with pytest.raises((GuestError, InfrastructureError, UnsupportedError)) as caught:
            one.boot(Deadline.after(3))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000
        one.stop()
        assert not list(server.temporary.rglob("owned"))


def test_an_unknown_host_key_is_refused(server: SshServer, place: GuestConfig) -> None:
    known = server.own / ".ssh/known_hosts"
    before = known.read_text()
    known.unlink()
    error = refusal(server, place)
    assert (error.code, error.blame) == (Code.INFRASTRUCTURE_CONNECTION, Blame.INFRASTRUCTURE)
    assert "you do not know" in str(error)
    assert "SHA256:" in str(error)
    assert f"`ssh -p {server.port} pi@127.0.0.1`" in error.remedy
    assert not known.exists()  # nothing is learned by itself
    known.write_text(before)
    assert machine_boots(server, place)


def test_a_changed_host_key_is_refused(
    server: SshServer, place: GuestConfig, tmp_path: Path
) -> None:
    make_key(server.openssh, tmp_path / "other")
    trust(server, tmp_path / "other.pub")
    error = refusal(server, place)
    assert error.code is Code.INFRASTRUCTURE_CONNECTION
    assert "is not the one that you know" in str(error)
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in error.remedy


def test_a_revoked_host_key_is_refused(server: SshServer, place: GuestConfig) -> None:
    known = server.own / ".ssh/known_hosts"
    known.write_text(f"{known.read_text()}@revoked * {known.read_text().split(None, 1)[1]}")
    assert "marked as revoked" in str(refusal(server, place))


def test_a_hashed_host_name_is_found(server: SshServer, place: GuestConfig) -> None:
    known = server.own / ".ssh/known_hosts"
    argv = server.openssh.command("usr/bin/ssh-keygen", "-H", "-f", str(known))
    subprocess.run(argv, check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    assert machine_boots(server, place)


def machine_boots(server: SshServer, place: GuestConfig, address: SshAddress | None = None) -> bool:
    one = machine(server, place, address)
    facts = one.boot(Deadline.after(SECONDS))
    one.stop()
    wait_until_gone(server)
    return facts.task_size > 1 << 32


def test_a_wrong_key_is_refused(server: SshServer, place: GuestConfig) -> None:
    key = server.own / ".ssh/id_ed25519"
    for each in (key, key.with_suffix(".pub")):
        each.unlink()
    error = refusal(server, place)
    assert error.code is Code.INFRASTRUCTURE_CONNECTION
    assert "there was no key to offer" in str(error)
    make_key(server.openssh, key)
    error = refusal(server, place)
    assert "does not let pi in: the keys offered were ssh-ed25519 SHA256:" in str(error)
    assert "ssh-add" in error.remedy


def test_a_machine_that_is_off_is_the_fault_of_nobody_here(
    server: SshServer, place: GuestConfig
) -> None:
    with_no_server = SshAddress("127.0.0.1", "pi", 1)
    error = refusal(server, place, with_no_server)
    assert error.code is Code.INFRASTRUCTURE_CONNECTION
    assert "Connection refused" in str(error)


def test_uses_the_ssh_configuration_of_the_user(
    server: SshServer, place: GuestConfig, tmp_path: Path
) -> None:
    ssh = server.own / ".ssh"
    (ssh / "id_ed25519").rename(ssh / "board key")
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    (ssh / "config").write_text("Include more/*.conf\nHost *\n  User wrong\n")
    (ssh / "more").mkdir()
    (ssh / "more/boards.conf").write_text(
        "Host board\n"
        f"  HostName 127.0.0.1\n  Port {server.port}\n  User pi\n"
        '  IdentityFile "~/.ssh/board key"\n  IdentitiesOnly yes\n'
        "Host behind\n"
        f"  HostName 127.0.0.1\n  Port {server.port}\n  User pi\n  ProxyJump board\n"
        '  IdentityFile "~/.ssh/board key"\n'
        "Host proxied\n"
        f"  User pi\n  HostKeyAlias [127.0.0.1]:{server.port}\n"
        f"  ProxyCommand {sys.executable} {relay} {server.port}\n"
        '  IdentityFile "~/.ssh/board key"\n'
    )
    for name in ("board", "behind", "proxied"):
        assert machine_boots(server, place, SshAddress(name)), name
    error = refusal(server, place, SshAddress("proxied-elsewhere"))
    assert error.code is Code.INFRASTRUCTURE_CONNECTION


RELAY = """
import os, socket, sys, threading
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def pump(read, write):
    while data := read():
        write(data)
    os._exit(0)
threading.Thread(target=pump, args=(lambda: os.read(0, 65536), line.sendall)).start()
pump(lambda: line.recv(65536), lambda data: os.write(1, data))
"""


def test_uses_the_agent_of_the_user(
    server: SshServer, place: GuestConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = server.own / ".ssh/id_ed25519"
    agent = server.openssh.command("usr/bin/ssh-agent", "-D", "-a", str(tmp_path / "agent"))
    with subprocess.Popen(agent, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            environment = {"SSH_AUTH_SOCK": str(tmp_path / "agent")}
            add = server.openssh.command("usr/bin/ssh-add", str(key))
            subprocess.run(add, check=True, env=environment, capture_output=True)
            key.unlink()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
            assert machine_boots(server, place)
            (server.own / ".ssh/config").write_text("IdentityAgent none\n")
            assert "there was no key to offer" in str(refusal(server, place))
        finally:
            process.terminate()


SLEEPER = """
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	FILE *file = fopen("begun", "w");
	fclose(file);
	for (;;)
		if (fork() == 0) {
			setsid();
			for (;;)
				sleep(1);
		} else
			sleep(1);
}
"""


def test_a_link_that_breaks_under_a_cell_is_not_the_subject(
    openssh: OpenSsh,
    builder: Builder,
    probe: Callable[..., Subject],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = probe(SLEEPER, timeout=60.0, ready_pattern="never")
    with ssh_server(openssh, relayed=True) as server:
        enter_home(server, monkeypatch)
        cutter = threading.Thread(target=_cut_when_begun, args=(server,))
        cutter.start()
        done = run_subject(server, subject, builder, tmp_path / "run")
        cutter.join()
        [verdict] = done.verdicts.values()
        assert verdict.result is Result.ERROR
        assert verdict.blame is Blame.INFRASTRUCTURE
        assert verdict.findings[0].code is Code.INFRASTRUCTURE_CONNECTION
        wait_until_gone(server)


def _cut_when_begun(server: SshServer) -> None:
    until = time.monotonic() + SECONDS
    while not list(server.temporary.glob("*/work-*/begun")) and time.monotonic() < until:
        time.sleep(0.02)
    server.cut()


def test_the_next_cell_connects_again(
    openssh: OpenSsh,
    builder: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    probe: Callable[..., Subject],
) -> None:
    sleeper = probe(SLEEPER, timeout=60.0, ready_pattern="never")
    again = replace(of_program("/bin/true"), name="again")
    with ssh_server(openssh, relayed=True) as server:
        enter_home(server, monkeypatch)
        cutter = threading.Thread(target=_cut_when_begun, args=(server,))
        cutter.start()
        known = {each.name: each for each in (sleeper, again)}
        cells = [program_cell(server, name) for name in known]
        done = happen(cells, builder, tmp_path / "run", subjects=known, jobs=1)
        cutter.join()
        first, second = done.verdicts.values()
        assert first.result is Result.ERROR
        assert second.result is Result.PASS, second
        assert any("had spoiled its guest" in each for each in second.notes)


def test_both_ends_notice_a_dead_line(
    openssh: OpenSsh, place: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No end of file comes, as if a cable was pulled."""
    monkeypatch.setattr(remote_session, "BEAT", 0.2)
    monkeypatch.setattr(remote_session, "SILENCE", 2)
    monkeypatch.setattr(remote_directory, "SILENCE", 2)
    with ssh_server(openssh, relayed=True) as server:
        enter_home(server, monkeypatch)
        one = machine(server, place)
        one.boot(Deadline.after(SECONDS))
        started = time.monotonic()
        with (
            pytest.raises(InfrastructureError, match="has not answered for 2 s") as caught,
            one.open(["/bin/sleep", "600"], Limits(), Deadline.after(SECONDS)) as stream,
        ):
            server.frozen.set()
            supervise(stream, ["/bin/sleep"], Deadline.after(SECONDS))
        assert caught.value.code is Code.INFRASTRUCTURE_CONNECTION
        wait_until_gone(server)
        assert time.monotonic() - started < 2 + 2 * GONE_SECONDS
        one.stop()


def test_a_server_with_too_few_sessions_is_named(
    openssh: OpenSsh, place: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_server(openssh, options="MaxSessions 1") as server:
        enter_home(server, monkeypatch)
        error = refusal(server, place)
        assert error.code is Code.GUEST_LOGIN
        assert "MaxSessions" in error.remedy


def test_nothing_is_left_when_foothold_is_killed(
    server: SshServer, probe: Callable[..., Subject], tmp_path: Path
) -> None:
    probe(SLEEPER)
    argv = [
        sys.executable, "-m", "foothold_lab.harness.cli", "run", "--guest", server.guest,
        "--subject", str(tmp_path / "probe"), "--timeout", "100", "--ready-pattern", "never",
        "--run-dir", str(tmp_path / "run"),
    ]  # fmt: skip
    with subprocess.Popen(argv, env=server.environment, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + SECONDS
        while not list(server.temporary.glob("*/work-*/begun")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        assert any("probe" in each for each in server.left())
        process.send_signal(signal.SIGKILL)
    wait_until_gone(server)


def test_a_subject_that_kills_its_agent_is_an_error_of_the_guest(
    server: SshServer, place: GuestConfig
) -> None:
    """It has the rights of the agent, as on native. The directory is removed all the same."""
    one = machine(server, place)
    one.boot(Deadline.after(SECONDS))
    script = "for p in /proc/[0-9]*; do grep -qa session $p/cmdline && kill -9 ${p#/proc/}; done"
    argv = ["/bin/sh", "-c", f"{script}; sleep 600"]
    with pytest.raises(GuestError) as caught:
        run_program(one, argv, Limits(), Deadline.after(SECONDS))
    assert caught.value.code is Code.GUEST_DIED
    one.stop()
    wait_until_gone(server)


def test_a_machine_without_python_runs_programs(
    openssh: OpenSsh,
    builder: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tools = Path(tempfile.mkdtemp(dir=openssh.directory))
    tools.chmod(0o755)
    for name in ("sh", "head", "wc", "uname", "mkdir", "chmod", "rm", "rmdir", "readlink", "id"):
        (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    with ssh_server(openssh, path=str(tools)) as server:
        enter_home(server, monkeypatch)
        program = of_program("/bin/true")
        known = {ALLOCATOR.name: ALLOCATOR, program.name: program}
        cells = [
            Cell(guest=server.guest, limits=Limits(), policy="after"),
            program_cell(server, program.name),
        ]
        done = happen(cells, builder, tmp_path / "run", subjects=known, jobs=1)
        allocator, other = done.verdicts.values()
        assert allocator.result is Result.UNSUPPORTED
        assert allocator.findings[0].code is Code.UNSUPPORTED_SUBJECT
        assert "no Python 3.11 or newer there" in str(allocator.findings[0])
        assert other.result is Result.PASS


def test_another_directory_is_taken_if_temporary_files_cannot_be_executed(
    openssh: OpenSsh, place: GuestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_server(openssh, tmpdir="/proc") as server:  # nothing can be made there
        enter_home(server, monkeypatch)
        one = machine(server, place)
        one.boot(Deadline.after(SECONDS))
        assert one.boot_record.provenance["directory"].startswith("/tmp/foothold-")
        directory = Path(one.boot_record.provenance["directory"])
        assert directory.stat().st_mode & 0o777 == 0o700
        one.stop()
        assert not directory.exists()


def test_facts_doctor_and_shell_work(
    server: SshServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["facts", server.guest]) == 0
    assert '"machine": "x86_64"' in capfd.readouterr().out
    assert main(["doctor", server.guest]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("ok")
    assert "x86_64" in printed
    words = ("shell", server.guest, "--", "/bin/sh", "-c", "id -u; exit 3")
    argv = [sys.executable, "-m", "foothold_lab.harness.cli", *words]
    done = subprocess.run(argv, env=server.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, f"{server.uid}\n")
    (server.own / ".ssh/known_hosts").unlink()
    assert main(["doctor", server.guest]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("no")
    assert "compare the fingerprint" in printed
    wait_until_gone(server)


def test_a_cell_of_a_named_machine_is_repeated_only_with_trust(
    server: SshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program is one of that machine. Another's run directory must not log in somewhere."""
    words = ["--guest", f"pi={server.guest}", "--subject", "guest:/bin/true", "--limit", "none"]
    directory = str(tmp_path / "run")
    assert main(["run", *words, "--run-dir", directory, "--no-history"]) == 0
    capsys.readouterr()
    logins = len(server.servers)
    assert main(["repro", directory, "pi/none/true"]) == 2
    told = capsys.readouterr().err
    assert f"its program runs on the machine {server.guest}" in told
    assert "--trust" in told
    assert len(server.servers) == logins
    assert main(["repro", directory, "pi/none/true", "--trust"]) == 0
    assert len(server.servers) == logins + 1
    wait_until_gone(server)
