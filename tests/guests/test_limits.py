"""Every limit in every guest: that it holds for a subject, that it goes again, and that the
allocator does under it what the oracle foretells.
"""

from __future__ import annotations

import errno
import json
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.base import Guest, run_program
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.guests.limit_support import (
    has_capabilities,
    measure_under,
    support_for,
)
from foothold_lab.harness.guests.seccomp_profile import seccomp_filter
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import SubjectError, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Record, Supervision
from foothold_lab.harness.model.verdict import Result
from foothold_lab.images.builder import Builder
from tests.guests.conftest import happen
from tests.libseccomp import needs_libseccomp

GUESTS = (
    "native", "docker", "podman", "qemu-x86_64", "qemu-arm64-16k",
    "uml-bookworm", "uml-trixie", "uml-testing",
)  # fmt: skip
CONTAINERS = ("docker", "podman")

# what a program sees: places of mappings by three ways of asking, from three kinds of task
PLACES = """
import ctypes, json, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_ssize_t
libc.mmap.argtypes = [ctypes.c_size_t] * 2 + [ctypes.c_int] * 3 + [ctypes.c_ssize_t]
def mmap(address, prot=0, flags=0x22, length=65536):
    got = libc.mmap(address, length, prot, flags, -1, 0)
    return got if got != -1 else -ctypes.get_errno()
seen = {"one": mmap(0x3000000000), "two": mmap(0x3100000000), "fixed": mmap(0x3000000000, 3, 0x32)}
thread = threading.Thread(target=lambda: seen.update(thread=mmap(0x3200000000)))
thread.start(); thread.join()
print(json.dumps(seen), flush=True)
if os.fork() == 0:
    print(json.dumps({"child": mmap(0x3300000000)}), flush=True)
    os._exit(0)
os.wait()
"""
ONE, TWO = 0x3000000000, 0x3100000000


pytestmark = pytest.mark.foothold_guest(*GUESTS)


@dataclass
class Booted:
    guest: Guest
    facts: Facts

    def python(self, limit: str, code: str, *arguments: str, trace: bool = False) -> Record:
        """Run a program under a limit that this guest can do; else the test is skipped."""
        limits = Limits.parse(limit)
        support = support_for(self.guest, self.facts, limits)
        if not support.ok:
            assert support.remedy
            pytest.skip(f"{self.guest.name}: {support.reason}; {support.remedy}")
        argv = [self.guest.paths.python, "-I", "-S", "-c", code, *arguments]
        deadline, how = Deadline.after(60 * self.guest.scale), Supervision(trace=trace)
        try:
            return run_program(self.guest, argv, limits, deadline, how=how)
        except UnsupportedError as error:
            if error.code is not Code.UNSUPPORTED_SUBJECT:
                raise
            pytest.skip(f"{self.guest.name}: {error}; {error.remedy}")

    def places(self, limit: str) -> dict[str, int]:
        record = self.python(limit, PLACES)
        assert record.ending.status == 0, record.stderr
        seen: dict[str, int] = {}
        for line in record.stdout.splitlines():
            seen |= json.loads(line)
        return seen


@pytest.fixture
def booted(foothold_guest: OpenGuest) -> Booted:
    return Booted(foothold_guest.guest, foothold_guest.facts)


def test_changes_no_call_without_a_fault(booted: Booted) -> None:
    seen = booted.places("none")
    assert (seen["one"], seen["two"]) == (ONE, TWO)
    assert (seen["thread"], seen["child"]) == (0x3200000000, 0x3300000000)


def test_ignores_hints_of_threads_and_children(booted: Booted) -> None:
    seen = booted.places("hints=ignored")
    assert seen["fixed"] == ONE, "MAP_FIXED insists"
    for name, asked in {
        "one": ONE,
        "two": TWO,
        "thread": 0x3200000000,
        "child": 0x3300000000,
    }.items():
        assert seen[name] > 0
        assert seen[name] != asked


def test_ignores_hints_only_in_a_range(booted: Booted) -> None:
    seen = booted.places("hints=ignored@0x3000000000-0x3100000000")
    assert seen["one"] != ONE
    assert seen["two"] == TWO


