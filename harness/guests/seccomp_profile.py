"""Seccomp profiles of container runtimes, compiled for a guest.

A profile is a JSON file in the format of the OCI runtime specification (config-linux.md, seccomp), or
in that of Docker, which also says for which machines, capabilities and kernels a rule holds. It is
compiled as runc compiles it (libcontainer/seccomp): by libseccomp; a name that the library does not
know is left out; and calls that are newer than all calls of the profile fail with ENOSYS.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import DOCKER, Limits
from foothold_lab.images.builder import Builder
from foothold_lab.images.docker_profile import DOCKER_PROFILE

MOST_BYTES = 1 << 20  # of a profile
_LIBRARY = "libseccomp.so.2"
_EPERM, _ENOSYS = 1, 38
_ERRNO = "SCMP_ACT_ERRNO"
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
# include/uapi/linux/seccomp.h. SCMP_ACT_TRACE and SCMP_ACT_NOTIFY need a program that answers.
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000, "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x00030000, _ERRNO: 0x00050000,
    "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000,
}  # fmt: skip
# enum scmp_compare of seccomp.h
_COMPARISONS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
# by machine of uname(2): the name that libseccomp has for it, and the one that Go has
_MACHINES = {
    "x86_64": ("x86_64", "amd64"), "i686": ("x86", "386"), "aarch64": ("aarch64", "arm64"),
    "riscv64": ("riscv64", "riscv64"), "armv7l": ("arm", "arm"),
}  # fmt: skip
# what Docker gives to a container by default
_CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
        "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    )
)  # fmt: skip
# struct sock_filter: code, jump if true, jump if false, operand; struct seccomp_data
_STATEMENT = struct.Struct("<HBBI")
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4


class _Argument(msgspec.Struct):
    index: int
    value: int
    op: str
    valueTwo: int = 0


class _Conditions(msgspec.Struct):
    caps: list[str] = []
    arches: list[str] = []
    minKernel: str = ""


class _Rule(msgspec.Struct):
    action: str
    names: list[str] = []
    name: str = ""
    errnoRet: int | None = None
    args: list[_Argument] | None = None
    includes: _Conditions = msgspec.field(default_factory=_Conditions)
    excludes: _Conditions = msgspec.field(default_factory=_Conditions)


class _Family(msgspec.Struct):
    architecture: str
    subArchitectures: list[str] | None = None


class Profile(msgspec.Struct):
    """A profile, with the names of its file."""

    defaultAction: str
    defaultErrnoRet: int | None = None
    architectures: list[str] = []
    archMap: list[_Family] = []
    syscalls: list[_Rule] | None = None


class _Linux(msgspec.Struct):
    seccomp: Profile


class _Config(msgspec.Struct):
    """config.json of an OCI bundle, which has a profile inside."""

    linux: _Linux


def seccomp_filter(limits: Limits, facts: Facts, builder: Builder) -> bytes:
    """Return the filter that limits ask for, compiled for a guest; empty if they ask for none.

    Raises as `read_profile` and `compile_profile` do.
    """
    if limits.seccomp is None:
        return b""
    if limits.seccomp == DOCKER:
        path = builder.image(DOCKER_PROFILE.name) / "default.json"
    else:
        path = Path(limits.seccomp).expanduser()
    return compile_profile(read_profile(path), facts)


def read_profile(path: Path) -> Profile:
    """Read a profile, or the one in a config.json. Raises UsageError."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES)
        try:
            return msgspec.json.decode(text, type=_Config).linux.seccomp
        except msgspec.ValidationError:
            return msgspec.json.decode(text, type=Profile)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "name a file that can be read") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a seccomp profile: {error}",
            "give a profile as the OCI runtime specification or Docker describes it",
        ) from error


def compile_profile(profile: Profile, facts: Facts) -> bytes:
    """Return the filter for a guest: an array of struct sock_filter of a little-endian machine.

    Raises UsageError for a profile with an unknown action or comparison, UnsupportedError without
    libseccomp or for a machine that it does not know.
    """
    library, machine = _library(), _Machine(facts)
    code = library.seccomp_init(_action(profile.defaultAction, profile.defaultErrnoRet))
    try:
        _choose_architectures(library, code, profile, machine)
        rules = [rule for rule in profile.syscalls or () if machine.applies(rule)]
        for rule in rules:
            _add_rule(library, code, rule, profile)
        newest = max((_number(library, machine, name) for name in _names(rules)), default=-1)
        return _stub(profile, machine, newest) + _exported(library, code)
    finally:
        library.seccomp_release(code)


class _Machine:
    """What the conditions of a profile are about."""

    def __init__(self, facts: Facts) -> None:
        name = facts.machine if facts.pointer_size == 8 else "i686"
        if name not in _MACHINES:
            raise _unsupported(f"no seccomp profile can be compiled for {name}", "")
        self.name, self._go_name = _MACHINES[name]
        self.token = _library().seccomp_arch_resolve_name(self.name.encode())
        if not self.token:
            raise _unsupported(f"libseccomp does not know {self.name}", "install a newer one")
        self._kernel = _version(facts.release)

    def applies(self, rule: _Rule) -> bool:
        """Say whether a rule holds here, as setupSeccomp() of Docker does."""
        yes, no = rule.includes, rule.excludes
        if self._go_name in no.arches or _CAPABILITIES & set(no.caps):
            return False
        if no.minKernel and self._kernel >= _version(no.minKernel):
            return False
        if yes.arches and self._go_name not in yes.arches:
            return False
        if yes.minKernel and self._kernel < _version(yes.minKernel):
            return False
        return _CAPABILITIES.issuperset(yes.caps)


