import json
import marshal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from foothold_lab.allocator import boot, bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / bundle.PACKAGE
    bundle.write(folder)
    bundle.write_bytecode(folder)
    return folder


def run(folder: Path, *argv: str, python: str = sys.executable, cwd: str = "/") -> list[dict]:
    done = subprocess.run(
        [python, "-I", "-S", folder / bundle.SCRIPT, "--workload", "none", *argv],
        capture_output=True, check=False, cwd=cwd,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_runs_from_any_directory(folder: Path) -> None:
    assert run(folder, "--kernel", "model")[-1]["event"] == "end"
    assert run(folder)[0]["kernel"] == "real"
    assert run(Path(), cwd=str(folder))[-1]["event"] == "end"


def test_the_same_sources_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    bundle.write_bytecode(tmp_path)
    [own] = tmp_path.iterdir()
    assert own.read_bytes() == (folder / own.name).read_bytes()


def test_deploys_the_listed_files(folder: Path) -> None:
    bytecode = boot.bytecode_name(MAGIC_NUMBER)
    deployed = {bundle.SCRIPT, bytecode, *(f"{name}.py" for name in bundle.MODULES)}
    assert {each.name for each in folder.iterdir()} == deployed
    assert not {"predict.py", "bundle.py"} & deployed


def test_every_module_is_either_deployed_or_host_only() -> None:
    there = {path.stem for path in Path(bundle.__file__).parent.glob("*.py")}
    assert there == {*bundle.MODULES, "boot", "bundle", "predict"}


def test_runs_from_sources_without_matching_bytecode(tmp_path: Path) -> None:
    folder = tmp_path / bundle.PACKAGE
    bundle.write(folder)
    # what else lies there is not taken for the standard library's
    (tmp_path / "posix.py").write_text("raise SystemExit(9)")
    (tmp_path / "marshal.py").write_text("raise SystemExit(9)")
    assert run(folder)[-1]["event"] == "end"
    assert not (folder / "__pycache__").exists()


def test_runs_from_bytecode_alone(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / bundle.PACKAGE
    bytecode = folder / boot.bytecode_name(MAGIC_NUMBER)
    bundle.write(alone, [bytecode], sources=False)
    assert {each.name for each in alone.iterdir()} == {bundle.SCRIPT, bytecode.name}
    assert run(alone)[-1]["event"] == "end"


def test_bytecode_has_no_docstrings(folder: Path) -> None:
    codes = marshal.loads((folder / boot.bytecode_name(MAGIC_NUMBER)).read_bytes())
    assert codes.keys() >= {"allocator", "allocator.malloc"}
    module = marshal.loads(codes["allocator.workload"])
    assert "What the subject does" not in repr(module.co_consts)


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_other_python_versions_run_it(folder: Path, minor: int) -> None:
    import shutil

    python = shutil.which(f"python3.{minor}")
    if (
        python is None
        or subprocess.run([python, "-V"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"no Python 3.{minor} here")
    first = run(folder, python=python)[0]
    assert first["python"].startswith(f"3.{minor}.")
    assert first["kernel"] == "real"


def test_boot_imports_from_the_bytecode(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.meta_path", list(sys.meta_path))
    assert boot.install(str(folder), MAGIC_NUMBER, ModuleSpec)
    finder = sys.meta_path[0]
    assert isinstance(finder, boot.Bytecode)
    assert finder.find_spec("json") is None
    spec = finder.find_spec("allocator.stats")
    assert spec is not None and spec.loader is finder
    assert finder.find_spec("allocator").submodule_search_locations == []  # type: ignore[union-attr]
    module = type(sys)("allocator.stats")
    assert finder.create_module(spec) is None
    finder.exec_module(module)
    assert module.MStats().sys == 0
    assert not boot.install(str(folder), b"\0\0\0\0", ModuleSpec)


def test_holds_bytecode_for_several_python_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.write_bytecode(tmp_path)
    [own] = tmp_path.glob("bytecode-*")
    other = tmp_path / "bytecode-0badc0de"
    other.write_bytes(own.read_bytes())
    folder = tmp_path / bundle.PACKAGE
    bundle.write(folder, [own, other])
    assert (folder / own.name).read_bytes() == (folder / other.name).read_bytes()
    monkeypatch.setattr("sys.meta_path", list(sys.meta_path))
    assert boot.install(str(folder), bytes.fromhex("0badc0de"), ModuleSpec)


def test_start_up_imports_few_modules(folder: Path) -> None:
    """Standard library modules that must not be imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", folder / bundle.SCRIPT,
         "--workload", "none"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "allocator.malloc" in loaded
    assert not loaded & {"runpy", "os", "ctypes", "typing", "enum", "re", "json", "collections"}
    assert not loaded & {"allocator.modelkernel", "allocator.trace", "allocator.sparsearena"}
