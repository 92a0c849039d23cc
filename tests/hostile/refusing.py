"""Execute a program under a seccomp filter that makes some system calls fail with an errno.

`python -I refusing.py ERRNO NUMBER[,NUMBER...] PROGRAM [ARGUMENT...]`. So a test has an older
kernel, or a machine that refuses something, for real. x86-64 only.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

MOUNT_SETATTR, UNSHARE = 442, 272
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


def refuse(error: int, numbers: list[int]) -> None:
    """Make these calls fail in this process and its children; seccomp(2)."""
    code = struct.pack("HBBI", _LOAD, 0, 0, 0)
    for number in numbers:
        code += struct.pack("HBBI", _JUMP_IF_EQUAL, 0, 1, number)
        code += struct.pack("HBBI", _RETURN, 0, 0, _ERRNO | error)
    code += struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for step in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, program)):
        if libc.prctl(*step) < 0:
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse(int(sys.argv[1]), [int(each) for each in sys.argv[2].split(",")])
    os.execvp(sys.argv[3], sys.argv[3:])
