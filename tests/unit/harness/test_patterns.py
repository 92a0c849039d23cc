"""Regular expressions of the user: what matches, what is refused, and how long it takes."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from foothold_lab.harness.evidence.program import observe_program
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.patterns import _count_parts, compile_pattern, matches
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.harness.plan.value_types import REGEX
from foothold_lab.harness.plan.vocabulary import Vocabulary
from foothold_lab.harness.transport.supervised import MOST_OUTPUT

EXPONENTIAL = "(a+)+$"  # Python's re needs 2^n steps for n letters and another character


@pytest.mark.parametrize(
    ("pattern", "text", "matching"),
    [
        ("", "anything", True),
        ("no mem", "error: no memory", True),  # a search, not a match of the whole
        ("b$", "a\nb", True),
        ("^a$", "a\nb", False),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("(?i)größe", "GRÖSSE GRÖẞE", True),
        ("(?i)ÄPFEL", "äpfel", True),
        (r"\bport \d+\b", "on port 8080!", True),
        ("[^a-z]ü", "Xü", True),
        ("^.$", "€", True),  # a character, not a byte
        (r"a(?P<digit>\d)?b", "ab", True),
        (r"^\w+$", "größe", True),
        (r"^\u00e4$", "ä", True),
        (r"\xff", "the byte \\xff as it is shown", False),  # the character ÿ
        (r"\\xff", "the byte \\xff as it is shown", True),
    ],
)
def test_searches_as_python_does(pattern: str, text: str, matching: bool) -> None:
    assert matches(pattern, text) is matching


@pytest.mark.parametrize(("pattern", "matching"), [("^b$", True), ("^a.b$", False), ("^c", True)])
def test_matches_lines_if_requested(pattern: str, matching: bool) -> None:
    assert matches(pattern, b"a\nb\nc", per_line=True) is matching


def test_matches_bytes_as_reports_show_them() -> None:
    assert matches("a.*b", b"a\xff\xfeb")
    assert matches("größe", "größe".encode())
    assert matches(r"\\xff", b"\xff")


@pytest.mark.parametrize(
    ("pattern", "feature", "remedy"),
    [
        ("a(?=b)", "a lookahead", "match the text that follows"),
        ("a(?!b)", "a negative lookahead", "may follow"),
        ("(?<=a)b", "a lookbehind", "before it"),
        ("(?<!a)b", "a lookbehind", "before it"),
        ("a\n(?=b)", "a lookahead or lookbehind", "beside it"),
        (r"(a)\1", "a backreference", "repeat what the group matches"),
        ("(?P<n>a)(?P=n)", "a backreference", "repeat what the group matches"),
        ("(?>a+)b", "an atomic group", "write (?:…)"),
        ("a++b", "a possessive repetition", "without the last +"),
        ("a{2}+b", "a possessive repetition", "without the last +"),
        ("(a)?(?(1)b|c)", "a condition", "joined by |"),
        ("a(?#comment)", "a comment", "leave it out"),
        ("(?x) a", "an unknown flag", "i, m, s and U"),
        ("(?i-s) (?sx) a", "an unknown flag", "i, m, s and U"),
        ("a{10001}", "too many parts", "smaller repetitions"),
        ("(((a{30}){30}){30}){30}", "too many parts", "smaller repetitions"),
        (r"\pL{2000}", "too many parts", "smaller repetitions"),
        (".{1000}" * 20, "too many parts", "shorter pattern"),
        (r"a\Z", r"\Z", r"write \z"),
        (r"\N{DASH}", r"\N", r"\x{E4}"),
    ],
)
def test_names_what_is_not_supported(pattern: str, feature: str, remedy: str) -> None:
    with pytest.raises(UsageError, match="is not a supported regular expression") as raised:
        compile_pattern(pattern)
    assert str(raised.value).endswith(f"it has {feature}")
    assert remedy in raised.value.remedy
    assert "docs/plans.md" in raised.value.remedy


@pytest.mark.parametrize(
    ("pattern", "replacement", "text"),
    [
        (r"ok\Z", r"ok\z", "ok"),
        (r"\N{DASH}", r"\x{2013}", "–"),
        ("a++b", "a+b", "aab"),
        ("(?>a+)b", "(?:a+)b", "aab"),
        (r"([ab])\1", "(aa|bb)", "bb"),
        ("(a)?(?(1)b|c)", "(ab|c)", "ab"),
    ],
)
def test_the_remedy_works(pattern: str, replacement: str, text: str) -> None:
    with pytest.raises(UsageError):
        compile_pattern(pattern)
    assert matches(replacement, text)


@pytest.mark.parametrize("pattern", ["(", "[", "a{2,1}", "*a", "\\", "a)", "[z-a]", "\udc80"])
def test_rejects_what_is_not_a_pattern(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a regular expression") as raised:
        compile_pattern(pattern)
    assert raised.value.remedy


def test_a_plan_rejects_a_pattern_when_it_is_read() -> None:
    for pattern in ("(", "a(?=b)"):
        with pytest.raises(UsageError, match="regular expression"):
            REGEX.parse(pattern, Vocabulary(guests={}, policies=()))
        for kind in ("dies", "says", "panics"):
            with pytest.raises(UsageError, match="regular expression"):
                Expectation.parse(f"{kind}:{pattern}")


@pytest.mark.parametrize("letters", [50, 1 << 20])
def test_an_exponential_pattern_is_matched_at_once(letters: int) -> None:
    printed = b"a" * letters + b"!"
    record = Record(argv=(), pid=7, ending=Ending(status=1), stdout=printed, stderr=b"")
    started = time.process_time()
    for ready_pattern in ("", EXPONENTIAL):
        seen = observe_program(record, ready_pattern=ready_pattern)
        assert not seen.is_as(Expectation.parse(f"dies:{EXPONENTIAL}"))
        assert not seen.is_as(Expectation.parse(f"says:{EXPONENTIAL}"))
        assert seen.is_as(Expectation.parse("dies:(a+)+!$"))
    assert not matches(EXPONENTIAL, printed, per_line=True)
    assert time.process_time() - started < 3


def test_a_hard_pattern_takes_time_in_proportion_to_the_text() -> None:
    def seconds(letters: int) -> float:
        started = time.process_time()
        assert not matches("(a|aa)+(a|aa)+$", b"a" * letters + b"!")
        return time.process_time() - started

    seconds(1000)
    assert seconds(1 << 22) < 40 * max(seconds(1 << 18), 1e-3)


def test_a_pattern_of_many_groups_is_matched_at_once() -> None:
    """To find where each of its groups matched took RE2 90 s."""
    letters = "".join(random.Random(1).choices("ab", k=100_000))
    started = time.process_time()
    assert matches("(.*a){900}b", letters)
    assert not matches("(.*a){900}c", letters)
    assert time.process_time() - started < 3


def test_a_search_that_could_take_minutes_is_refused() -> None:
    """Each of the 8,000 parts is tried at each letter: 7 s for each 120,000 letters."""
    pattern = compile_pattern("[ab]*a" + "[ab]{400}" * 10 + "c")
    letters = random.Random(1).choices("ab", k=MOST_OUTPUT)
    assert not pattern.matches("".join(letters[:1000]))
    started = time.process_time()
    with pytest.raises(UsageError, match=r"too many parts to search 4,194,304 bytes") as raised:
        pattern.matches("".join(letters))
    assert time.process_time() - started < 3
    assert "shorter pattern" in raised.value.remedy


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("", 1),
        ("abc", 3),
        (r"\x{E4}\.[^\]{9}](?P<name>a)", 5),
        ("(a(bc){3}|d?){2,10}x{4,}", 94),
        (r".\w\pL[a(b]\d", 10),
        (r"a\{9}{2}", 5),
        ("(?i:a{2})(?m)b", 3),
        ("a)b(c", 3),
        ("a{ 2 , 4 }", 4),
    ],
)
def test_counts_the_parts_of_a_pattern(pattern: str, parts: int) -> None:
    assert _count_parts(pattern) == parts


@pytest.mark.parametrize("pattern", ["x" * 240, r"\bmmap: (no memory|not permitted)\b.*[0-9]{4}$"])
def test_a_usual_pattern_searches_all_output_that_is_kept(pattern: str) -> None:
    assert not matches(pattern, b"a" * MOST_OUTPUT)


def test_prints_nothing_about_a_pattern(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError):
        compile_pattern("(")
    assert capfd.readouterr() == ("", "")


def test_commands_without_a_pattern_do_not_load_the_engine() -> None:
    script = (
        "import sys; from foothold_lab.harness.plan import load_plan;"
        "from foothold_lab.harness.cli import main; sys.exit('pydantic_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