def test_maps_nothing_above_a_ceiling(booted: Booted) -> None:
    seen = booted.places(f"ceiling={TWO:#x}")
    assert (seen["one"], seen["fixed"]) == (ONE, ONE)
    for name in ("two", "thread", "child"):
        assert 0 < seen[name] < TWO
    limits = Limits.parse(f"ceiling={TWO:#x}")
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert (measured.task_size, measured.placement) == (TWO, booted.facts.placement)
    assert measured.first < TWO
    assert measured.hint_low.honoured
    assert not measured.hint_beyond.honoured


def test_occupies_a_range_before_the_first_instruction(booted: Booted) -> None:
    seen = booted.places("occupied=0x3000000000-0x3040000000+occupied=0x3300000000-0x3300010000")
    assert seen["one"] not in range(0x3000000000, 0x3040000000)
    assert seen["two"] == TWO
    assert seen["child"] != 0x3300000000
    after_exec = booted.python(
        "occupied=0x3000000000-0x3040000000",
        "import os; os.execv('/bin/cat', ['cat', '/proc/self/maps'])",
    )
    assert b"3000000000-3040000000 ---p" in after_exec.stdout


def test_reports_a_range_that_cannot_be_occupied(booted: Booted) -> None:
    limits = Limits.parse("occupied=0x3000000000-0x3040000000+occupied=0x3000000000-0x3000010000")
    if not support_for(booted.guest, booted.facts, limits).ok:
        pytest.skip("no faults here")
    with pytest.raises(SubjectError, match="cannot occupy 0x3000000000-0x3000010000: File exists"):
        run_program(booted.guest, ["/bin/true"], limits, Deadline.after(60))


def test_fails_the_nth_call_of_threads_and_children(booted: Booted) -> None:
    seen = booted.places("fail=hinted:2:EAGAIN+fail=hinted:4:ENOMEM")
    assert (seen["one"], seen["two"], seen["thread"]) == (ONE, -11, 0x3200000000)
    assert seen["child"] == -12


def test_fails_calls_again_and_again(booted: Booted) -> None:
    seen = booted.places("fail=hinted:2-:EAGAIN")
    assert (seen["one"], seen["two"], seen["thread"], seen["child"]) == (ONE, -11, -11, -11)
    seen = booted.places("fail=hinted:%2:EAGAIN")
    assert (seen["one"], seen["two"], seen["thread"], seen["child"]) == (
        ONE,
        -11,
        0x3200000000,
        -11,
    )


def test_fails_calls_by_protection_and_flags(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + (
        "print(mmap(ONE, 3), mmap(ONE, 0, 0x32), mmap(ONE, 0, 0x4022), mmap(ONE + 0x10000))"
    ).replace("ONE", str(ONE))
    limit = (
        "fail=hinted[write]:*:EAGAIN+fail=mmap[fixed,none]:*:ENOMEM+fail=mmap[noreserve]:1:EPERM"
    )
    refused = f"-11 -12 -1 {ONE + 0x10000}\n"
    assert booted.python(limit, code).stdout.decode() == refused


def test_failing_calls_are_those_of_the_program_and_not_of_its_loader(booted: Booted) -> None:
    """The loader maps and protects the libraries. A failure of its first calls ends a program."""
    if booted.guest.name == "native" and "musl" in (sysconfig.get_config_var("SOABI") or ""):
        pytest.skip("musl's loader is its libc as well, whose calls are those of the program")
    code = PLACES.partition("seen =")[0] + (
        "print(libc.mprotect(ctypes.c_size_t(mmap(ONE)), 65536, 1), ctypes.get_errno())"
    ).replace("ONE", str(ONE))
    record = booted.python("fail=mprotect[read]:*:EACCES+fail=mmap[fixed,exec]:*:ENOMEM", code)
    assert record.stdout == b"-1 13\n", record.stderr


def test_a_failing_brk_keeps_the_heap_as_it_is(booted: Booted) -> None:
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); libc.sbrk.restype = ctypes.c_ssize_t;"
        "before = libc.sbrk(0); print(libc.sbrk(65536), ctypes.get_errno(), libc.sbrk(0) == before)"
    )
    assert booted.python("fail=brk:*:ENOMEM", code).stdout == b"-1 12 True\n"


