"""How Podman is found, or started and ended; what else differs from Docker is in the tests of all guests."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import open_guest
from foothold_lab.harness.guests import podman_service
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.guests.container_engine import ENGINES
from foothold_lab.harness.guests.podman_service import ENDING, end_service, service_address
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.limits import Limits
from foothold_lab.images import processes
from tests.guests.conftest import open_or_skip
from tests.normal_user import normal_user

pytestmark = [
    pytest.mark.skipif(not shutil.which("podman"), reason="Podman is not installed"),
    pytest.mark.xdist_group("podman"),
]
# keeps a container until it is killed
HOLD = """
import sys
from foothold_lab.harness.api.guest import open_guest
from foothold_lab.harness.guests import podman_service
with open_guest("podman") as guest:
    [service] = podman_service._started
    print(service.process.pid, service.directory, guest.guest.boot_record.provenance["container"], flush=True)
    sys.stdin.read()
"""


def containers() -> str:
    return subprocess.run(
        ["podman", "ps", "-aq"], capture_output=True, text=True, check=True
    ).stdout


def monitors(container: str) -> list[str]:
    """Return the command lines of the monitors of a container."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [each for each in lines.splitlines() if f"-c {container}" in each and "conmon" in each]


def test_nothing_is_left_when_the_harness_is_killed() -> None:
    with open_or_skip("podman"):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout
        service, directory, container = harness.stdout.readline().split()
        assert container[:12] in containers()
        watched = os.pidfd_open(int(service))
        harness.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([watched], [], [], ENDING + 60)
    os.close(watched)
    assert ended, "the service ends when nothing uses it"
    assert not Path(directory).exists()
    assert container[:12] not in containers()


def test_no_monitor_is_left_of_the_programs_of_a_container() -> None:
    with open_or_skip("podman") as guest:
        run_program(guest.guest, ["/bin/busybox", "true"], Limits(), Deadline.after(60))
        container = guest.guest.boot_record.provenance["container"]
        assert monitors(container)
    assert monitors(container) == []


def test_the_service_ends_with_its_process() -> None:
    with open_or_skip("podman"):
        pass
    end_service()
    address = service_address()
    [service] = podman_service._started
    assert service_address() == address, "one is enough"
    end_service()
    assert service.process.returncode is not None
    assert not service.directory.exists()


def test_a_child_that_exits_leaves_the_service_of_its_parent() -> None:
    with open_or_skip("podman") as guest:
        if not (child := os.fork()):
            atexit._run_exitfuncs()
            os._exit(0)
        os.waitpid(child, 0)
        assert run_program(guest.guest, ["/bin/busybox", "true"], Limits(), Deadline.after(60))


def test_a_service_that_is_named_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_or_skip("podman"):
        pass
    end_service()
    named = service_address()
    service = podman_service._started.pop()  # so that it counts as another process's
    monkeypatch.setenv("CONTAINER_HOST", named)
    try:
        with open_guest("podman") as guest:
            assert guest.guest.boot_record.provenance["engine"].startswith("podman ")
        assert podman_service._started == []
        monkeypatch.delenv("CONTAINER_HOST")
        monkeypatch.setenv("DOCKER_HOST", named)
        ENGINES["podman"].connect(30).close()
        assert podman_service._started == [], "DOCKER_HOST may name a service of Podman"
    finally:
        service.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_is_not_root(tmp_path: Path) -> None:
    with normal_user() as user:
        words = ("run", "--guest", "podman", "--policy", "after", "--limit", "none")
        words += ("--limit", "memory=64M") if Path("/sys/fs/cgroup/memory").is_dir() else ()
        command = user.command(sys.executable, "-m", "foothold_lab.harness.cli", *words)
        done = processes.run(command, env=user.environment)
    if "unsupported: Podman does not answer" in done.stdout:
        pytest.skip(done.stdout)
    assert "podman/none/after" in done.stdout
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    if "memory=64M" in words:
        assert "Podman ignores limits of memory here" in done.stdout
