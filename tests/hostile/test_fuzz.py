"""Each fuzz target with some inputs, the same ones each time; fuzz.py runs them for longer."""

from __future__ import annotations

import pytest

from tests.hostile.targets import TARGETS, fuzz

pytestmark = pytest.mark.thorough

INPUTS = {"package": 30, "run-directory": 10, "elf": 100, "strace": 60, "emulator": 60, "plan": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_answered_in_words(name: str) -> None:
    for seed in range(INPUTS.get(name, 200)):
        fuzz(name, seed)