def test_an_old_kernel_takes_fixed_noreplace_for_a_hint(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + (
        "print(mmap(ONE, 0, 0x100022) == ONE, mmap(ONE, 0, 0x100022))".replace("ONE", str(ONE))
    )
    assert booted.python("none", code).stdout == b"True -17\n", "EEXIST"
    free, moved = booted.python("noreplace=unknown", code).stdout.split()
    assert free == b"True"
    assert 0 < int(moved) != ONE


def test_ignored_noreserve_is_charged(booted: Booted) -> None:
    if booted.facts.overcommit != 0:
        pytest.skip("this kernel promises memory without a look at how much it has")
    code = PLACES.partition("seen =")[0] + "print(mmap(0, 3, 0x4022, 1 << 37))"
    assert int(booted.python("none", code).stdout) > 0
    assert booted.python("noreserve=ignored", code).stdout == b"-12\n"


def test_fails_other_kinds_of_calls(booted: Booted) -> None:
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); libc.mincore(0, 4096, 0);"
        "print(ctypes.get_errno())"
    )
    assert booted.python("fail=mincore:1:EFBIG", code).stdout == b"27\n"
    lost = booted.python("fail=mmap:*:ENOMEM", "")
    assert lost.ending.signal or lost.ending.status, "Python cannot map its first arena"


def test_limits_the_address_space(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + "print(mmap(0, 0, 0x22, 400 << 20) > 0)"
    assert booted.python("none", code).stdout == b"True\n"
    assert booted.python("rlimit_as=300M", code).stdout == b"False\n"


def test_limits_data_but_not_reservations(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + (
        "print(mmap(0, 0, 0x22, 1 << 30) > 0, mmap(0, 3, 0x22, 64 << 20))"
    )
    assert booted.python("rlimit_data=32M", code).stdout == b"True -12\n"


def test_limits_the_stack(booted: Booted) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0])"
    assert booted.python("rlimit_stack=1M", code).stdout == b"1048576\n"


# what a program gets that wants memory which it can write and execute, as errors
WRITE_EXECUTE = (
    PLACES.partition("seen =")[0]
    + """
def error(result):
    return ctypes.get_errno() if result == -1 else 0
number = {"x86_64": 329, "aarch64": 288}[os.uname().machine]
where = ctypes.c_size_t(mmap(0, 3))
print(-mmap(0, 7), error(libc.mprotect(where, 65536, 5)),
      error(libc.syscall(number, where, 65536, 5, -1)),
      mmap(0, 5) > 0, error(libc.mprotect(where, 65536, 1)))
"""
)


def test_refuses_memory_that_is_writable_and_executable(booted: Booted) -> None:
    """After exec as well. The trace shows what was refused, also by a filter. UML has no
    pkey_mprotect, and answers ENOSYS unless a filter comes before it.
    """
    allowed = booted.python("none", WRITE_EXECUTE).stdout.split()
    keys = allowed[2]
    assert int(allowed[0]) < 0
    assert allowed[1:] == [b"0", keys, b"True", b"0"]
    if booted.guest.name not in CONTAINERS:  # the profile of an engine may refuse it
        assert keys == (b"38" if booted.guest.name.startswith("uml") else b"0")
    by_filter = booted.facts.tools.mdwe != 0
    refused = b"1" if by_filter else b"13"
    record = booted.python("wx=refused", WRITE_EXECUTE, trace=True)
    with_keys = refused if by_filter or keys == b"0" else keys
    assert record.stdout.split() == [refused, refused, with_keys, b"True", b"0"]
    trace = (record.trace or b"").decode()
    word = "EPERM" if by_filter else "EACCES"
    calls = ("mmap", "mprotect", *(["pkey_mprotect"] if with_keys == refused else []))
    for call in calls:
        assert re.search(rf"\b{call}\(.*PROT_EXEC.* = -1 {word}", trace), trace[-2000:]
    argv = "[sys.executable, '-I', '-S', '-c', sys.argv[1]]"
    again = f"import os, sys; os.execv(sys.executable, {argv})"
    child = booted.python("wx=refused", again, WRITE_EXECUTE)
    assert child.stdout.split() == record.stdout.split()


