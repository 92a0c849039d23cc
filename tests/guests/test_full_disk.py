"""A disk that fills up while images are built: told, with the remedy, and nothing half is left."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.guests.host_probe import probe_host

SCRIPT = """
mount -t tmpfs -o size=24m none "$1" && export FOOTHOLD_CACHE="$1"
"$2" -m foothold_lab.harness.cli images build root
echo "status $?"
find "$1/store" "$1/building" -mindepth 1 2>/dev/null | head -3
"""


@pytest.mark.skipif(probe_host().namespaces != 0, reason="this host refuses namespaces")
@pytest.mark.skipif(not shutil.which("mount"), reason="no mount here")
def test_no_space_left(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert "status 3" in done.stdout, done.stdout + done.stderr
    assert done.stdout.strip().endswith("status 3"), "nothing half is left"
    assert "remedy: free some space" in done.stderr
    assert "Traceback" not in done.stderr
