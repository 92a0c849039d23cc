"""The monitor of QEMU against a peer that answers like QEMU; the keys of snapshots."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foothold_lab.harness.guests import snapshot
from foothold_lab.harness.guests.architectures import X86_64, X86_64_LA57
from foothold_lab.harness.guests.qemu import QemuParts, command
from foothold_lab.harness.guests.snapshot import Monitor, Snapshot
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from tests.normal_user import changes_users

GREETING: dict[str, Any] = {"QMP": {"version": {}, "capabilities": []}}
OK: dict[str, Any] = {"return": {}}


def migration(status: str) -> dict[str, Any]:
    return {"event": "MIGRATION", "data": {"status": status}}


class Peer:
    """Sends one list of messages for each command that it receives, and records the commands."""

    def __init__(self, *answers: Sequence[dict[str, Any]]) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.commands: list[dict[str, Any]] = []
        self.descriptors: list[int] = []
        self._answers = answers
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        with self._theirs:
            self._send([GREETING])
            for answer in self._answers:
                data, descriptors, _, _ = socket.recv_fds(self._theirs, 65536, 4)
                self.commands.append(json.loads(data))
                self.descriptors += descriptors
                self._send(answer)

    def _send(self, messages: Sequence[dict[str, Any]]) -> None:
        self._theirs.sendall(b"".join(json.dumps(each).encode() + b"\r\n" for each in messages))


def test_save_passes_the_file_and_waits_for_the_end(tmp_path: Path) -> None:
    peer = Peer(
        [OK],
        [OK],
        [OK],
        [OK, {"event": "STOP"}, migration("setup"), migration("active"), migration("completed")],
    )
    with (tmp_path / "state").open("wb") as state:
        Monitor(peer.ours, Deadline.after(5)).save(state.fileno())
        [theirs] = peer.descriptors
        assert os.fstat(theirs).st_ino == os.fstat(state.fileno()).st_ino
        os.close(theirs)
    assert [each["execute"] for each in peer.commands] == [
        "qmp_capabilities",
        "migrate-set-capabilities",
        "getfd",
        "migrate",
    ]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([[{"error": {"desc": "no such command"}}]], "refuses qmp_capabilities: no such command"),
        ([[OK], [OK], [OK], [OK, migration("failed")]], "migration has failed"),
        ([[OK], [OK]], "monitor has ended"),
    ],
)
def test_reports_an_error_of_the_monitor(answers: list[Any], message: str) -> None:
    peer = Peer(*answers)
    with pytest.raises(GuestError, match=message):
        Monitor(peer.ours, Deadline.after(5)).restore(0)


def test_stops_waiting_at_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(GuestError, match="does not answer"):
        Monitor(ours, Deadline.after(0.05))


def test_memory_is_shared_to_save_and_private_to_restore() -> None:
    saved = Snapshot(Path("/s"))
    file = "memory-backend-file,id=memory,size=256M,mem-path=/s/memory,share="
    assert f"{file}on" in saved.to_save(256, 3)
    restore = saved.to_restore(256, 3, saved.memory)
    assert f"{file}off" in restore
    assert restore[-2:] == ("-incoming", "defer")


def test_its_user_can_write_to_the_memory(tmp_path: Path) -> None:
    saved = Snapshot(tmp_path)
    saved.memory.touch()
    with saved.readable_memory() as (path, descriptors):
        assert (path, descriptors) == (saved.memory, ())


READ_ONLY = """
import os, sys
from pathlib import Path
from foothold_lab.harness.guests.snapshot import Snapshot
saved = Snapshot(Path(sys.argv[1]))
with saved.readable_memory() as (path, [descriptor]):
    os.close(os.open(path, os.O_RDWR))  # as QEMU does
    status = os.fstat(descriptor)
    same = path.read_bytes() == saved.memory.read_bytes()
    print(status.st_size, status.st_blocks * 512, same)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
@pytest.mark.skipif(not changes_users(), reason="needs setpriv of util-linux")
def test_a_user_who_can_only_read_the_memory_gets_a_sparse_copy(tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "memory").open("wb") as file:
        for at in (8192, 5 << 20, size - 3):
            file.seek(at)
            file.write(b"abc")
    done = subprocess.run(
        [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
            sys.executable, "-B", "-c", READ_ONLY, tmp_path,
        ],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    length, used, same = done.stdout.split()
    assert (int(length), same) == (size, "True")
    assert int(used) <= 1 << 20


def test_the_key_depends_on_every_argument() -> None:
    assert snapshot.key(["a", "b"]) == snapshot.key(("a", "b"))
    assert snapshot.key(["a", "b"]) != snapshot.key(["ab"])


def test_a_change_of_kernel_root_qemu_or_boot_line_changes_the_key() -> None:
    """The paths of images contain hashes of their inputs."""
    ours = QemuParts(
        tool=Path("/qemu-1/"),
        kernel=Path("/kernel-1/kernel"),
        initrd=Path("/initrd-1/initrd.cpio"),
        memory=256,
    )
    others = [
        (X86_64, replace(ours, tool=Path("/qemu-2"))),
        (X86_64, replace(ours, kernel=Path("/kernel-2/kernel"))),
        (X86_64, replace(ours, memory=512)),
        (X86_64, replace(ours, initrd=Path("/initrd-2/initrd.cpio"))),
        (replace(X86_64, boot_line=("quiet",)), ours),
        (replace(X86_64, processor="max"), ours),
        (X86_64_LA57, ours),
    ]
    keys = {
        snapshot.key(command(this, parts, 0, "tcg")) for this, parts in [(X86_64, ours), *others]
    }
    assert len(keys) == 1 + len(others)
