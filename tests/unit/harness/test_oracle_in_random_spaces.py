"""Seeded random address spaces (bench.oracle), and the disagreements that they have shown."""

from __future__ import annotations

import pytest

from bench.oracle import Question, compare, questions
from foothold_lab.harness.model.limits import Limits

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    ("seed", "page"), [*((seed, 4 << 10) for seed in range(4)), (4, 16 << 10), (5, 64 << 10)]
)
def test_random_address_spaces_are_predicted_alike(seed: int, page: int) -> None:
    answers = [compare(each) for each in questions(seed, 150, page)]
    assert not [each for each in answers if each.text not in ("agree", "unsupported")]
    assert sum(each.text == "agree" for each in answers) > 100


def test_the_same_seed_gives_the_same_questions() -> None:
    assert list(questions(7, 20)) == list(questions(7, 20)) != list(questions(8, 20))


@pytest.mark.parametrize(
    ("bits", "bottom_up", "policy", "limit"),
    [
        # no room for the first table
        (38, True, "before", "occupied=0x40000000-0x3ffffff000"),
        (38, True, "modern", "occupied=0x40000000-0x3ffffff000"),
        # the misplaced probe fills the hole itself
        (40, False, "grsec", "occupied=0xf80000f000-0xfffffff000"),
        # the first table is placed at the hint
        (39, True, "modern-arm64", "layout=legacy+occupied=0x10000-0x3ffffff000"),
        # the misplaced probe divides the only free range
        (33, False, "after", "occupied=0xa500000-0x1bbfff000"),
        # an ignored hint gets its address by chance
        (
            46,
            True,
            "memlimit",
            "occupied=0x2a500000-0xf800000000+hints=ignored@0x80010000-0x3fff98000000",
        ),
        # RLIMIT_AS as the runtime reads it, not what is left of it
        (47, False, "memlimit", "rlimit_as=215M"),
        (47, False, "memlimit", "rlimit_as=1222M"),
    ],
)
def test_a_former_disagreement(bits: int, bottom_up: bool, policy: str, limit: str) -> None:
    question = Question(
        bits=bits,
        pointer_size=8,
        page_size=4096,
        bottom_up=bottom_up,
        limits=Limits.parse(limit),
        commit_limit=None,
        policy=policy,
    )
    assert compare(question).text == "agree"
