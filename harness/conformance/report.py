"""Reads the report of a program of probes: one JSON line for each probe (images/conformance/main.c)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec


@dataclass(frozen=True, kw_only=True)
class ProbeAnswer:
    """What one probe measured.

    `demand` is what the ABI demands, `source` where that is written. `error` is an errno, 0 for none.
    `skipped`: the question does not arise, because the processor or the kernel lacks a feature.
    """

    probe: str
    demand: str
    source: str
    result: Literal["conforms", "differs", "skipped"]
    measured: str
    error: int = 0
    value: int = 0


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """The answers in the order of the report, and the probe that was started last and has no answer.

    `bad_lines` counts lines that are not of a report.
    """

    answers: tuple[ProbeAnswer, ...] = ()
    unanswered: str = ""
    bad_lines: int = 0

    @property
    def does_not_apply(self) -> bool:
        """Were probes answered, and did none of them apply?"""
        return bool(self.answers) and all(each.result == "skipped" for each in self.answers)


class _Line(msgspec.Struct):
    probe: str = ""
    started: str = ""
    demand: str = ""
    source: str = ""
    result: Literal["conforms", "differs", "skipped"] = "differs"
    measured: str = ""
    errno: int = 0
    value: int = 0


@dataclass
class _Reader:
    answers: dict[str, ProbeAnswer] = field(default_factory=dict)
    unanswered: str = ""
    bad_lines: int = 0

    def read(self, line: _Line) -> None:
        if line.started:
            self.unanswered = line.started
        elif line.probe:
            self.unanswered = ""
            self.answers[line.probe] = ProbeAnswer(
                probe=line.probe,
                demand=line.demand,
                source=line.source,
                result=line.result,
                measured=line.measured,
                error=line.errno,
                value=line.value,
            )
        else:
            self.bad_lines += 1


def read_report(stdout: bytes) -> ProbeReport:
    """Read what a program of probes printed. Lines that make no sense are counted."""
    reader, decode = _Reader(), msgspec.json.Decoder(_Line).decode
    for line in stdout.splitlines():
        try:
            reader.read(decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            reader.bad_lines += 1
    return ProbeReport(
        answers=tuple(reader.answers.values()),
        unanswered=reader.unanswered,
        bad_lines=reader.bad_lines,
    )
