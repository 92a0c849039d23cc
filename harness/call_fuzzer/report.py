"""Programs of calls, and what the interpreter in images/call_programs printed of them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from foothold_lab.harness.model.errors import UsageError

Program = tuple[str, ...]  # steps, such as "unmap 0 4"
Answers = tuple[str, ...]  # such as "3f: ENOMEM": number of the step, and the path to its process

HANGS = "program: hangs"  # the last answer of a program that did not end
GUEST_ENDS = "program: its guest ends"  # the same of a program that ended its guest


def program_text(program: Program) -> str:
    """Return a program as the interpreter reads it."""
    return ";".join(program)


def parse_program(text: str) -> Program:
    """Read a program. Raises UsageError for one without steps."""
    program = tuple(step.strip() for step in text.split(";") if step.strip())
    if not program:
        raise UsageError(
            "the program has no steps", "give calls, such as 'map 0 1 rw memory private+fixed'"
        )
    return program


@dataclass(frozen=True, kw_only=True)
class CallReport:
    """The answers of the programs that came to their end, in order, and whether one more was started."""

    answers: tuple[Answers, ...] = ()
    unfinished: bool = False


class _Line(msgspec.Struct):
    started: int = -1
    program: int = -1
    answers: tuple[str, ...] = ()


def read_call_report(stdout: bytes) -> CallReport:
    """Read what the interpreter printed; what follows the first line that makes no sense is ignored."""
    decode = msgspec.json.Decoder(_Line).decode
    answers: list[Answers] = []
    unfinished = False
    for line in stdout.splitlines():
        try:
            read = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            break
        unfinished = read.program < 0
        if read.program >= 0:
            answers.append(read.answers)
    return CallReport(answers=tuple(answers), unfinished=unfinished)


def step_of(program: Program, answer: str) -> str:
    """Return the step that an answer is about; the name of the answer if it is about another thing."""
    digits = answer[: len(answer) - len(answer.lstrip("0123456789"))]
    if digits and int(digits) < len(program):
        return program[int(digits)]
    return answer.partition(":")[0]
