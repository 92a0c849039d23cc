"""Random address spaces, predicted by the oracle and by the allocator on the model kernel.

`./foothold bench oracle [--count N] [--seed N] [--page-size SIZE]` compares N predictions (default:
100,000) and prints each disagreement as the options of `foothold predict`. The two predictions share
no code.
"""

from __future__ import annotations

import functools
import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from foothold_lab.harness import oracle
from foothold_lab.harness.model.errors import UndecidedError
from foothold_lab.harness.model.failures import Failure
from foothold_lab.harness.model.limits import Limits, Range
from foothold_lab.harness.oracle import modelled
from foothold_lab.harness.oracle.imagined import imagined_facts, under_limits

MIB = 1 << 20
GIB = 1 << 30
PAGE = 4096
PAGES = {"4K": PAGE, "16K": 16 << 10, "64K": 64 << 10}
BITS = (33, 34, 36, 38, 39, 40, 41, 42, 43, 46, 47, 48, 52, 56)
# addresses that the policies use, and at whose neighbourhood ranges begin and end
ADDRESSES = (
    0x10000, 0x2500000, 0x8500000, 0xA500000, 0x2A500000, 0x40000000, 0x80000000, 1 << 32,
    0xC0 << 32, 0x40 << 32, 0xF8 << 32, 0xF840000000, 0xF840100000, 0xFC40000000, 1 << 40,
)  # fmt: skip
BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Question:
    """One address space and one policy. `commit_limit` in bytes, if overcommit is limited."""

    bits: int
    pointer_size: int
    page_size: int
    bottom_up: bool
    limits: Limits
    commit_limit: int | None
    policy: str

    def __str__(self) -> str:
        words = ["--task-size", str(self.bits), "--policy", self.policy]
        if self.pointer_size == 4:
            words += ["--pointer-size", "4"]
        if self.page_size != PAGE:
            words += ["--page-size", f"{self.page_size >> 10}K"]
        if self.bottom_up:
            words.append("--bottom-up")
        if self.limits.named:
            words += ["--limit", str(self.limits)]
        if self.commit_limit is not None:
            words += ["--commit-limit", str(self.commit_limit)]
        return " ".join(words)


@dataclass(frozen=True)
class Answer:
    """What both predicted: `unsupported`, `agree`, or a description of the disagreement."""

    question: Question
    text: str


def questions(seed: int, count: int, page: int = PAGE) -> Iterator[Question]:
    """Yield random questions about kernels with that page, in bytes; the same seed gives the same ones."""
    chance = random.Random(seed)  # not for cryptography
    for _ in range(count):
        pointer_size = chance.choice((8, 8, 8, 4))
        bits = chance.choice(BITS) if pointer_size == 8 else chance.choice((30, 31, 32))
        policies = oracle.POLICIES if pointer_size == 8 else oracle.NARROW
        limits = _limits(chance, bits, page)
        commits = limits.overcommit == 2
        yield Question(
            bits=bits,
            pointer_size=pointer_size,
            page_size=page,
            bottom_up=chance.random() < 0.5,
            limits=limits,
            commit_limit=chance.randrange(8 * MIB, GIB, PAGE) if commits else None,
            policy=chance.choice(list(policies)),
        )


def _limits(chance: random.Random, bits: int, page: int) -> Limits:
    limits = Limits()
    if chance.random() < 0.35:
        largest = chance.choice((64 * MIB, 256 * MIB, 1300 * MIB, 4 * GIB))
        limits = replace(limits, rlimit_as=chance.randrange(16 * MIB, largest, PAGE))
    if chance.random() < 0.15:
        limits = replace(limits, rlimit_data=chance.randrange(6 * MIB, 128 * MIB, PAGE))
    if chance.random() < 0.1:
        limits = replace(limits, overcommit=2)
    if chance.random() < 0.1:
        limits = replace(limits, legacy_layout=True)
    if chance.random() < 0.5:
        limits = replace(limits, occupied=_ranges(chance, bits, page))
    if chance.random() < 0.15:
        start = _address(chance, bits, page)
        limits = replace(
            limits, hints_ignored=Range(start, max(start, _address(chance, bits, page)) + page)
        )
    if chance.random() < 0.15:
        errno = chance.choice(("ENOMEM", "EPERM", "EINVAL"))
        limits = replace(limits, fail=(Failure("hinted", chance.randint(1, 4), errno),))
    return limits


def _ranges(chance: random.Random, bits: int, page: int) -> tuple[Range, ...]:
    """Return one to three ranges that do not overlap."""
    found: list[Range] = []
    for _ in range(chance.randint(1, 3)):
        ends = sorted((_address(chance, bits, page), _address(chance, bits, page)))
        each = Range(ends[0], max(ends[1], ends[0] + page))
        if not any(each.start < other.end and other.start < each.end for other in found):
            found.append(each)
    return tuple(sorted(found))


def _address(chance: random.Random, bits: int, page: int) -> int:
    """Return an address in the space, often near one that a policy uses."""
    end = (1 << bits) - page
    near = [each for each in ADDRESSES if each < end] + [end - GIB if end > 2 * GIB else end // 2]
    base = chance.choice(near)
    shift = chance.choice((0, 0, 0, page, 64 << 10, MIB, 7 * MIB, 64 * MIB, 640 * MIB, 17 * GIB))
    if chance.random() < 0.1:
        base, shift = chance.randrange(0x10000, end, page), 0
    address = base + chance.choice((-1, 1)) * shift
    return min(max(address, 0x10000), end - page) & ~(page - 1)


def compare(question: Question) -> Answer:
    """Predict in both ways."""
    facts = imagined_facts(
        (1 << question.bits) - question.page_size,
        question.pointer_size,
        question.page_size,
        bottom_up=question.bottom_up,
    )
    facts = under_limits(facts, question.limits, question.commit_limit)
    process = replace(
        oracle.FORMS[question.pointer_size].process,
        unsure=0,
        low=modelled.low_arena(question.pointer_size),
    )
    try:
        predicted = oracle.predict(facts, question.limits, question.policy, process)
    except UndecidedError:
        return Answer(question, "unsupported")
    model = modelled.expectation(modelled.run(question.policy, facts, question.limits, process))
    if predicted.agrees(model):
        return Answer(question, "agree")
    return Answer(question, f"oracle: {predicted} ({predicted.reason}); model: {model}")


def _batch(page: int, seed: int) -> list[Answer]:
    return [compare(each) for each in questions(seed, BATCH, page)]


def main(count: int, seed: int, page_size: str) -> int:
    """Compare the predictions. Returns 1 if there is a disagreement."""
    counts: Counter[str] = Counter()
    seeds = range(seed, seed + -(-count // BATCH))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for answers in pool.map(functools.partial(_batch, PAGES[page_size]), seeds):
            for answer in answers:
                known = answer.text in ("agree", "unsupported")
                counts[answer.text if known else "differ"] += 1
                if not known:
                    print(f"foothold predict {answer.question}\n  {answer.text}", flush=True)
    print(", ".join(f"{count} {text}" for text, count in sorted(counts.items())))
    return 1 if counts["differ"] else 0
