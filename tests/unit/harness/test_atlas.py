"""The table of all guests: what was measured, and nothing that was not."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.cli import atlas as cli_atlas
from foothold_lab.harness.cli import main
from foothold_lab.harness.model.facts import Cgroup, Hint
from foothold_lab.harness.model.traits import TRAITS
from tests.unit.harness.samples import facts

ATLAS = Path(__file__).parents[3] / "docs/atlas.md"
MEASURED = {
    "native": facts(),
    "uml-6.12": replace(facts(0x7F80000000), hint_beyond=Hint(0x7F80000000, 0, errno.ENOMEM)),
}


def test_guests_stand_side_by_side() -> None:
    lines = {line[:20].strip(): line for line in cli_atlas._table(MEASURED).splitlines()}
    high = r"granted \(0xf800000000\) +moved to 0x40000000 \(0xf800000000\)"
    assert re.search(high, lines["high hint"])
    assert re.search(r"47 bits, 4 +39 bits, 3", lines["width, levels"])
    assert f"refused: {os.strerror(errno.ENOMEM)}" in lines["hint beyond"]


def test_each_machine_has_a_table_of_its_own() -> None:
    more = {
        "a": replace(facts(), machine="aarch64"),
        "b": facts(),
        "c": replace(facts(0xC0000000), machine="i686", pointer_size=4),
        "d": replace(facts(0xFFFFE000), pointer_size=4),
    }
    titles = re.findall(r"^## (.*)\n\n\| \| (.*) \|$", cli_atlas._markdown(more, {}), re.MULTILINE)
    assert titles == [("aarch64", "a"), ("x86_64", "b"), ("32 bits", "c | d")]


def test_a_cgroup_is_told_with_its_limit() -> None:
    one = replace(facts(), cgroup=Cgroup(2, 64 << 20))
    none = replace(facts(), cgroup=Cgroup())
    assert re.search(r"memory cgroup +v2, 64M +none", cli_atlas._table({"a": one, "b": none}))


def test_an_errno_that_is_none_is_told_as_it_is() -> None:
    odd = replace(facts(), hint_low=Hint(0x10000000, 0, 1 << 80))
    assert TRAITS["low hint"](odd).startswith(f"refused: errno {1 << 80} ")


def test_the_page_of_a_farm_says_what_its_columns_are() -> None:
    told = "`native@NAME` is the machine of the worker NAME"
    assert told not in cli_atlas._markdown(MEASURED, {})
    assert told in cli_atlas._markdown({**MEASURED, "native@w1": facts()}, {})


def test_markdown_says_what_is_missing() -> None:
    text = cli_atlas._markdown(MEASURED, {"docker": "no Docker engine answers"})
    assert "Not measured: docker: no Docker engine answers." in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {4}


def test_the_atlas_that_is_kept_has_every_row() -> None:
    text = ATLAS.read_text()
    assert text.startswith(cli_atlas._HEAD)
    for row in TRAITS:
        assert f"\n| {row} |" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--json", "--markdown"], "--json and --markdown"), (["nowhere"], "unknown guest 'nowhere'")],
)
def test_usage(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["atlas", *words]) == 2
    assert told in capsys.readouterr().err
