"""The measured properties of the address space of a guest."""

from __future__ import annotations

import bisect
import errno
import itertools
from dataclasses import dataclass
from typing import Literal

import msgspec

from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code

LARGEST = 16384  # bytes of the facts of a guest that are read

_PAGE_SIZES = frozenset(1 << bits for bits in range(12, 21))  # Linux has 4 KiB to 1 MiB
# bits that each level of page table resolves, from the lowest, where levels differ: radix-4k.h and
# radix-64k.h of arch/powerpc, pgtable.h of arch/s390
_LEVELS = {
    ("ppc64le", 4 << 10): (9, 9, 9, 13),
    ("ppc64le", 64 << 10): (5, 9, 9, 13),
    ("s390x", 4 << 10): (8, 11, 11, 11, 11),
}
_HUGE_PAGE_SIZES = frozenset(1 << bits for bits in range(13, 40))


@dataclass(frozen=True)
class Hint:
    """The answer to an mmap of 64 KiB with a hint: the address `asked` for, and the address `got`.

    `errno` is 0 if the call succeeded.
    """

    asked: int
    got: int
    errno: int

    @property
    def honoured(self) -> bool:
        """Did the kernel map at the address that was asked for?"""
        return self.errno == 0 and self.got == self.asked


@dataclass(frozen=True)
class Cgroup:
    """The memory cgroup: version 1 or 2, 0 without one; its limit in bytes, -1 for no limit."""

    version: int = 0
    limit: int = -1


@dataclass(frozen=True)
class Tools:
    """What the agent may do to a subject: trace it, stop it at chosen system calls (seccomp's
    RET_TRACE), choose its layout (personality), refuse it memory that is writable and executable
    (PR_SET_MDWE of prctl(2)). Each is 0, or the errno of the refusal.
    """

    ptrace: int = 0
    seccomp: int = 0
    personality: int = 0
    mdwe: int = errno.EINVAL


@dataclass(frozen=True, kw_only=True)
class Facts:
    """An address space as the agent measured it by mapping. Addresses and sizes are in bytes; -1
    means an infinite limit or a missing file of /proc.

    `task_size` is the lowest address at which nothing can be mapped, `lowest` the lowest at which
    something can, `first` where the kernel put a mapping that asked for nothing. `hint_beyond`
    asked for the task size itself. `aslr` is the kernel's mode, `aslr_bits` how many bits of
    `first`, down to the page, were seen to differ over six starts of a program: one bit too few
    once in 32 times. `commit_limit` and `committed` are what the kernel may promise and has
    promised (Documentation/mm/overcommit-accounting), `memory` what it has. `huge_page_size` is
    that of a huge page: what one entry of the second level of page tables covers.

    Raises ValueError for sizes that no machine has: the facts come from a guest.
    """

    schema: Literal[2]
    machine: str
    release: str
    pointer_size: int
    page_size: int
    task_size: int
    lowest: int
    placement: Literal["top-down", "bottom-up"]
    first: int
    hint_high: Hint
    hint_low: Hint
    hint_beyond: Hint
    aslr: int
    aslr_bits: int
    rlimit_as: int
    rlimit_data: int
    rlimit_stack: int
    rlimit_memlock: int
    overcommit: int
    commit_limit: int
    committed: int
    memory: int
    max_map_count: int
    cgroup: Cgroup
    tools: Tools
    huge_page_size: int = -1

    def __post_init__(self) -> None:
        if self.pointer_size not in (4, 8):
            raise ValueError(f"pointers of {self.pointer_size} bytes")
        if self.page_size not in _PAGE_SIZES:
            raise ValueError(f"pages of {self.page_size} bytes")
        if not self.page_size < self.task_size <= 1 << 64:
            raise ValueError(f"a task size of {self.task_size}")
        if self.huge_page_size > self.page_size and self.huge_page_size not in _HUGE_PAGE_SIZES:
            raise ValueError(f"huge pages of {self.huge_page_size} bytes")

    @property
    def bits(self) -> int:
        """Width of a user address: 39 for a task size of up to 512 GiB, 47 for 128 TiB."""
        return (self.task_size - 1).bit_length()

    @property
    def program_machine(self) -> str:
        """The machine of programs, as `images.elf` names it: a kernel may run those of another."""
        if self.pointer_size == 8:
            return self.machine
        return "arm" if self.machine.startswith(("arm", "aarch64")) else "i386"

    @property
    def levels(self) -> int:
        """Levels of page table that the width implies: each resolves as many bits as there are
        between a page and a huge page (i386: 10, with PAE 9), or else as entries of 8 bytes do.
        """
        offset = (self.page_size - 1).bit_length()
        if sizes := _LEVELS.get((self.machine, self.page_size)):
            return bisect.bisect_left(list(itertools.accumulate(sizes)), self.bits - offset) + 1
        known = self.huge_page_size > self.page_size
        each = (self.huge_page_size // self.page_size if known else self.page_size // 8) - 1
        return -(-(self.bits - offset) // each.bit_length())


def parse_facts(text: bytes) -> Facts:
    """Read the agent's facts; GuestError if they are not what the agent would say."""
    try:
        return msgspec.json.decode(text[:LARGEST], type=Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise GuestError(
            f"the guest's facts cannot be read: {error}",
            "is its agent of this version?",
            code=Code.GUEST_PROTOCOL,
        ) from error
