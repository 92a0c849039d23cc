"""The attacks of this directory again, with Foothold started by an ordinary user.

The user reads the store of root, and cannot write it (tests/normal_user.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.images.builder import Builder
from tests.normal_user import NUMBER, UNSHARE, NormalUser, normal_user

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can run a process as another user"
)

ROOT = Path(__file__).parents[2]
# for each guest: which tests attack it, and how many they are at least
ATTACKS = {
    "native": ("native and not qemu and (reach_the or only_the or outlives_a or goes_on)", 12),
    "qemu-user-arm64": ("qemu-user-arm64 and not riscv64 or that_a_program_of_this_machine", 8),
    "uml-7.2": ("uml-7.2 and not ptrace and (its_watchers or killed_agent)", 3),
    "qemu-x86_64": ("qemu-x86_64 and (its_watchers and not untraced or killed_agent)", 2),
}  # fmt: skip
FILES = (
    "test_forged_frames.py",
    "test_descriptors.py",
    "test_native_ends.py",
    "test_lost_guests.py",
)


@pytest.fixture
def user() -> Iterator[NormalUser]:
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine refuses mount namespaces")
    with normal_user() as made:
        yield made


def test_the_user_is_an_ordinary_one(user: NormalUser) -> None:
    script = "id -u; grep CapPrm /proc/self/status; echo x > $FOOTHOLD_CACHE/x || echo refused"
    done = subprocess.run(
        user.command("sh", "-c", script), env=user.environment, cwd=ROOT, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(NUMBER), "CapPrm:", "0" * 16, "refused"]


@pytest.mark.parametrize("guest", ATTACKS)
def test_attacks_fail_for_an_ordinary_user(guest: str, user: NormalUser, builder: Builder) -> None:
    chosen, at_least = ATTACKS[guest]
    for image in ("root", *catalogue(builder)[guest].images):
        builder.image(image)  # the user cannot build it
    command = user.command(
        sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", chosen,
        *(f"tests/hostile/{name}" for name in FILES),
    )  # fmt: skip
    done = subprocess.run(
        command, env=user.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= at_least, done.stdout


@pytest.mark.parametrize(
    ("setting", "words", "code", "told"),
    [
        ("", ["report", "-o", "{closed}/x.html"], 2, "--output: {closed}/x.html cannot be written"),
        ("", ["images", "reproduce", "root"], 3, "this user cannot write to the image store"),
        ("FOOTHOLD_RUNS", ["run", "--guest", "native"], 3, "set FOOTHOLD_RUNS"),
        ("FOOTHOLD_CACHE", ["run", "--guest", "native"], 3, "image store with FOOTHOLD_CACHE"),
    ],
)
def test_a_directory_that_is_closed_to_the_user_is_named(
    setting: str, words: list[str], code: int, told: str, user: NormalUser, builder: Builder
) -> None:
    builder.image("root")
    closed = user.home.parent / "closed"
    closed.mkdir(mode=0o700)
    chosen = {setting: str(closed / "x")} if setting else {}
    done = subprocess.run(
        user.command(
            sys.executable, "-m", "foothold_lab.harness.cli",
            *(word.format(closed=closed) for word in words),
        ),
        env=user.environment | chosen, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert told.format(closed=closed) in done.stderr
    assert "traceback" not in done.stderr
