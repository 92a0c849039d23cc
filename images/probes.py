"""Programs that ask what a kernel does: `conformance` and `call-programs`.

`conformance` has probes, whose answers are compared with the written ABI; its sources are in
images/conformance, one file for each group of probes. `call-programs` runs small programs of calls,
whose answers are compared with those of another kernel; its sources are in images/call_programs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from foothold_lab.images import compiler, processes
from foothold_lab.images.debian_arch import AMD64, ARM64, Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe

PORTS = (AMD64, ARM64)
SOURCES = Path(__file__).with_name("conformance")
CALL_SOURCES = Path(__file__).with_name("call_programs")
IMAGE = "conformance"
PROGRAM = "conformance"
CALL_PROGRAMS = "call-programs"
FLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")


_DEFINITION = re.compile(r'^(LONE_)?PROBE\(\w+,\s*"([a-z]+/[a-z0-9-]+)"', re.MULTILINE)


@functools.cache
def probe_names() -> Mapping[str, bool]:
    """Return the names of all probes, and whether a probe may end or hang its guest."""
    return {
        name: bool(alone)
        for source in sorted(SOURCES.glob("*.c"))
        for alone, name in _DEFINITION.findall(source.read_text())
    }


def make_conformance(materials: Materials, out: Path) -> None:
    """Compile each of the two into one static program."""
    clang = compiler.command(materials.images.__getitem__, materials.port)
    for program, sources in ((PROGRAM, SOURCES), (CALL_PROGRAMS, CALL_SOURCES)):
        argv = [*clang, *FLAGS, "-o", out / program, *sorted(sources.glob("*.c"))]
        done = processes.run(argv, scratch=out.parent)
        if done.returncode:
            raise ImageError(f"{program} does not compile: {done.stderr.strip()}", "report this")


def _recipe(port: Port) -> Recipe:
    sources = sorted((*SOURCES.glob("*.[ch]"), *CALL_SOURCES.glob("*.[ch]")))
    return Recipe(
        name=port.image(IMAGE),
        make=make_conformance,
        needs=compiler.needs(port),
        port=port,
        sources=(Path(__file__), Path(compiler.__file__), *sources),
        space=4 * MIB,
    )


PROBES: tuple[Recipe, ...] = tuple(map(_recipe, PORTS))
RECIPES: Mapping[str, Recipe] = {each.name: each for each in PROBES}
