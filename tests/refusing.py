"""Run a command whose system calls a seccomp filter makes fail with an errno.

`python -I refusing.py ERRNO CALL[,CALL]... COMMAND [ARGUMENT]...`, such as `EPERM ptrace`. So a test
has an older kernel, or a machine that refuses a call, for real. x86-64 only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence

# arch/x86/entry/syscalls/syscall_64.tbl
CALLS = {"ptrace": 101, "mount": 165, "seccomp": 317, "mount_setattr": 442}
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h


def command(error: int, call: str) -> tuple[str, ...]:
    """Return the words that make a call fail in the processes of the command that follows them."""
    return (sys.executable, "-I", __file__, errno.errorcode[error], call)


def refuse(error: int, calls: Sequence[str]) -> None:
    """Make these calls fail in this process and its children; seccomp(2)."""
    steps = [(LOAD, 0, 0, 0)]  # the number of the call
    for call in calls:
        steps += [(JUMP_IF_EQUAL, 0, 1, CALLS[call]), (RETURN, 0, 0, ERRNO | error)]
    steps.append((RETURN, 0, 0, ALLOW))
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    for words in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0),
    ):
        if libc.prctl(*words) < 0:
            raise OSError(ctypes.get_errno(), "no seccomp filter")


if __name__ == "__main__":
    refuse(getattr(errno, sys.argv[1]), sys.argv[2].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
