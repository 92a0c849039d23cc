"""The catalogue of the survey's programs, without building one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foothold_lab.harness.subjects.packaged import version
from foothold_lab.harness.subjects.survey_programs import SURVEY_PROGRAMS
from foothold_lab.images import disks, survey_programs
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.catalogue import GUESTS, RECIPES
from foothold_lab.images.debian_arch import AMD64

PAGE = Path(__file__).parents[3] / "docs/runtimes.md"


@pytest.mark.parametrize("name", SURVEY_PROGRAMS)
def test_each_has_an_image_a_disk_and_a_version(name: str, tmp_path: Path) -> None:
    this = SURVEY_PROGRAMS[name]
    image = this.port.image(this.image)
    assert {image, disks.DISK + image} <= set(RECIPES)
    empty = Builder(Cache(tmp_path), locked=True)
    assert re.fullmatch(r"\d+(\.\d+)+", version(name, empty)), version(name, empty)
    assert re.compile(this.ready_pattern)


def test_every_image_has_a_subject() -> None:
    used = {this.port.image(this.image) for this in SURVEY_PROGRAMS.values()}
    assert used == {each.name for each in survey_programs.SURVEY_PROGRAMS}


def test_the_guests_do_without_them() -> None:
    """So the first run downloads none of them."""
    assert not set(GUESTS) & set(survey_programs.RECIPES)


def test_the_page_about_runtimes_names_every_program() -> None:
    page = PAGE.read_text()
    assert all(f"`{name}`" in page for name, this in SURVEY_PROGRAMS.items() if this.port is AMD64)