@needs_libseccomp
def test_applies_a_seccomp_profile(booted: Booted, builder: Builder, tmp_path: Path) -> None:
    """Docker's own refuses personality(2) to a program, and a new call does not exist. The trace shows
    what was refused.
    """
    code = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True);"
        "print(libc.personality(0x40000), ctypes.get_errno(), libc.syscall(999), ctypes.get_errno())"
    )
    docker = Limits.parse("seccomp=docker")
    if not (support := support_for(booted.guest, booted.facts, docker)).ok:
        pytest.skip(support.reason)
    how = Supervision(trace=True, seccomp=seccomp_filter(docker, booted.facts, builder))
    argv = [booted.guest.paths.python, "-I", "-S", "-c", code]
    record = run_program(booted.guest, argv, docker, Deadline.after(60), how=how)
    # with the agent's tracer our profile asks it, so that Podman's own profile answers first: ENOSYS
    refused = errno.ENOSYS if booted.guest.name == "podman" else errno.EPERM
    assert record.stdout == b"-1 %d -1 38\n" % refused, record.stderr
    # without PTRACE_GET_SYSCALL_INFO (UML) strace takes -1 for a personality
    refusal = rb"personality\(.*ADDR_NO_RANDOMIZE\) = (-1 EPERM|0xf{16} )"
    trace = record.trace or b""
    # the agent, which traces in containers and for users without strace, sees no call that a filter refuses
    if booted.guest.name not in CONTAINERS and not trace.startswith(b"agent:"):
        assert re.search(refusal, trace)
    file = tmp_path / "profile.json"
    kill = {"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS"}
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [kill]}))
    own = Limits.parse(f"seccomp={file}")
    how = Supervision(seccomp=seccomp_filter(own, booted.facts, builder))
    killed = run_program(booted.guest, argv, own, Deadline.after(60), how=how)
    assert killed.ending.signal == 31, "SIGSYS"


# executes a script of each directory, and maps a file of it as executable
EXECUTES = """
import mmap, os, subprocess, sys
for directory in sys.argv[1:]:
    name = f"{directory}/script"
    with open(name, "w") as file:
        file.write("#!/bin/sh\\nexit 7\\n")
    os.chmod(name, 0o755)
    try:
        print(subprocess.run([name]).returncode)
    except OSError as error:
        print(error.errno)
    with open(name) as file:
        try:
            mmap.mmap(file.fileno(), 16, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
            print(0)
        except OSError as error:
            print(error.errno)
"""


@pytest.mark.parametrize("trace", [False, True])
def test_refuses_to_execute_files_of_a_directory(booted: Booted, trace: bool) -> None:
    def answers(limit: str) -> list[int]:
        record = booted.python(limit, EXECUTES, "/tmp", "/run", trace=trace)
        assert record.ending.status == 0, record.stderr
        return [int(line) for line in record.stdout.split()]

    refused, allowed = [errno.EACCES, errno.EPERM], [7, 0]
    assert answers("exec=refused@/tmp") == [*refused, *allowed]
    assert answers("exec=refused@/tmp+exec=refused@/run") == refused * 2
    assert answers("none") == allowed * 2, "it ends with the subject"


def test_a_directory_that_is_missing_cannot_be_refused(booted: Booted) -> None:
    with pytest.raises(SubjectError, match="cannot refuse to execute files of /missing: No such"):
        booted.python("exec=refused@/missing", "")


def test_limits_open_files_softly(booted: Booted) -> None:
    code = (
        "import resource; soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "print(soft, hard > soft); resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))"
    )
    assert booted.python("rlimit_nofile=32:soft", code).stdout == b"32 True\n"
    assert booted.python("rlimit_nofile=32", code).stdout == b"32 False\n"


def test_limits_the_size_of_files(booted: Booted) -> None:
    code = (
        "import tempfile; file = tempfile.TemporaryFile(buffering=0); print(file.write(b'x' * 5000));"
        "file.write(b'x')"
    )
    assert booted.python("none", code).stdout == b"5000\n"
    short = booted.python("rlimit_fsize=4096", code)
    assert short.stdout == b"4096\n"
    assert b"File too large" in short.stderr


