"""The kernel places a program where it places it without Foothold: text, heap, stack and mappings.

The same program is run as a subject, and by hand: a Python of the guest sets the limits and executes
it. A dynamically linked program has to lie there as well as a static one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from foothold_lab.harness.guests.base import Guest, GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import catalogue, known_guests
from foothold_lab.harness.guests.limit_support import support_for
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.subjects import Subject, deploy, of_program, supervision
from foothold_lab.images.builder import Builder
from tests.host_compiler import host_compiler

GUESTS = ("native", "uml-bookworm", "uml-trixie", "uml-testing", "qemu-x86_64", "docker")
# one of each kind, and what it is by hand: the arguments of _LAUNCHER. The agent injects faults by
# itself, so the program is placed as without them.
_FIXED, _LEGACY = 0x0040000, 0x0200000  # ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT: personality(2)
_AS, _DATA, _STACK = 9, 2, 3  # getrlimit(2), asm-generic
LIMITS = {
    "no-aslr": (_FIXED,),
    "no-aslr+rlimit_as=300M": (_FIXED, _AS, 300 << 20),
    "no-aslr+rlimit_data=300M": (_FIXED, _DATA, 300 << 20),
    "no-aslr+rlimit_stack=64M": (_FIXED, _STACK, 64 << 20),
    "no-aslr+layout=legacy": (_FIXED | _LEGACY,),
    "no-aslr+memory=300M": (_FIXED,),
    "no-aslr+overcommit=2": (_FIXED,),
    "no-aslr+max_map_count=1000": (_FIXED,),
    "no-aslr+ceiling=38bit": (_FIXED,),
    "no-aslr+occupied=0x2000000000-0x2000010000": (_FIXED,),
    "no-aslr+hints=ignored": (_FIXED,),
    "no-aslr+fail=mmap:999:ENOMEM": (_FIXED,),
}
# they place nothing: tests/guests/test_limits.py has them
PLACE_NOTHING = {
    "wx_refused", "exec_refused", "seccomp", "user", "rlimit_fsize", "rlimit_memlock", "rlimit_nofile",
    "rlimit_nproc", "soft_only", "mmap_rnd_bits", "mmap_rnd_compat_bits", "hugepages", "thp",
    "noreplace_unknown", "noreserve_ignored",
}  # fmt: skip
_LAUNCHER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
program, persona, *limit = sys.argv[1:]
if int(persona):
    libc.personality(ctypes.c_ulong(int(persona)))
if limit:
    kind, size = map(int, limit)
    assert libc.setrlimit(kind, (ctypes.c_ulong * 2)(size, size)) == 0
os.execv(program, [program])
"""
# prints what the kernel chose when it executed the program: proc_pid_stat(5), getauxval(3)
_SOURCE = """
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
extern const char __ehdr_start;
int main(void){
    char line[4096],*at;unsigned long brk=0,stack=0,top=0,end;
    void*mapping=mmap(0,1<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
    FILE*f=fopen("/proc/self/stat","r");fgets(line,sizeof line,f);fclose(f);
    at=strrchr(line,')')+1;
    for(int field=3;field<=47;field++){at=strchr(at,' ')+1;
        if(field==47)sscanf(at,"%lu",&brk);}
    f=fopen("/proc/self/maps","r");
    while(fgets(line,sizeof line,f)){sscanf(line,"%*lx-%lx",&end);
        if(strstr(line,"[stack]"))stack=end;else if(!strstr(line,"[v")&&!strstr(line,"[heap]"))top=end;}
    printf("%lu %lu %lu %lu %lu %lu\\n",(unsigned long)&__ehdr_start,brk,stack,top,getauxval(AT_BASE),(unsigned long)mapping);
    return 0;}
"""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Addresses: of the text, the start of the heap, the end of the stack, the end of the highest
    mapping below the stack, the loader (0: none), and the first mapping of the program itself.
    """

    text: int
    heap: int
    stack: int
    top: int
    loader: int
    mapping: int

    @classmethod
    def parse(cls, printed: bytes) -> Placement:
        text, heap, stack, top, loader, mapping = map(int, printed.split())
        return cls(text=text, heap=heap, stack=stack, top=top, loader=loader, mapping=mapping)


@dataclass(frozen=True)
class Place:
    """A booted guest with both programs in it."""

    guest: Guest
    facts: Facts
    dynamic: Subject
    static: Subject

    def observe(self, subject: Subject, limits: Limits) -> Placement:
        """Run a program as a cell does."""
        how = supervision(subject, self.guest.paths, self.guest.scale, trace=True)
        record = run_program(self.guest, subject.argv, limits, Deadline.after(60), how=how)
        assert record.ending.status == 0, (str(limits), record.stderr, record.ending)
        return Placement.parse(record.stdout)

    def by_hand(self, subject: Subject, *arguments: int) -> Placement:
        """Run a program without a root of its own, with the libraries of the guest."""
        paths = self.guest.paths
        copied = f"{paths.share}/{subject.place}/root{subject.argv[0]}"
        program = subject.argv[0] if paths.placement == "host" else copied
        argv = [paths.python, "-I", "-S", "-c", _LAUNCHER, program, *map(str, arguments or (0,))]
        if paths.placement == "host":
            done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
            return Placement.parse(done.stdout)
        record = run_program(self.guest, argv, Limits(), Deadline.after(60))
        assert record.ending.status == 0, record.stderr
        return Placement.parse(record.stdout)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Subject]:
    place = tmp_path_factory.mktemp("placement")
    (place / "place.c").write_text(_SOURCE)
    made = []
    for name, flags in (("dynamic", ["-pie"]), ("static", ["-static-pie"])):
        program = place / name
        subprocess.run(
            [*host_compiler(), "-w", *flags, "-o", program, place / "place.c"], check=True
        )
        made.append(of_program(str(program)))
    dynamic, static = made
    return dynamic, static


@pytest.fixture(scope="module", params=GUESTS)
def there(
    request: pytest.FixtureRequest,
    programs: tuple[Subject, Subject],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    builder, directory = Builder(), tmp_path_factory.mktemp("boot")
    name = known_guests(builder).get(request.param, request.param)
    share = directory / "share"
    share.mkdir()
    deploy(share, programs)
    config = GuestConfig(directory=directory, share=share, builder=builder, memory=512)
    guest = catalogue(builder)[name].make(config)
    support = guest.supported()
    if not support.ok:
        pytest.skip(f"{name}: {support.reason}")
    with _stopped(guest):
        yield Place(guest, guest.boot(Deadline.after(120)), *programs)


@contextmanager
def _stopped(guest: Guest) -> Iterator[None]:
    try:
        yield
    finally:
        guest.stop()


def test_every_kind_of_limit_is_here() -> None:
    named = {name for each in LIMITS for name in Limits.parse(each).named}
    assert named | PLACE_NOTHING == set(Limits.__dataclass_fields__)


@pytest.mark.parametrize("words", LIMITS)
def test_places_programs_as_by_hand(there: Place, words: str) -> None:
    limits = Limits.parse(words)
    if not (support := support_for(there.guest, there.facts, limits)).ok:
        pytest.skip(support.reason)
    dynamic, static = (there.observe(each, limits) for each in (there.dynamic, there.static))
    hand = there.by_hand(there.static, *LIMITS[words])
    if limits.faults:  # its own calls are answered otherwise, and there may be one mapping more
        hand, static = (replace(each, mapping=0, top=0) for each in (hand, static))
    assert static == hand
    bottom_up = limits.legacy_layout or there.facts.placement == "bottom-up"
    hand = there.by_hand(there.dynamic, *LIMITS[words])
    # the libraries of the guest may have other sizes than those of the program
    sizes = {"top": 0, "mapping": 0} if bottom_up else {"loader": 0, "mapping": 0}
    assert replace(dynamic, **sizes) == replace(hand, **sizes)
    assert dynamic.stack == static.stack
    if bottom_up:
        assert dynamic.loader == static.text  # the first mapping of each
    elif not limits.faults:
        assert dynamic.top == static.top


def test_places_programs_at_random_as_by_hand(there: Place) -> None:
    """Differences are those that the kernel's random bits allow, and there are differences."""
    # arch_mmap_rnd(): 28 bits of pages on x86-64, none in UML; randomize_stack_top(): 22 bits;
    # arch_randomize_brk(): up to 1 GiB
    mappings = 0 if there.guest.name.startswith("uml") else 1 << 40
    most = {"text": mappings, "loader": mappings, "stack": 1 << 34, "heap": mappings + (1 << 30)}
    for subject in (there.dynamic, there.static):
        hand = there.by_hand(subject)
        ours = [there.observe(subject, Limits()) for _ in range(3)]
        for each in ours:
            far = {name: abs(getattr(each, name) - getattr(hand, name)) for name in most}
            assert {name: far[name] for name in far if far[name] > most[name]} == {}
        assert len({each.stack for each in ours}) > 1
