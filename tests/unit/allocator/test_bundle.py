import json
import subprocess
import sys
import zipfile
import zipimport
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from allocator import boot, bundle


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "allocator.pyz"
    bundle.write(path)
    return path


def run(archive: Path, *argv: str, python: str = sys.executable) -> list[dict]:
    done = subprocess.run(
        [python, "-I", "-S", archive, "--workload", "none", *argv],
        capture_output=True, check=False, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_runs_from_anywhere(archive: Path) -> None:
    assert run(archive, "--kernel", "model")[-1]["event"] == "end"
    assert run(archive)[0]["kernel"] == "real"


def test_the_same_sources_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    bundle.write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == archive.read_bytes()


def test_it_is_an_uncompressed_zip_of_what_is_deployed(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        assert names == sorted(names)
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    deployed = {f"allocator/{name}.py" for name in bundle.MODULES}
    assert deployed <= set(names)
    assert "allocator/predict.py" not in names and "allocator/bundle.py" not in names


def test_nothing_of_the_host_is_left_out_by_mistake() -> None:
    there = {path.stem for path in Path(bundle.__file__).parent.glob("*.py")}
    assert there == {*bundle.MODULES, "boot", "bundle", "predict"}


def test_without_bytecode_for_this_python_the_sources_serve(archive: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped.pyz"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(stripped, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".pyc") and "bytecode" not in entry.filename:
                new.writestr(entry, old.read(entry))
    assert run(stripped)[-1]["event"] == "end"


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_other_pythons_run_it(archive: Path, minor: int) -> None:
    import shutil

    python = shutil.which(f"python3.{minor}")
    if (
        python is None
        or subprocess.run([python, "-V"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"no Python 3.{minor} here")
    assert run(archive, "--kernel", "model", python=python)[0]["python"].startswith(f"3.{minor}.")


def test_boot_imports_from_the_bytecode(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importer = zipimport.zipimporter(str(archive))
    monkeypatch.setattr("sys.meta_path", list(sys.meta_path))
    assert boot.install(importer, MAGIC_NUMBER, ModuleSpec)
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
    assert not boot.install(importer, b"\0\0\0\0", ModuleSpec)


def test_bytecode_of_other_pythons_goes_in_beside_our_own(tmp_path: Path) -> None:
    bundle.write_bytecode(tmp_path)
    [own] = tmp_path.glob("bytecode-*")
    other = own.rename(tmp_path / "bytecode-0badc0de")
    bundle.write(tmp_path / "a.pyz", [other])
    with zipfile.ZipFile(tmp_path / "a.pyz") as opened:
        assert opened.read(other.name) == opened.read(own.name) == other.read_bytes()
    importer = zipimport.zipimporter(str(tmp_path / "a.pyz"))
    assert bytes.fromhex("0badc0de") != MAGIC_NUMBER
    before = list(sys.meta_path)
    try:
        assert boot.install(importer, bytes.fromhex("0badc0de"), ModuleSpec)
    finally:
        sys.meta_path[:] = before


def test_the_start_needs_few_modules(archive: Path) -> None:
    """What the standard library would drag in, were one not careful."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", archive, "--workload", "none"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"argparse", "dataclasses", "typing", "enum", "re", "json", "inspect", "collections"}
    assert "allocator.malloc" in loaded
    if sys.version_info < (3, 12):
        assert not loaded & heavy
    assert not loaded & (heavy - {"collections"})
    assert not loaded & {"allocator.modelkernel", "allocator.trace", "allocator.sparsearena"}