def test_limits_locked_memory(booted: Booted) -> None:
    code = (
        "import ctypes, mmap; libc = ctypes.CDLL(None, use_errno=True); block = mmap.mmap(-1, 1 << 20);"
        "where = ctypes.addressof(ctypes.c_char.from_buffer(block));"
        "print(libc.mlock(ctypes.c_size_t(where), 1 << 20), ctypes.get_errno())"
    )
    limit = "user=nobody+" if has_capabilities(booted.guest, "") else ""
    assert booted.python(f"{limit}rlimit_memlock=2M", code).stdout == b"0 0\n"
    assert booted.python(f"{limit}rlimit_memlock=64K", code).stdout == b"-1 12\n"


def test_limits_processes(booted: Booted) -> None:
    code = (
        "import os\ntry:\n pid = os.fork()\nexcept OSError as error:\n print(error.errno)\n"
        "else:\n os._exit(0) if pid == 0 else os.wait()"
    )
    assert booted.python("user=4321+rlimit_nproc=8", code).stdout == b""
    assert booted.python("user=4321+rlimit_nproc=1", code).stdout == b"11\n"


@pytest.mark.parametrize("limit", ["rlimit_nproc=8", "rlimit_memlock=1M"])
def test_says_from_what_root_is_exempt(booted: Booted, limit: str) -> None:
    support = support_for(booted.guest, booted.facts, Limits.parse(limit))
    assert support.ok is not has_capabilities(booted.guest, "")
    assert support.ok or "user=nobody" in support.remedy


def test_runs_as_another_user(booted: Booted) -> None:
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
    groups = b"[]" if booted.guest.name == "podman" else b"[4321]"
    assert booted.python("user=4321", code).stdout == b"4321 4321 " + groups + b"\n"
    assert booted.python("none", code).stdout.startswith(b"0 0 ")


def test_a_memory_cgroup_kills_a_program_that_uses_more(booted: Booted) -> None:
    code = "block = bytearray(56 << 20); print(len(block))"
    assert booted.python("none", code).ending.status == 0
    assert booted.python("memory=32M", code).ending.signal == 9
    assert booted.python("none", code).ending.status == 0, "and the limit has gone"


def test_restores_the_overcommit_mode(booted: Booted) -> None:
    mode = "print(open('/proc/sys/vm/overcommit_memory').read().strip())"
    before = booted.python("none", mode).stdout
    code = PLACES.partition("seen =")[0] + "print(mmap(0, 3, 0x22, 1 << 34))"
    assert booted.python("overcommit=2", mode).stdout == b"2\n"
    assert booted.python("overcommit=2", code).stdout == b"-12\n"
    assert int(booted.python("overcommit=1", code).stdout) > 0
    assert booted.python("none", mode).stdout == before


