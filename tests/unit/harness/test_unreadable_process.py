"""The harness while programs of its user run: they cannot read it, and it works as before."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from foothold_lab.harness.guests.unreadable_process import unreadable_process
from tests.normal_user import changes_users

GET_DUMPABLE = 3


def is_dumpable() -> int:
    return int(ctypes.CDLL(None).prctl(GET_DUMPABLE, 0, 0, 0, 0))


def test_lasts_until_the_last_subject_has_ended() -> None:
    with ExitStack() as first:
        first.enter_context(unreadable_process())
        with unreadable_process():
            first.close()
            assert is_dumpable() == 0
        assert is_dumpable() == 1
    ready, go = threading.Event(), threading.Event()

    def run() -> None:
        with unreadable_process():
            ready.set()
            go.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    with unreadable_process():
        go.set()
        thread.join(10)
        assert is_dumpable() == 0
    assert is_dumpable() == 1


# what the harness does meanwhile, in other threads: files of run directories, probes of the host
WORK = """
import os, sys
from pathlib import Path
from foothold_lab.harness.guests.host_probe import probe_host
from foothold_lab.harness.guests.unreadable_process import unreadable_process
from foothold_lab.harness.results_db import process
from foothold_lab.harness.run_directory import RunFiles
def work():
    files = RunFiles(Path("/etc"))
    return files.read("passwd"), files.names()[:3], probe_host.__wrapped__(), process.this_process()
before = work()
with unreadable_process():
    assert work() == before
    other = os.fork()
    if not other:
        try:
            os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)
        except PermissionError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
@pytest.mark.skipif(not changes_users(), reason="needs setpriv of util-linux")
def test_works_as_before_for_a_normal_user() -> None:
    subprocess.run(
        [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
            sys.executable, "-B", "-c", WORK,
        ],
        check=True, timeout=60,
    )  # fmt: skip
