"""Child processes of a build: their temporary files are below its scratch directory."""

from __future__ import annotations

import os
from pathlib import Path

from foothold_lab.images import processes

SHOW = ["sh", "-c", 'echo "$TMPDIR $GIVEN"']


def test_temporary_files_are_made_in_the_scratch_directory(tmp_path: Path) -> None:
    assert processes.run(SHOW, scratch=tmp_path).stdout == f"{tmp_path} \n"
    environment = {**os.environ, "GIVEN": "value"}
    assert processes.run(SHOW, scratch=tmp_path, env=environment).stdout == f"{tmp_path} value\n"


def test_without_a_scratch_directory_the_environment_is_unchanged() -> None:
    environment = {**os.environ, "TMPDIR": "/elsewhere", "GIVEN": ""}
    assert processes.run(SHOW, env=environment).stdout == "/elsewhere \n"
