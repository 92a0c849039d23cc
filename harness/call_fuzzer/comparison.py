"""Where the answers of two guests differ, and whether two differences have the same cause."""

from __future__ import annotations

import re
from dataclasses import dataclass

from foothold_lab.harness.call_fuzzer.report import Answers, Program, step_of

_NUMBER = re.compile(r"\d+")
_SETUP = ("map", "write", "read", "handle", "maps")  # steps that most programs have
_NOTHING = "(none)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first answer that differs: of which step of a program, natively and in the guest."""

    program: Program
    step: str
    native: str
    other: str

    @property
    def signature(self) -> tuple[str, str, str]:
        """What differs, without numbers: step, and both answers."""
        step = "end" if self.step.startswith("end") else self.step
        return _shape(step), *_changed_shapes(self.native, self.other)

    @property
    def triggers(self) -> frozenset[str]:
        """The kinds of steps that the program has besides the usual ones."""
        shapes = frozenset(map(_shape, self.program))
        return frozenset(each for each in shapes if each.partition(" ")[0] not in _SETUP)

    def explains(self, other: Difference) -> bool:
        """Does another difference look the same, in a program that has all these kinds of steps?"""
        return self.signature == other.signature and self.triggers <= other.triggers


def first_difference(program: Program, native: Answers, other: Answers) -> Difference | None:
    """Return the first answer that differs; None if all are the same."""
    length = max(len(native), len(other))
    for one, two in zip(_padded(native, length), _padded(other, length), strict=True):
        if one != two:
            step = step_of(program, one if one != _NOTHING else two)
            return Difference(program=program, step=step, native=one, other=two)
    return None


def _padded(answers: Answers, length: int) -> Answers:
    return answers + (_NOTHING,) * (length - len(answers))


def _shape(text: str) -> str:
    """Return a text without its numbers."""
    return " ".join(_NUMBER.sub("", text).split())


def _changed_shapes(native: str, other: str) -> tuple[str, str]:
    """Return the words that differ, without numbers, each once: an answer may describe many pages.

    The name of an answer, which says which process gave it, is left out.
    """
    ours, theirs = (text.partition(":")[2].split() for text in (native, other))
    if len(ours) != len(theirs):
        return _shape(" ".join(ours)), _shape(" ".join(theirs))
    pairs = {
        (_shape(one), _shape(two)) for one, two in zip(ours, theirs, strict=True) if one != two
    }
    return tuple(" ".join(sorted(side)) for side in zip(*pairs, strict=True))  # type: ignore[return-value]
