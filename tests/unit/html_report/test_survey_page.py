"""The page of a survey: what it says, and that nothing of a subject becomes markup."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from foothold_lab.harness.cli import main
from foothold_lab.harness.model.verdict import Outcome
from foothold_lab.harness.survey import SubjectInfo, read
from foothold_lab.harness.survey_page import render
from foothold_lab.harness.survey_page.view import columns_of, rows_of
from tests.unit.html_report import surveys


def test_each_field_has_a_word_evidence_and_a_command(tmp_path: Path) -> None:
    survey = read(surveys.write(tmp_path))
    columns = columns_of(survey)
    assert [view.label for _, view in columns] == [
        "native", "native, wx=refused", "native, rlimit_as=1G", "qemu-arm64-16k",
    ]  # fmt: skip
    assert columns[-1][1].machine == "aarch64, pages of 16 KiB"
    go, jit = rows_of(survey, columns)
    assert [each and each.word for each in go.fields] == ["starts", "starts", "moved", "starts"]
    assert [each and each.word for each in jit.fields] == ["starts", "dies", "dies", None]
    died = jit.fields[1]
    assert died
    assert died.sentence == (
        "The kernel refuses mprotect(0x7f0000000000, 4096, PROT_READ|PROT_EXEC) = -1 EACCES. "
        "It dies with status 1 and prints “no code.”"
    )
    assert died.command == "foothold run --guest native --limit wx=refused --subject node-24"


def test_the_markdown_has_a_column_for_a_setting_and_none_for_a_size(tmp_path: Path) -> None:
    assert main.main(["survey", "--from-run", str(surveys.write(tmp_path))]) == 0
    page = surveys.markdown_of(tmp_path)
    assert "### x86_64, pages of 4 KiB\n\n|  | native | native, wx=refused |\n" in page
    assert "### aarch64, pages of 16 KiB\n\n|  | qemu-arm64-16k |\n" in page
    assert "* **Node.js 24**, native, wx=refused (47 bits): The kernel refuses `mprotect(" in page


def test_several_runs_make_one_page_and_the_last_one_counts(tmp_path: Path) -> None:
    first = surveys.write(tmp_path / "first")
    later = surveys.write(tmp_path / "later", guests=("native",), outcome=Outcome.STARTS)
    key = ("native", "wx=refused", "node-24")
    assert not read(first).cells[key].starts
    both = read(first, later)
    assert both.cells[key].starts
    assert set(both.guests) == {"native", "qemu-arm64-16k"}


def test_a_guest_that_did_not_boot_is_no_column(tmp_path: Path) -> None:
    survey = read(surveys.write(tmp_path))
    guests = {"native": survey.guests["native"]}
    partly = dataclasses.replace(survey, guests=guests)
    assert {view.guest for _, view in columns_of(partly)} == {"native"}
    assert b"qemu-arm64-16k" not in render(partly)


def test_the_page_is_one_file_and_shows_hostile_text_as_text(tmp_path: Path) -> None:
    survey = read(surveys.write(tmp_path))
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e"
    subjects = {
        name: SubjectInfo(title=hostile, version=hostile) for name, about in survey.subjects.items()
    }
    cells = {
        key: dataclasses.replace(seen, output_lines=(hostile,), command=("foothold", hostile))
        for key, seen in survey.cells.items()
    }
    page = render(dataclasses.replace(survey, subjects=subjects, cells=cells)).decode()
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "\u202e" not in page
    assert "default-src &#39;none&#39;" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)


def test_writes_the_page_beside_the_markdown(tmp_path: Path) -> None:
    run, page = surveys.write(tmp_path / "run"), tmp_path / "survey.html"
    assert main.main(["survey", "--from-run", str(run), "--html", str(page)]) == 0
    assert page.read_bytes() == render(read(run))


def test_the_page_names_no_path_of_the_store(tmp_path: Path) -> None:
    survey = read(surveys.write(tmp_path))
    said = (
        'cannot open "/home/ann/.cache/foothold/store/node-0123456789abcdef/bin/node": No such file'
    )
    cells = {
        key: dataclasses.replace(seen, output_lines=(said,)) for key, seen in survey.cells.items()
    }
    page = render(dataclasses.replace(survey, cells=cells)).decode()
    assert "/store/" not in page
    assert "&#34;node/bin/node&#34;: No such file" in page
