"""Seccomp profiles of container runtimes: which calls of a machine their filters refuse, and how.

A small interpreter of BPF asks the filter, so that no program is killed.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.seccomp_profile import compile_profile, read_profile
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Facts
from tests.libseccomp import needs_libseccomp
from tests.unit.harness.samples import facts

pytestmark = needs_libseccomp

ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
ARM64 = replace(facts(), machine="aarch64")
JUMPS = {0x15: int.__eq__, 0x25: int.__gt__, 0x35: int.__ge__, 0x45: int.__and__}


def answer(code: bytes, number: int, *arguments: int, machine: int = X86_64) -> int:
    """Return what a filter answers to a call, as the kernel would compute it."""
    data = struct.pack("<iIQ6Q", number, machine, 0, *(*arguments, *[0] * 6)[:6])
    at = accumulator = 0
    while True:
        operation, yes, no, operand = struct.unpack_from("<HBBI", code, 8 * at)
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x06:
            return int(operand)
        elif operation == 0x05:
            at += operand
        elif operation == 0x54:
            accumulator &= operand
        else:
            at += yes if JUMPS[operation](accumulator, operand) else no


def compiled(profile: dict[str, object], tmp_path: Path, where: Facts | None = None) -> bytes:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile))
    return compile_profile(read_profile(file), where or facts())


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **more: object) -> dict[str, object]:
    return {"names": names, "action": action, **more}


def listing(*rules: dict[str, object]) -> dict[str, object]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}


def test_refuses_what_it_does_not_name(tmp_path: Path) -> None:
    code = compiled(listing(rule("read", "mmap", "statx")), tmp_path)
    assert answer(code, 0) == answer(code, 9) == ALLOW
    assert answer(code, 135) == ERRNO | 1, "personality, EPERM"


def test_calls_that_are_newer_than_the_profile_do_not_exist(tmp_path: Path) -> None:
    """As in runc: a libc that probes for a new call must not get EPERM."""
    code = compiled(listing(rule("read", "statx")), tmp_path)
    assert answer(code, 332) == ALLOW
    assert answer(code, 333) == answer(code, 5000) == ERRNO | 38
    permissive = {"defaultAction": "SCMP_ACT_ALLOW",
                  "syscalls": [rule("statx", action="SCMP_ACT_ERRNO")]}  # fmt: skip
    assert answer(compiled(permissive, tmp_path), 5000) == ALLOW


def test_leaves_out_names_that_a_machine_does_not_have(tmp_path: Path) -> None:
    profile = listing(rule("open", "openat", "no_such_call", "arch_prctl"))
    code = compiled(profile, tmp_path, ARM64)
    assert answer(code, 56, machine=AARCH64) == ALLOW, "openat"
    assert answer(code, 2, machine=AARCH64) == ERRNO | 1


def test_answers_the_errno_of_the_rule_or_of_the_profile(tmp_path: Path) -> None:
    code = compiled(
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 13, "syscalls": [
            rule("personality", action="SCMP_ACT_ERRNO", errnoRet=95),
            rule("ptrace", action="SCMP_ACT_ERRNO"),
            rule("reboot", action="SCMP_ACT_KILL_PROCESS"),
        ]}, tmp_path,
    )  # fmt: skip
    assert answer(code, 135) == ERRNO | 95
    assert answer(code, 101) == ERRNO | 13
    assert answer(code, 169) == KILL_PROCESS
    assert answer(code, 0) == ALLOW


def test_compares_arguments(tmp_path: Path) -> None:
    """Comparisons of different arguments hold together, those of one argument are alternatives."""
    equal = [{"index": 0, "value": each, "op": "SCMP_CMP_EQ"} for each in (0, 8, 0xFFFFFFFF)]
    both = [{"index": 2, "value": 6, "valueTwo": 6, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 1, "value": 4096, "op": "SCMP_CMP_GE"}]  # fmt: skip
    code = compiled(
        listing(rule("personality", args=equal), rule("mmap", args=both), rule("statx")), tmp_path
    )
    assert [answer(code, 135, persona) for persona in (0, 8, 0xFFFFFFFF)] == [ALLOW] * 3
    assert answer(code, 135, 0x40000) == ERRNO | 1
    assert answer(code, 9, 0, 4096, 7) == ALLOW
    assert answer(code, 9, 0, 4095, 7) == answer(code, 9, 0, 4096, 5) == ERRNO | 1


def test_applies_the_conditions_of_docker(tmp_path: Path) -> None:
    """A container has neither all capabilities nor every machine, and this kernel is 6.12."""
    profile = listing(
        rule("read", includes={"caps": ["CAP_CHOWN"]}),
        rule("write", includes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("open", excludes={"caps": ["CAP_CHOWN"]}),
        rule("close", includes={"arches": ["amd64"]}),
        rule("stat", includes={"arches": ["arm64"]}),
        rule("ptrace", includes={"minKernel": "4.8"}),
        rule("poll", includes={"minKernel": "7.0"}),
        rule("statx"),
    )
    code = compiled(profile, tmp_path)
    numbers = {"read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "ptrace": 101, "poll": 7}
    allowed = {name for name, number in numbers.items() if answer(code, number) == ALLOW}
    assert allowed == {"read", "close", "ptrace"}


def test_programs_of_another_machine_are_killed_unless_it_is_listed(tmp_path: Path) -> None:
    profile = listing(rule("read", "statx"))
    assert answer(compiled(profile, tmp_path), 3, machine=I386) != ALLOW
    families = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    code = compiled({**profile, "archMap": families}, tmp_path)
    assert answer(code, 3, machine=I386) == ALLOW, "read of i386"
    code = compiled({**profile, "architectures": ["SCMP_ARCH_X86"]}, tmp_path)
    assert answer(code, 0) == answer(code, 3, machine=I386) == ALLOW


def test_finds_the_profile_in_the_configuration_of_a_bundle(tmp_path: Path) -> None:
    code = compiled({"ociVersion": "1.0.2", "linux": {"seccomp": listing(rule("read"))}}, tmp_path)
    assert answer(code, 0) == ALLOW


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not a seccomp profile"),
        ("[]", "is not a seccomp profile"),
        ("{}", "missing required field `defaultAction`"),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "the action 'SCMP_ACT_NOTIFY'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "no"}]}',
         "the action 'no'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": '
         '"SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "IS"}]}]}', "compares with 'IS'"),
    ],
)  # fmt: skip
def test_rejects_what_is_not_a_profile(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=why) as error:
        compile_profile(read_profile(file), facts())
    assert error.value.remedy


def test_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as error:
        read_profile(tmp_path / "none.json")
    assert error.value.remedy


def test_a_machine_without_filters_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="for sparc64"):
        compiled(listing(rule("read")), tmp_path, replace(facts(), machine="sparc64"))
