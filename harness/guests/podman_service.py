"""A service of Podman that this process starts, if none runs.

This process makes the socket and gives it to the service, as systemd does (sd_listen_fds(3)): so a
client can connect at once. One service is enough for all guests. It ends with this process, also if that
is killed: a shell waits for the end of a pipe from this process, and then gives the containers time to end.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.model.errors import UnsupportedError

PROGRAM = "podman"
_MONITOR = "conmon"
ENDING = 10.0  # seconds for a service to end
# Standard input is the socket, standard output the end of the pipe that is read. The first socket is
# descriptor 3, and the process compares LISTEN_PID with its own.
_SERVE = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
# A container ends with its client while the service runs, so the service ends later.
_COMMAND = """
place=$1; shift
exec 3<&0 4<&1 >&2 </dev/null
sh -c "$@" 4<&- & service=$!
exec 3<&-
{ read -r _ <&4; sleep 10; kill $service; } 2>/dev/null &
wait $service
cd /; rm -rf "$place"
"""


@dataclass(frozen=True)
class _Service:
    process: subprocess.Popen[bytes]
    directory: Path
    alive: int  # the end of the pipe that is closed when this process ends

    @property
    def address(self) -> str:
        return f"unix://{self.directory}/socket"

    def end(self) -> None:
        for each in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, each)  # its monitors have groups of their own
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDING)
                break
        os.close(self.alive)
        shutil.rmtree(self.directory, ignore_errors=True)


_lock = threading.Lock()
_started: list[_Service] = []
os.register_at_fork(after_in_child=_started.clear)  # a child that exits leaves its parent's service


def service_address() -> str:
    """Return the address of the service of this process, which is started if it does not run.

    Raises UnsupportedError without the program.
    """
    with _lock:
        if _started and _started[0].process.poll() is None:
            return _started[0].address
        end_service()
        if not (program := shutil.which(PROGRAM)):
            raise UnsupportedError(
                "Podman is not installed, and no service of it answers",
                "install it: on Debian and Ubuntu the package podman",
            )
        _started.append(_start(program))
        return _started[0].address


@atexit.register
def end_service() -> None:
    """End the service of this process, if there is one."""
    while _started:
        _started.pop().end()


def _start(program: str) -> _Service:
    directory = Path(tempfile.mkdtemp(prefix="foothold-podman-"))
    with socket.socket(socket.AF_UNIX) as listener, (directory / "log").open("wb") as log:
        listener.bind(str(directory / "socket"))
        listener.listen()
        waiting, alive = os.pipe()
        process = subprocess.Popen(
            [
                "sh", "-c", _COMMAND, "sh", directory, _SERVE, "sh",
                program, "system", "service", "--time", "0",
            ],
            stdin=listener.fileno(), stdout=waiting, stderr=log, start_new_session=True,
            cwd=directory,  # a monitor may write a file there (oom)
        )  # fmt: skip
        os.close(waiting)
    return _Service(process, directory, alive)


def end_monitors(container: str) -> None:
    """End the monitors of programs that ran in a container, which is removed.

    Each would wait for five minutes: a client may ask how its program ended (exit_command_delay in
    containers.conf(5)).
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            watched = os.pidfd_open(int(entry.name))  # the number may be used anew
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                if Path(argv[0].decode()).name == _MONITOR and container.encode() in argv:
                    signal.pidfd_send_signal(watched, signal.SIGKILL)
            finally:
                os.close(watched)
