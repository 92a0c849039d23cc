"""A guest's process that stops in the middle of its first line. The guest is a program of this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from foothold_lab.harness.guests.vm_process import Launch, VmProcess
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code

# executes what is behind `--`, as `agent keep` does
KEEPER = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'


@pytest.mark.parametrize(
    ("then", "seconds", "code"),
    [("pass", 30, Code.GUEST_DIED), ("import time; time.sleep(3)", 0.5, Code.GUEST_BOOT)],
    ids=["ends", "stalls"],
)
def test_a_part_of_the_first_line_is_not_waited_for_without_end(
    then: str, seconds: float, code: Code, tmp_path: Path
) -> None:
    keeper = tmp_path / "agent"
    keeper.write_text(KEEPER)
    keeper.chmod(0o755)

    def guest(line: int) -> tuple[str, ...]:
        return sys.executable, "-c", f"import os; os.write({line}, b'foothold'); {then}"

    process = VmProcess(Launch(agent=keeper, argv=guest, directory=tmp_path))
    started = time.monotonic()
    try:
        with pytest.raises(GuestError) as error:
            process.ready(Deadline.after(seconds))
    finally:
        process.stop()
    assert error.value.code is code
    assert time.monotonic() - started < 25
