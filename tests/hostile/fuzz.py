"""Fuzzes every target for some time: `python -m tests.hostile.fuzz SECONDS [TARGET]...`.

A failure names the seed, which `python -m tests.hostile.fuzz --seed SEED TARGET` repeats.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from random import SystemRandom

from tests.hostile.targets import TARGETS, fuzz


def fuzz_for(name: str, seconds: float) -> tuple[int, Counter[str]]:
    """Fuzz one target; return the number of inputs, and how often each failure was seen."""
    random, end = SystemRandom(), time.monotonic() + seconds
    count, failures = 0, Counter[str]()
    while time.monotonic() < end:
        seed = random.getrandbits(48)
        count += 1
        try:
            fuzz(name, seed)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            if not failures[key]:
                sys.stdout.write(f"{name}: seed {seed}: {key}: {str(error)[:200]!r}\n")
            failures[key] += 1
    return count, failures


def main() -> int:
    """Run the command line; return 1 if a target failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, help="for all targets together")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all if none is given")
    parser.add_argument("--seed", type=int, help="repeat one input")
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    if given.seed is not None:
        for name in names:
            fuzz(name, given.seed)
        return 0
    bad = 0
    for name in names:
        count, failures = fuzz_for(name, given.seconds / len(names))
        bad += bool(failures)
        sys.stdout.write(f"{name}: {count} inputs, {failures.total()} failures\n")
        sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
