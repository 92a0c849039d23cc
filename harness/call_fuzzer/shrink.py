"""Makes a program smaller as long as it still differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from foothold_lab.harness.call_fuzzer.report import Program

Differs = Callable[[Sequence[Program]], Sequence[bool]]
_ROUNDS = 40


def shrink(program: Program, differs: Differs) -> Program:
    """Return a program from which no step can be left out, and with smaller numbers.

    `differs` says of many programs at once whether each shows the difference: that is one start of
    the interpreter.
    """
    for candidates in (_with_fewer_steps, _with_smaller_numbers):
        for _ in range(_ROUNDS):
            tried = list(candidates(program))
            showing = [each for each, shows in zip(tried, differs(tried), strict=True) if shows]
            if not showing:
                break
            program = min(showing, key=_size)
    return program


def _with_fewer_steps(program: Program) -> Iterator[Program]:
    """Yield programs without some steps that follow each other."""
    for length in {len(program) // 2, len(program) // 4, 2, 1} - {0, len(program)}:
        for at in range(len(program) - length + 1):
            yield program[:at] + program[at + length :]


def _with_smaller_numbers(program: Program) -> Iterator[Program]:
    for at, step in enumerate(program):
        words = step.split(" ")
        for place, word in enumerate(words):
            for smaller in _smaller(word):
                changed = " ".join([*words[:place], smaller, *words[place + 1 :]])
                yield (*program[:at], changed, *program[at + 1 :])


def _smaller(word: str) -> Iterator[str]:
    """Yield smaller numbers, or fewer flags."""
    if word.isdigit():
        number = int(word)
        yield from map(str, sorted({0, 1, number // 2, number - 1} & set(range(number))))
    elif "+" in word:
        flags = word.split("+")
        yield from ("+".join(flags[:at] + flags[at + 1 :]) for at in range(len(flags)))


def _size(program: Program) -> tuple[int, int, Program]:
    numbers = [int(word) for step in program for word in step.split() if word.isdigit()]
    return len(program), sum(map(len, program)) + sum(numbers), program
