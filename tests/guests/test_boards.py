"""QEMU guests of other machines that play boards: each is reached by the SSH server that it has.

The network is the line to the guest: a channel of the SSH connection of the harness carries each
connection to a port of the loopback interface in the guest.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.remote_machine import RemoteMachine
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.guests.vm_process import VmProcess
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.transport.ssh import Ssh, SshStream

SECONDS = 120.0
PORT = "2222"  # in the guest
SERVER = f"/usr/sbin/dropbear -s -j -k -r /share/hostkey -p 127.0.0.1:{PORT} -P /run/board.pid"
CONNECT = ("/bin/busybox", "nc", "127.0.0.1", PORT)
MACHINES = {"qemu-arm64": ("aarch64", 8), "qemu-i386-4g": ("x86_64", 4)}
NOEXEC = "qemu-i386-4g"  # there no program can be executed in /tmp

pytestmark = pytest.mark.foothold_guest(*MACHINES)


class Board:
    """A server of this machine whose connections end in a guest."""

    def __init__(self, process: VmProcess, own: Path) -> None:
        assert process._ssh
        self._ssh: Ssh = process._ssh
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._streams: list[SshStream] = []
        self._pumps: list[threading.Thread] = []
        self.address = SshAddress("127.0.0.1", "root", self._listener.getsockname()[1])
        self._introduce(process, own / ".ssh")
        threading.Thread(target=self._serve, daemon=True).start()

    def _introduce(self, process: VmProcess, folder: Path) -> None:
        """Use the keys that were made for this boot."""
        keys = process._launch.keys
        folder.mkdir(mode=0o700)
        (folder / "id_ed25519").touch(0o600)
        (folder / "id_ed25519").write_bytes(
            keys.client.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        public = keys.host.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        known = f"[127.0.0.1]:{self.address.port} {public.decode()}\n"
        (folder / "known_hosts").write_text(known)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            stream = self._ssh.open(CONNECT, Deadline.after(SECONDS))
            self._streams.append(stream)
            for pump in (_pump_in, _pump_out):
                thread = threading.Thread(target=pump, args=(line, stream), daemon=True)
                self._pumps.append(thread)
                thread.start()

    def wait_closed(self) -> None:
        """Wait until all connections are closed: dropbear may refuse a channel while one closes."""
        for pump in self._pumps:
            pump.join(SECONDS)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for stream in self._streams:
            stream.close()


def _pump_in(line: socket.socket, stream: SshStream) -> None:
    with contextlib.suppress(OSError):
        while data := line.recv(65536):
            stream.send(data, Deadline.after(SECONDS))
    stream.close()


def _pump_out(line: socket.socket, stream: SshStream) -> None:
    with contextlib.suppress(OSError):
        while data := stream.receive(Deadline.after(SECONDS)):
            line.sendall(data)
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def board(
    foothold_guest: OpenGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Board]:
    machine = foothold_guest.guest
    assert isinstance(machine, VirtualMachine)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    process = machine._booted()
    assert process._ssh
    # not under the agent, which would end it
    process._ssh.execute(SERVER, Deadline.after(SECONDS)).close()
    made = Board(process, tmp_path)
    yield made
    made.close()
    sh(foothold_guest, "kill $(cat /run/board.pid)")


def sh(guest: OpenGuest, script: str) -> str:
    """Run a script in the guest itself, as its root."""
    argv = ["/bin/sh", "-c", script]
    record = run_program(guest.guest, argv, Limits(), Deadline.after(SECONDS))
    assert record.ending.status == 0, record.stderr
    return record.stdout.decode()


@pytest.fixture
def temporary(foothold_guest: OpenGuest) -> Iterator[str]:
    """The directory for temporary files that is used there."""
    if foothold_guest.name != NOEXEC:
        yield "/tmp"
        return
    sh(foothold_guest, "mount -o remount,noexec /tmp")
    yield "/var/tmp"
    sh(foothold_guest, "mount -o remount,exec /tmp")


def test_a_board_has_the_agent_of_its_user_space(
    board: Board, temporary: str, foothold_guest: OpenGuest, place: GuestConfig
) -> None:
    kernel_machine, pointer_size = MACHINES[foothold_guest.name]
    one = RemoteMachine("board", board.address, place)
    facts = one.boot(Deadline.after(SECONDS))
    assert (facts.machine, facts.pointer_size) == (kernel_machine, pointer_size)
    assert facts.task_size == foothold_guest.facts.task_size
    directory = one.boot_record.provenance["directory"]
    assert directory.startswith(f"{temporary}/foothold-")
    assert sh(foothold_guest, f"ls {directory}").split()

    how = Supervision(trace=True, exit_maps=True, fresh_directory=True)
    script = "echo begun > here; uname -m; ulimit -v"
    argv, limits = ["/bin/sh", "-c", script], Limits(rlimit_as=1 << 30)
    record = run_program(one, argv, limits, Deadline.after(SECONDS), how=how)
    assert record.stdout.decode().splitlines() == [kernel_machine, str(1 << 20)]
    assert record.written == {"here": b"begun\n"}
    assert record.trace
    assert b"exited with 0" in record.trace
    assert "[stack]" in record.maps["end"]
    one.stop()
    board.wait_closed()
    assert "foothold-" not in sh(foothold_guest, "ls /tmp /var/tmp")
    assert "foothold-" not in sh(foothold_guest, "cat /proc/[0-9]*/cmdline")
