"""Where the answers of two guests differ, and whether two differences have the same cause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

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
        kinds = frozenset(map(_kind, self.program))
        return frozenset(each for each in kinds if each.partition(" ")[0] not in _SETUP)

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


def _kind(step: str) -> str:
    """Return a step without its numbers. With an old size of 0, mremap(2) copies, and does not move."""
    words = step.split()
    return f"{_shape(step)} copying" if words[0] == "remap" and words[2] == "0" else _shape(step)


def _changed_shapes(native: str, other: str) -> tuple[str, str]:
    """Return the words that differ, without numbers, each once: an answer may describe many pages.

    The name of an answer, which says which process gave it, is left out. An answer about the whole
    area has two parts, its mappings and its pages.
    """
    changed: tuple[set[str], set[str]] = (set(), set())
    parts = (text.partition(":")[2].split("|") for text in (native, other))
    for one, two in zip_longest(*parts, fillvalue=""):
        for words, more in zip(changed, _changed_words(one.split(), two.split()), strict=True):
            words.update(map(_shape, more))
    ours, theirs = (" ".join(sorted(words)).strip() for words in changed)
    return ours, theirs


def _changed_words(ours: Sequence[str], theirs: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the words of each side that differ from those in their places on the other side.

    A side with a word more has no such places: then those count that the other side lacks.
    """
    if len(ours) != len(theirs):
        return {*ours} - {*theirs}, {*theirs} - {*ours}
    pairs = [(one, two) for one, two in zip(ours, theirs, strict=True) if one != two]
    return {one for one, _ in pairs}, {two for _, two in pairs}
