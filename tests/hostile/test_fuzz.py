"""Each fuzz target with some inputs, the same ones each time; fuzz.py runs them for longer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.hostile.targets import TARGETS, fuzz

pytestmark = pytest.mark.thorough

INPUTS = {"package": 30, "run-directory": 10, "elf": 100, "strace": 60, "emulator": 60, "plan": 60}


# what a target needs of this machine
_NEEDS = {"package": shutil.which("dpkg-deb"), "loader": Path("/etc/ld.so.cache").exists()}


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_answered_in_words(name: str) -> None:
    if not _NEEDS.get(name, True):
        pytest.skip("no dpkg-deb or no cache of ldconfig here")
    for seed in range(INPUTS.get(name, 200)):
        fuzz(name, seed)
