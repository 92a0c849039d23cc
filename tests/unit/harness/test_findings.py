"""The codes of findings: complete, explained, documented, and never invented."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from foothold_lab.harness.cli.findings import findings
from foothold_lab.harness.model import errors
from foothold_lab.harness.model.errors import Blame, FootholdError, GuestError, UsageError
from foothold_lab.harness.model.findings import Code, Finding, page

ROOT = Path(__file__).parents[3]


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs/findings.md").read_text()
    assert written == page(), "./foothold findings --markdown > docs/findings.md"
    for code in Code:
        assert f"| `{code}` | {code.meaning} | {code.action} |\n" in written


@pytest.mark.parametrize("code", Code)
def test_every_code_says_what_it_means_and_what_to_do(code: Code) -> None:
    assert re.fullmatch(r"[a-z]+/[a-z-]+", code.value)
    for text in (code.meaning, code.action):
        assert text[0].isupper()
        assert text.endswith(".")
        assert "|" not in text


@pytest.mark.parametrize("code", Code)
def test_every_code_is_used(code: Code) -> None:
    """A code that nothing raises explains what does not happen."""
    sources = [path.read_text() for path in (ROOT / "harness").rglob("*.py")]
    used = sum(text.count(f"Code.{code.name}") for text in sources)
    migrated = code is Code.HISTORY_NO_CODE and any(f"'{code}'" in text for text in sources)
    assert used or migrated


def test_a_code_that_does_not_exist_cannot_be_constructed() -> None:
    with pytest.raises(ValueError, match="not a valid Code"):
        Finding("plan/expectations", "no")  # type: ignore[arg-type]
    with pytest.raises(msgspec.ValidationError, match="plan/expectations"):
        msgspec.json.decode(b'{"code":"plan/expectations","text":"no"}', type=Finding)


def test_a_finding_survives_json() -> None:
    one = Finding(Code.ORACLE_PATH, "The oracle predicts `low`.")
    data = msgspec.json.encode(one)
    assert data == b'{"code":"oracle/path","text":"The oracle predicts `low`."}'
    assert msgspec.json.decode(data, type=Finding) == one


def test_the_usual_code_of_an_error_is_of_its_blame() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    raised = [each("no") for each in kinds if issubclass(each, FootholdError)]
    assert {each.blame for each in raised} == set(Blame)
    for error in raised:
        assert error.code.family == error.blame
        assert error.finding == Finding(error.code, "no")


def test_an_error_cannot_have_a_code_of_another_blame() -> None:
    assert GuestError("no", code=Code.GUEST_PANIC).code is Code.GUEST_PANIC
    with pytest.raises(ValueError, match="subject/deadline"):
        GuestError("no", code=Code.SUBJECT_DEADLINE)


def test_the_command_lists_and_explains_codes() -> None:
    run = CliRunner().invoke
    listed = run(findings).output
    assert [line.split()[0] for line in listed.splitlines()] == list(Code)
    explained = run(findings, ["guest/panic"]).output
    assert Code.GUEST_PANIC.meaning in explained
    assert Code.GUEST_PANIC.action in explained
    assert run(findings, ["--markdown"]).output == page()
    unknown = run(findings, ["guest/panics"]).exception
    assert isinstance(unknown, UsageError)
    assert "guest/panic?" in str(unknown)