def _version(text: str) -> tuple[int, int]:
    """Read the first two numbers of a release: 6.12.113 is (6, 12)."""
    major, _, rest = text.partition(".")
    minor = rest.split(".")[0].split("-")[0]
    return (int(major) if major.isdigit() else 0, int(minor) if minor.isdigit() else 0)


def _choose_architectures(
    library: ctypes.CDLL, code: int, profile: Profile, machine: _Machine
) -> None:
    """Add the machine and what it runs as well (i386 programs on x86-64); calls of other machines
    end the program.
    """
    mine = f"SCMP_ARCH_{machine.name.upper()}"
    names = [*profile.architectures] or [mine]
    for family in profile.archMap:
        if family.architecture == mine:
            names = [mine, *(family.subArchitectures or ())]
    tokens = {library.seccomp_arch_resolve_name(name[10:].lower().encode()) for name in names}
    tokens.add(machine.token)
    for token in sorted(tokens - {0}):
        library.seccomp_arch_add(code, token)
    native = library.seccomp_arch_native()
    if native not in tokens:
        library.seccomp_arch_remove(code, native)


def _add_rule(library: ctypes.CDLL, code: int, rule: _Rule, profile: Profile) -> None:
    action = _action(
        rule.action, profile.defaultErrnoRet if rule.errnoRet is None else rule.errnoRet
    )
    if action == _action(profile.defaultAction, profile.defaultErrnoRet):
        return  # libseccomp refuses a rule that changes nothing
    for name in _names([rule]):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue
        for comparisons in _alternatives(rule.args or []):
            array = (_Comparison * len(comparisons))(*comparisons)
            library.seccomp_rule_add_array(code, action, number, len(comparisons), array)


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def _alternatives(arguments: list[_Argument]) -> Iterator[list[_Comparison]]:
    """Yield the comparisons that must hold together. Several for one argument are alternatives, as in
    runc: libseccomp cannot join them.
    """
    made = [
        _Comparison(each.index, _comparison(each.op), each.value, each.valueTwo)
        for each in arguments
    ]
    if max(Counter(each.index for each in arguments).values(), default=1) > 1:
        yield from ([each] for each in made)
    else:
        yield made


def _comparison(name: str) -> int:
    if name not in _COMPARISONS:
        raise UsageError(f"a seccomp profile compares with {name!r}", "use one of SCMP_CMP_*")
    return _COMPARISONS[name]


def _action(name: str, error: int | None) -> int:
    if name not in _ACTIONS:
        raise UsageError(
            f"a seccomp profile asks for the action {name!r}",
            f"use one of {', '.join(_ACTIONS)}: no other program answers here",
        )
    number = _EPERM if error is None else error
    return _ACTIONS[name] | (number & 0xFFFF if name == _ERRNO else 0)


def _names(rules: list[_Rule]) -> Iterator[str]:
    for rule in rules:
        yield from rule.names or [rule.name]


def _number(library: ctypes.CDLL, machine: _Machine, name: str) -> int:
    return int(library.seccomp_syscall_resolve_name_arch(machine.token, name.encode()))


def _stub(profile: Profile, machine: _Machine, newest: int) -> bytes:
    """Return statements that answer ENOSYS to newer calls than `newest`; none if the profile allows
    what it does not name.
    """
    if profile.defaultAction in _PERMISSIVE or newest < 0:
        return b""
    x32 = 0x40000000  # the numbers of these calls have this bit, and belong to the same machine
    statements = (
        (_LOAD, 0, 0, _MACHINE_AT), (_JUMP_IF_EQUAL, 0, 4, machine.token),
        (_LOAD, 0, 0, _NUMBER_AT), (_JUMP_IF_GREATER, 0, 2, newest),
        (_JUMP_IF_GREATER, 1, 0, x32 - 1), (_RETURN, 0, 0, _ACTIONS[_ERRNO] | _ENOSYS),
    )  # fmt: skip
    return b"".join(_STATEMENT.pack(*each) for each in statements)


def _exported(library: ctypes.CDLL, code: int) -> bytes:
    file = os.memfd_create("seccomp")
    try:
        if error := library.seccomp_export_bpf(code, file):
            raise UsageError(f"libseccomp cannot compile the profile: {os.strerror(-error)}")
        return os.pread(file, MOST_BYTES, 0)
    finally:
        os.close(file)


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise _unsupported(
            f"{_LIBRARY}, which compiles seccomp profiles, is not installed here",
            "install it: the package is libseccomp2 of Debian and Ubuntu, libseccomp of others",
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    for name in ("seccomp_arch_add", "seccomp_arch_remove"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
    ]  # fmt: skip
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    return library


def _unsupported(reason: str, remedy: str) -> UnsupportedError:
    return UnsupportedError(reason, remedy, code=Code.UNSUPPORTED_LIMIT)
