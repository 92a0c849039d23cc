"""Random programs of calls in guests, compared with this machine."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from foothold_lab.harness.cli.context import FINDING, OK
from foothold_lab.harness.cli.fuzz import fuzz

DONTFORK = "map 0 1 rw memory private+fixed;write 0 1;advise 0 1 dontfork;fork 1;read 0"


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(fuzz, words, standalone_mode=False)
    assert not done.exception, done.exception
    return int(done.return_value), done.output


@pytest.mark.uml
def test_the_corpus_differs_as_is_known() -> None:
    code, text = run("--guest", "uml-7.2", "--seconds", "0")
    assert code == OK, text
    assert re.search(r"uml-7\.2: \d\d programs, 0 new differences; [1-9]\d? programs differ", text)
    assert "repaired" not in text


@pytest.mark.uml
def test_a_program_shows_what_an_old_kernel_does_with_dontfork() -> None:
    code, text = run("--guest", "uml-6.1", "--program", DONTFORK)
    assert code == FINDING
    natively, in_guest = text.split("  uml-6.1\n")
    assert "    4f: [segv code 1 addr 0 mask segv]" in natively
    assert "  * 4f: 1" in in_guest


@pytest.mark.weekly
@pytest.mark.timeout(1200)
def test_random_programs_differ_only_as_is_known() -> None:
    code, text = run(
        "--guest", "uml-6.1", "--guest", "uml-6.12", "--guest", "uml-7.2", "--seconds", "120"
    )
    assert code == OK, text