def test_restores_max_map_count(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + (
        "print(min(mmap(ONE + i * 131072, 0, 0x22, 65536) for i in range(400)))"
    ).replace("ONE", str(ONE))
    assert int(booted.python("none", code).stdout) > 0
    assert booted.python("max_map_count=200", code).stdout == b"-12\n"
    assert int(booted.python("none", code).stdout) > 0


SETTINGS = "/proc/sys/vm/"
PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


@pytest.mark.parametrize(
    ("limit", "file", "seen"),
    [
        ("mmap_rnd_bits=28", f"{SETTINGS}mmap_rnd_bits", b"28"),
        ("mmap_rnd_compat_bits=12", f"{SETTINGS}mmap_rnd_compat_bits", b"12"),
        ("hugepages=3", f"{SETTINGS}nr_hugepages", b"3"),
        ("thp=always", PAGES, b"[always]"),
        ("thp=never", PAGES, b"[never]"),
    ],
)
def test_restores_the_settings_of_the_kernel(
    booted: Booted, limit: str, file: str, seen: bytes
) -> None:
    """A kernel without such a setting refuses the limit in words."""
    code = f"import os; print(open({file!r}).read() if os.path.exists({file!r}) else 'none')"
    before = booted.python("none", code).stdout
    if before == b"none\n":
        with pytest.raises(UnsupportedError, match=f"cannot set {re.escape(file)} .* No such file"):
            booted.python(limit, code)
        return
    assert seen in booted.python(limit, code).stdout.split()
    assert booted.python("none", code).stdout == before


def test_the_bits_of_aslr_are_seen_in_places(booted: Booted) -> None:
    limits = Limits.parse("mmap_rnd_bits=20")
    if booted.guest.name != "qemu-arm64-16k":
        pytest.skip("the fewest bits of x86-64 are its default, and UML has none")
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert 14 < measured.aslr_bits <= 24  # a carry changes bits above the random ones


def test_a_value_that_the_kernel_refuses_is_unsupported(booted: Booted) -> None:
    limits = Limits.parse("mmap_rnd_bits=60")
    if not support_for(booted.guest, booted.facts, limits).ok:
        pytest.skip("it belongs to the host")
    with pytest.raises(UnsupportedError, match="the guest refuses the limit: cannot set") as error:
        measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert error.value.remedy


def test_no_aslr_fixes_the_addresses(booted: Booted) -> None:
    limits = Limits.parse("no-aslr")
    if not (support := support_for(booted.guest, booted.facts, limits)).ok:
        assert support.remedy
        pytest.skip(support.reason)
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert measured.aslr_bits == 0


def test_the_legacy_layout_is_bottom_up(booted: Booted) -> None:
    limits = Limits.parse("layout=legacy")
    if not (support := support_for(booted.guest, booted.facts, limits)).ok:
        assert support.remedy
        pytest.skip(support.reason)
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert measured.placement == "bottom-up"


def test_facts_are_complete(booted: Booted) -> None:
    facts = booted.facts
    assert facts.memory > 0
    assert facts.commit_limit > 0
    assert facts.max_map_count > 0
    # a container may have no cgroups in /sys
    mounted = booted.guest.name != "native" or " cgroup" in Path("/proc/mounts").read_text()
    assert facts.cgroup.version in ((1, 2) if mounted else (0,))
    assert not facts.hint_beyond.honoured
    upward = booted.guest.name.startswith("uml")
    assert facts.aslr_bits == 0 if upward else facts.aslr_bits > 12


@pytest.mark.parametrize(
    "guest",
    [
        # emulated: a minute each
        pytest.param(each, marks=pytest.mark.weekly) if each.startswith("qemu-") else each
        for each in GUESTS
    ],
)
def test_the_allocator_under_limits_is_as_predicted(
    guest: str, builder: Builder, tmp_path: Path
) -> None:
    """And an unsupported one says what would help."""
    limits = (
        "hints=ignored", "occupied=0xf800000000-0xfc00000000", "fail=hinted:1:ENOMEM",
        "fail=hinted:2:ENOMEM", "rlimit_data=9M", "rlimit_data=32M", "overcommit=2", "memory=64M",
        "no-aslr", "layout=legacy+hints=ignored", "ceiling=38bit",
        "layout=legacy+ceiling=38bit+hints=ignored", "rlimit_as=300M+overcommit=2",
        "rlimit_stack=1M", "wx=refused",
    )  # fmt: skip
    name = known_guests(builder)[guest]
    cells = [
        Cell(guest=name, limits=Limits.parse(limit), policy=policy)
        for limit in limits
        for policy in ("before", "after", "grsec")
    ] + [
        Cell(guest=name, limits=Limits.parse(limit), policy=policy)
        for limit in ("none", "hints=ignored", "rlimit_as=100M")
        for policy in ("modern", "modern-arm64")
    ]
    happened = happen(cells, builder, tmp_path)
    for cell in cells:
        verdict = happened.verdicts[cell.id]
        assert verdict.result in (Result.PASS, Result.UNSUPPORTED), (cell.id, verdict.findings)
        assert verdict.result is Result.PASS or verdict.remedy


def test_facts_fit_into_a_uml_line(booted: Booted) -> None:
    """A UML line stalls at 4,095 bytes that nobody has read: a hello is shorter."""
    record = run_program(
        booted.guest, [booted.guest.paths.agent, "facts"], Limits(), Deadline.after(60)
    )
    assert len(record.stdout) < 4000
