"""What is measured of a guest's address space before a subject runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from harness.errors import GuestError

LARGEST = 16384  # bytes; a guest's facts are no longer, whatever it says


@dataclass(frozen=True)
class Hint:
    """Where a 64 KiB mapping went that asked for an address without MAP_FIXED.

    `errno` is 0 if it was mapped at all.
    """

    asked: int
    got: int
    errno: int

    @property
    def honoured(self) -> bool:
        """Did the kernel place it where it was asked?"""
        return self.errno == 0 and self.got == self.asked


@dataclass(frozen=True)
class Facts:
    """An address space as the agent found it by mapping. Addresses and sizes in bytes; -1 where a
    limit is infinite or a file of /proc is absent.

    `task_size` is the lowest address at which nothing can be mapped, `lowest` the lowest at which
    something can, `first` where the kernel put a mapping that asked for nothing.
    """

    schema: int
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
    rlimit_as: int
    rlimit_data: int
    rlimit_stack: int
    overcommit: int
    max_map_count: int
    aslr: int

    @property
    def bits(self) -> int:
        """Width of a user address: 39 for a task size of up to 512 GiB, 47 for 128 TiB."""
        return (self.task_size - 1).bit_length()

    @property
    def levels(self) -> int:
        """Levels of page table that the width implies, with 4 KiB pages and 512 entries each."""
        return -(-(self.bits - 12) // 9) if self.pointer_size == 8 else 2


def parse_facts(text: bytes) -> Facts:
    """Read the agent's facts; GuestError if they are not what the agent would say."""
    try:
        return msgspec.json.decode(text[:LARGEST], type=Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise GuestError(
            f"the guest's facts cannot be read: {error}", "is its agent of this version?"
        ) from error
