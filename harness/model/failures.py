"""Failing calls, as limits describe them: which calls of a program fail, and with which error."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from foothold_lab.harness.model.errors import UsageError, did_you_mean

_PROTECTIONS = ("read", "write", "exec", "none")
_MAP_FLAGS = (
    "hint", "shared", "private", "anonymous", "file", "fixed", "noreplace", "noreserve", "hugetlb",
    "growsdown", "stack", "populate", "locked", "32bit",
)  # fmt: skip
_ADVICE = (
    "normal", "random", "sequential", "willneed", "dontneed", "free", "remove", "dontfork",
    "dofork", "hugepage", "nohugepage", "dontdump", "dodump", "cold", "pageout", "collapse",
)  # fmt: skip
_MAPPING = (*_PROTECTIONS, *_MAP_FLAGS)
CALLS: Mapping[str, tuple[str, ...]] = {
    "mmap": _MAPPING,
    "hinted": _MAPPING,
    "munmap": (),
    "mprotect": _PROTECTIONS,
    "pkey_mprotect": _PROTECTIONS,
    "mremap": ("maymove", "fixed", "dontunmap"),
    "brk": (),
    "madvise": _ADVICE,
    "process_madvise": _ADVICE,
    "mincore": (),
    "remap_file_pages": (),
    "shmget": ("hugetlb",),
    "shmat": ("readonly", "exec", "remap"),
    "shmdt": (),
    "map_shadow_stack": (),
    "mseal": (),
    "io_setup": (),
    "io_destroy": (),
    "io_uring_setup": (),
    "userfaultfd": (),
    "personality": (),
    "getrlimit": (),
    "setrlimit": (),
}
"""The calls that can fail, each with the words that select some of them. images/agent/faults.c has
the same tables."""

_FORM = re.compile(r"(\w+)(?:\[([\w,]*)\])?:(\*|%?\d+|\d+-):(\w+)", re.ASCII)
_MOST = 1 << 31


@dataclass(frozen=True, order=True)
class Failure:
    """Some calls of a kind fail, counted over all threads and children of the program. The calls of
    its dynamic loader do not count.

    `call` is the kind; `hinted` is an anonymous mmap with a hint. Of these only the calls count that
    all words in `selected` describe: `exec` with PROT_EXEC, `fixed` with MAP_FIXED. The first one
    that fails is the `nth`, counted from 1; then each `every`-th after it, if that is not 0.
    """

    call: str
    nth: int
    errno: str
    selected: tuple[str, ...] = ()
    every: int = 0

    @classmethod
    def parse(cls, text: str) -> Failure:
        """Read `mmap:3:ENOMEM` or `mprotect[exec]:*:EACCES`. Raises UsageError."""
        form = _FORM.fullmatch(text)
        call, words, when, name = form.groups() if form else (text.partition(":")[0], None, "", "")
        selected = tuple(words.split(",")) if words is not None else ()
        if call not in CALLS:
            raise _wrong(text, call, CALLS)
        for word in selected:
            if word not in CALLS[call]:
                raise _wrong(text, word, CALLS[call])
        if form is None or not 0 < (count := int(re.sub(r"\D", "", when) or 1)) < _MOST:
            raise _wrong(text)
        if name not in errno.errorcode.values():
            raise _wrong(text, name, errno.errorcode.values())
        if call == "brk" and name != "ENOMEM":
            raise UsageError(
                f"{text!r}: brk(2) has no error but ENOMEM", "write ENOMEM: fail=brk:1:ENOMEM"
            )
        every = count if when[0] in "*%" else int(when.endswith("-"))
        return cls(call, count, name, tuple(w for w in CALLS[call] if w in selected), every)

    def fails(self, count: int) -> bool:
        """Say whether the call with this number, counted from 1, fails."""
        if self.every and count >= self.nth:
            return (count - self.nth) % self.every == 0
        return count == self.nth

    @property
    def is_hinted(self) -> bool:
        """Does it concern every anonymous mmap with a hint, and no other call?"""
        return self.call == "hinted" and not self.selected

    @property
    def number(self) -> int:
        """The number of the errno. The common ones are the same on all machines."""
        return int(getattr(errno, self.errno))

    @property
    def kind(self) -> str:
        """The calls that it counts: `mprotect[exec]`."""
        return f"{self.call}[{','.join(self.selected)}]" if self.selected else self.call

    def __str__(self) -> str:
        return f"{self.kind}:{self._when}:{self.errno}"

    @property
    def _when(self) -> str:
        if not self.every:
            return str(self.nth)
        if self.nth == self.every:
            return "*" if self.every == 1 else f"%{self.every}"
        return f"{self.nth}-"


def _wrong(text: str, word: str = "", words: Iterable[str] = ()) -> UsageError:
    near = did_you_mean(word, words) if word else ""
    return UsageError(
        f"{text!r} does not describe a failing call{near}",
        "write CALL:WHEN:ERRNO, such as mmap:3:ENOMEM (the third one), mmap:3-:ENOMEM (from the "
        "third on), mmap:%3:ENOMEM (each third) or mprotect[exec]:*:EACCES (all that match); "
        f"calls are: {', '.join(CALLS)}",
    )
