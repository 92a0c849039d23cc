"""The C sources: layers of the agent, format, and what they share with the harness."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.transport.frames import FrameKind
from foothold_lab.images import probes
from tests.agent.compiler import AGENT, HERE

pytestmark = pytest.mark.agent

ROW = re.compile(r"^\| (\d+) \| (.+?) \|", re.MULTILINE)
README = (AGENT / "README.md").read_text()
LAYERS = {
    module: int(number)
    for number, modules in ROW.findall(README)
    for module in re.findall(r"`(\w+)`", modules)
}
SOURCES = sorted(AGENT.glob("*.[ch]"))
FORMATTED = (AGENT, HERE, probes.SOURCES, probes.CALL_SOURCES)


def test_the_readme_has_every_module_in_one_layer() -> None:
    assert set(LAYERS) == {source.stem for source in SOURCES}
    listed = [
        name for _, modules in ROW.findall(README) for name in re.findall(r"`(\w+)`", modules)
    ]
    assert len(listed) == len(LAYERS)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_source_includes_only_lower_layers(source: Path) -> None:
    included = re.findall(r'^#include "(\w+)\.h"', source.read_text(), re.MULTILINE)
    above = [
        name for name in included if name != source.stem and LAYERS[name] >= LAYERS[source.stem]
    ]
    assert not above, f"{source.name} includes {above}"


@pytest.mark.parametrize("source", sorted(AGENT.glob("*.c")), ids=lambda source: source.name)
def test_a_source_includes_its_own_header_first(source: Path) -> None:
    if source.stem == "main":
        assert not source.with_suffix(".h").exists()
        return
    included = re.findall(r"^#include (.+)", source.read_text(), re.MULTILINE)
    assert included[0] == f'"{source.stem}.h"'


def test_frame_kinds_are_those_of_the_harness() -> None:
    enum = (AGENT / "frames.h").read_text().partition("enum frame_kind {")[2].partition("};")[0]
    agent = {name: letter.encode() for name, letter in re.findall(r"FRAME_(\w+) = '(.)'", enum)}
    assert agent == {kind.name: kind.value for kind in FrameKind}


def test_no_allocation_is_unchecked() -> None:
    """Only util.c calls the allocator of libc, and it checks every result."""
    call = re.compile(r"\b(?:malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf)\(")
    for source in SOURCES:
        if source.name != "util.c":
            assert not call.search(source.read_text()), source.name


def test_the_sources_are_formatted() -> None:
    tool = Path(sys.executable).with_name("clang-format")
    if not tool.exists():
        pytest.skip("clang-format is not installed: pip install -e '.[lint]'")
    done = subprocess.run(
        [
            tool,
            "--dry-run",
            "--Werror",
            *(each for folder in FORMATTED for each in sorted(folder.glob("*.[ch]"))),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
