"""The start-up of a real program of Go 1.19: that of Go 1.24, but for what docs/allocator.md says."""

import json
import re

import pytest

from tests.go_trace import CASES, GOLDEN_FOLDER, expected

GO_1_19 = json.loads((GOLDEN_FOLDER / "arenas-1.19.json").read_text())
RECORDED = {case["name"]: case for case in GO_1_19["cases"]}
INDEX = re.compile(r"mmap\(G\+0x\w+, 4096, RW, FIXED\) = G\+0x\w+")


def as_go_1_19(line: str, index_bytes: int) -> str:
    """Change a call of Go 1.24 into that of Go 1.19."""
    if line == "mmap(NULL, 536870912, NONE, anywhere) = G":
        return "mmap(NULL, 8388608, NONE, anywhere) = G"
    if INDEX.fullmatch(line):
        return f"mmap(G, {index_bytes}, RW, FIXED) = G"
    return line.replace(" 68624, RW", " 2165776, RW")


def without_places(calls: list[str]) -> list[str]:
    """Leave open what the kernel decides: the place of the arena among two, and of its entries."""
    anywhere = [re.sub(r"([FH]\+)0x[0-9a-f]+", r"\1*", line) for line in calls]
    return [re.sub(r"(munmap\(H.*, )\d+", r"\1*", line) for line in anywhere]


@pytest.mark.parametrize(
    ("name", "index_bytes"),
    [("native", 4222976), ("native, 39 bits", 4210688), ("UML 6.1", 4198400)],
)
def test_differs_from_go_1_24_in_four_things(name: str, index_bytes: int) -> None:
    calls = expected(RECORDED[name], hints=128)
    of_go_1_24 = [as_go_1_19(line, index_bytes) for line in expected(CASES[name], hints=128)]
    assert without_places(calls) == without_places(of_go_1_24)
    assert calls != expected(CASES[name])


def test_an_index_of_one_bit_for_4_mib_is_committed_from_its_start() -> None:
    """`scavengeIndex.grow` of Go 1.19: the bytes up to that of the arena's chunk."""
    [line] = [each for each in RECORDED["native"]["calls"] if "mmap(G" in each]
    chunk = (0xC000000000 + (1 << 47)) >> 22
    assert f"{-(-(chunk // 8 + 1) // 4096) * 4096}" in line
