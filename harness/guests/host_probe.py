"""What this host allows guests to do. It is measured by doing it, in a separate process.

As a program it prints what it measured as JSON; `probe_host` runs it and keeps the answer.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PTRACE_TRACEME, _PTRACE_GETREGSET, _PTRACE_CONT = 0, 0x4204, 7
_NT_X86_XSTATE = 0x202
# linux/sched.h: CLONE_NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACES = 0x20000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000


@dataclass(frozen=True, kw_only=True)
class Host:
    """What was measured of this host.

    ptrace, namespaces: the errno with which they are refused; 0: allowed.
    xstate: bytes of the floating-point state that the kernel exchanges with a tracer; 0: unknown.
    executable_tmpfs: whether programs can be mapped from /dev/shm.
    """

    ptrace: int
    namespaces: int
    xstate: int
    executable_tmpfs: bool


@functools.cache
def probe_host() -> Host:
    """Measure this host, once in each process."""
    argv = [sys.executable, "-I", "-S", str(Path(__file__))]
    answer = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    return Host(**json.loads(answer))


def _trace_a_child() -> tuple[int, int]:
    """Return (errno, size of the XSAVE area) of tracing a child; ptrace(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    child = os.fork()
    if child == 0:
        if libc.ptrace(_PTRACE_TRACEME, 0, None, None) < 0:
            os._exit(ctypes.get_errno() or 1)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status), 0
    area = ctypes.create_string_buffer(1 << 16)
    vector = ctypes.create_string_buffer(struct.pack("PN", ctypes.addressof(area), len(area)))
    size = 0
    if libc.ptrace(_PTRACE_GETREGSET, child, _NT_X86_XSTATE, ctypes.addressof(vector)) == 0:
        size = struct.unpack("PN", vector.raw[: struct.calcsize("PN")])[1]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 0, size


def _unshare() -> int:
    """Return the errno of taking new namespaces with a user map and a tmpfs; user_namespaces(7)."""
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        identity = os.getuid()
        if libc.unshare(_NAMESPACES) < 0:
            os._exit(ctypes.get_errno() or 1)
        try:
            Path("/proc/self/uid_map").write_text(f"{identity} {identity} 1")
        except OSError as error:
            os._exit(error.errno or 1)
        if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) < 0:
            os._exit(ctypes.get_errno() or 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _main() -> None:
    ptrace, xstate = _trace_a_child()
    try:
        executable = not os.statvfs("/dev/shm").f_flag & os.ST_NOEXEC
    except OSError:
        executable = False
    measured = {
        "ptrace": ptrace,
        "namespaces": _unshare(),
        "xstate": xstate,
        "executable_tmpfs": executable,
    }
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    _main()
