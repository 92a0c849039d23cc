"""The agent makes few system calls of its own: in a guest each of them takes time of every cell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from foothold_lab.harness.transport.frames import FrameKind, frame, new_key
from foothold_lab.images.builder import Builder

MOST_CALLS = 90  # 69 (measured) for a program that prints nothing, the start of the agent included


def test_supervises_with_few_calls(builder: Builder, tmp_path: Path) -> None:
    strace, agent = builder.image("strace") / "usr/bin/strace", builder.image("agent") / "agent"
    log = tmp_path / "calls"
    with subprocess.Popen(
        [strace, "-o", log, agent, "run", "--", "/bin/true"],
        stdin=subprocess.PIPE,  # open: its end would tell the agent that the harness is gone
        stdout=subprocess.DEVNULL,
    ) as traced:
        assert traced.stdin
        traced.stdin.write(frame(FrameKind.KEY, new_key()))
        traced.stdin.flush()
        assert traced.wait(60) == 0
    calls = log.read_text().splitlines()
    assert len(calls) <= MOST_CALLS, "\n".join(calls)
