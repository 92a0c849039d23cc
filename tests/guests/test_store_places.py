"""A store of images at any path of the host: its images have the same path in a UML guest, whose root is
read-only and lacks most of these directories.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOOTHOLD = (sys.executable, "-m", "foothold_lab.harness.cli")
PLAN = """
schema = 1
name = "places"
require = ["uml-6.1", "uml-7.2"]

[axes]
guests = ["uml-6.1", "uml-7.2"]
limits = ["none"]
subjects = ["luajit-hello"]

[[expect]]
subjects = ["luajit-hello"]
expect = "starts"
"""
# covers a directory of the host, in a mount namespace of the command
_COVERED = ("unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none "$1"; shift; exec "$@"', "sh")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root"
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the plan, in a file, with the plan beside it."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "places.toml").write_text(PLAN)
    build = [*FOOTHOLD, "images", "build", "--for", folder / "places.toml"]
    built = subprocess.run(build, capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in built.stdout.splitlines()]
    subprocess.run([*FOOTHOLD, "images", "pack", folder / "images.tar.zst", *names], check=True)
    return folder


@pytest.mark.parametrize(
    ("covered", "store"),
    [
        ("/home", "/home/user/.cache/foothold"),  # the guest has an empty /home
        ("/var/opt", "/var/opt/foothold"),  # and a /var with other entries
        ("/srv", "/srv/foothold"),  # and no /srv
    ],
)
def test_the_images_of_a_store_are_in_the_guest(
    covered: str, store: str, packed: Path, tmp_path: Path
) -> None:
    Path(covered).mkdir(exist_ok=True)
    script = '"$@" images unpack "$0/images.tar.zst" && "$@" run "$0/places.toml"'
    done = subprocess.run(
        [*_COVERED, covered, "sh", "-ec", script, packed, *FOOTHOLD],
        env={**os.environ, "FOOTHOLD_CACHE": store, "FOOTHOLD_RUNS": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 cells: 2 passed" in done.stdout
    assert "downloading" not in done.stderr
