"""The libraries of a program, as its loader finds them; the loader of this machine is the reference."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from foothold_lab.images.elf_file import ElfError, read_elf
from foothold_lab.images.library_search import (
    MissingLibraryError,
    SearchRoot,
    find_libraries,
    resolve_beneath,
)
from foothold_lab.images.loader_cache import Entry, LoaderCache

needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="it compiles programs")
TRUE = Path(shutil.which("true") or "/bin/true").resolve()


def loader_of(program: Path) -> str:
    headers = read_elf(program)
    assert headers
    return headers.interpreter


def listed(program: Path, environment: Mapping[str, str] = {}) -> set[str]:
    """Return what the loader of this machine finds."""
    loader = loader_of(program)
    done = subprocess.run(
        [loader, "--list", str(program)], capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    places = (line.strip().rpartition(" => ")[2] for line in done.stdout.splitlines())
    found = {os.path.normpath(each.rpartition(" (")[0]) for each in places if each.startswith("/")}
    return {loader, *found}


def found_here(program: Path, environment: Mapping[str, str] = {}) -> set[str]:
    where = SearchRoot(loader=loader_of(program), environment=environment)
    return set(find_libraries(program, where).files) - {"/etc/ld.so.cache"}


def programs_of_this_machine() -> Iterator[Path]:
    for path in sorted(Path("/usr/bin").iterdir()):
        if path.is_file() and not path.is_symlink():
            headers = read_elf(path)
            if headers and headers.interpreter:
                yield path


def test_200_programs_have_the_libraries_that_the_loader_finds() -> None:
    programs = list(itertools.islice(programs_of_this_machine(), 200))
    # busybox is one program, and may be static: then Python is the only one with a loader
    assert len(programs) > 50 or "ld-musl" in loader_of(programs[0])
    differ = {each: (found_here(each), listed(each)) for each in programs}
    assert {each: sets for each, sets in differ.items() if sets[0] != sets[1]} == {}


class Compiled:
    """Programs and libraries that are compiled for a test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "empty.c").write_text("int main(void) { return 0; }\n")

    def library(self, name: str, *flags: str) -> Path:
        out = self.directory / name
        out.parent.mkdir(parents=True, exist_ok=True)
        soname = f"-Wl,-soname,{out.name}"
        self.compile(out, "-shared", "-fPIC", "-nostdlib", soname, *flags)
        return out

    def program(self, name: str, *flags: str | Path) -> Path:
        out = self.directory / name
        out.parent.mkdir(parents=True, exist_ok=True)
        self.compile(out, *map(str, flags))
        return out

    def compile(self, out: Path, *flags: str) -> None:
        source = str(self.directory / "empty.c")
        argv = ["gcc", "-o", str(out), source, "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]
        subprocess.run([*argv, *flags], check=True)


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    return Compiled(tmp_path.resolve())


RPATH, RUNPATH = "-Wl,--disable-new-dtags", "-Wl,--enable-new-dtags"


@needs_compiler
@pytest.mark.parametrize("kind", [RPATH, RUNPATH], ids=["rpath", "runpath"])
@pytest.mark.parametrize("path", ["$ORIGIN/../lib", "${ORIGIN}/../$LIB/../lib"])
def test_a_run_path_is_searched(compiled: Compiled, kind: str, path: str) -> None:
    lib = compiled.library("app/lib/libown.so")
    # $LIB is `lib/TRIPLET` in Debian: the program stands where the path leads back to it
    library = Path(loader_of(TRUE)).resolve().parent.relative_to("/usr")
    (compiled.directory / "app" / library).mkdir(parents=True, exist_ok=True)
    (compiled.directory / "app" / library / "../lib").mkdir(exist_ok=True)
    shutil.copy(lib, compiled.directory / "app" / library / "../lib" / lib.name)
    program = compiled.program("app/bin/prog", lib, kind, f"-Wl,-rpath,{path}")
    assert found_here(program) == listed(program)
    assert any(each.endswith("/libown.so") for each in found_here(program))


@needs_compiler
def test_a_library_inherits_rpath_and_not_runpath(compiled: Compiled) -> None:
    inner = compiled.library("lib/libinner.so")
    outer = compiled.library("lib/libouter.so", str(inner))
    path = f"-Wl,-rpath,{inner.parent}"
    inherits = compiled.program("inherits", outer, RPATH, path)
    assert found_here(inherits) == listed(inherits)
    assert str(inner) in found_here(inherits)
    direct = compiled.program("direct", outer, RUNPATH, path)
    with pytest.raises(MissingLibraryError, match=r"libouter\.so needs libinner\.so") as caught:
        find_libraries(direct, SearchRoot(loader=loader_of(direct)))
    assert (caught.value.name, caught.value.needed_by) == ("libinner.so", str(outer))
    with pytest.raises(subprocess.CalledProcessError):
        listed(direct)


@needs_compiler
def test_a_library_with_a_runpath_ignores_the_rpath_of_the_program(compiled: Compiled) -> None:
    for place in ("first", "second"):
        compiled.library(f"{place}/libinner.so")
    inner = compiled.directory / "first/libinner.so"
    outer = compiled.library(
        "lib/libouter.so", str(inner), RUNPATH, f"-Wl,-rpath,{compiled.directory}/second"
    )
    program = compiled.program(
        "prog", outer, RPATH, f"-Wl,-rpath,{outer.parent}:{compiled.directory}/first"
    )
    assert found_here(program) == listed(program)
    assert f"{compiled.directory}/second/libinner.so" in found_here(program)


@needs_compiler
def test_the_environment_of_the_program_counts(compiled: Compiled) -> None:
    for place in ("run", "env"):
        compiled.library(f"{place}/libown.so")
    extra = compiled.library("extra/libextra.so")
    run = compiled.directory / "run"
    program = compiled.program("prog", run / "libown.so", RUNPATH, f"-Wl,-rpath,{run}")
    environment = {
        "LD_LIBRARY_PATH": f"{compiled.directory}/nowhere:{compiled.directory}/env",
        "LD_PRELOAD": f"{extra} libnowhere.so",
    }
    found = found_here(program, environment)
    assert found == listed(program, environment)
    assert {str(extra), f"{compiled.directory}/env/libown.so"} <= found


@needs_compiler
def test_all_variants_for_processors_are_found(compiled: Compiled) -> None:
    """A guest may have another processor: what this machine takes is one of them."""
    plain = compiled.library("lib/libown.so")
    variants = [f"lib/glibc-hwcaps/x86-64-v{level}/libown.so" for level in (2, 3, 4)]
    for each in variants:
        compiled.library(each)
    only = compiled.library("lib/glibc-hwcaps/x86-64-v2/libonly.so")
    program = compiled.program("prog", plain, only, f"-Wl,-rpath,{plain.parent}")
    found = found_here(program)
    assert {str(plain), str(only), *(f"{compiled.directory}/{each}" for each in variants)} <= found
    assert listed(program) <= found


@needs_compiler
def test_a_variant_may_lack_what_the_library_for_all_processors_must_have(
    compiled: Compiled,
) -> None:
    inner = compiled.library("gone/libinner.so")
    plain = compiled.library("lib/libown.so")
    compiled.library("lib/glibc-hwcaps/x86-64-v4/libown.so", str(inner))
    program = compiled.program("prog", plain, f"-Wl,-rpath,{plain.parent}")
    inner.unlink()
    assert str(plain) in found_here(program)
    inner = compiled.library("gone/libinner.so")
    compiled.library("lib/libown.so", str(inner))
    inner.unlink()
    with pytest.raises(MissingLibraryError, match=r"lib/libown\.so needs libinner\.so"):
        found_here(program)


@needs_compiler
def test_libraries_of_other_machines_are_passed_over(compiled: Compiled) -> None:
    right = compiled.library("right/libown.so")
    wrong = compiled.directory / "wrong/libown.so"
    wrong.parent.mkdir()
    data = bytearray(right.read_bytes())
    data[18:20] = struct.pack("<H", 183)  # aarch64
    wrong.write_bytes(data)
    program = compiled.program("prog", right, f"-Wl,-rpath,{wrong.parent}:{right.parent}")
    assert found_here(program) == listed(program)
    assert str(wrong) not in found_here(program)
    wrong.write_text("GROUP ( libown.so )\n")  # a script of the linker
    with pytest.raises(ElfError, match=r"wrong/libown\.so is not an ELF file"):
        found_here(program)
    with pytest.raises(subprocess.CalledProcessError):
        listed(program)


@needs_compiler
def test_a_library_by_a_path_is_taken_from_there(compiled: Compiled) -> None:
    library = compiled.directory / "lib/libpath.so"
    library.parent.mkdir()
    compiled.compile(library, "-shared", "-fPIC", "-nostdlib")  # without a soname
    program = compiled.program("prog", library)
    assert found_here(program) == listed(program)
    assert str(library) in found_here(program)
    library.unlink()
    with pytest.raises(MissingLibraryError):
        found_here(program)


@needs_compiler
def test_a_loader_elsewhere_has_its_directories_in_it(compiled: Compiled) -> None:
    copy = compiled.directory / "ld.so"
    shutil.copy(Path(loader_of(TRUE)), copy)
    program = compiled.program("prog", f"-Wl,--dynamic-linker={copy}")
    assert found_here(program) == listed(program)
    where = SearchRoot(loader=str(copy))
    assert "/etc/ld.so.cache" in find_libraries(program, where).files
    own = copy.read_bytes().replace(b"/etc/ld.so.cache\0", b"/opt/ld.so.cache\0")
    copy.write_bytes(own.replace(b"x86_64-linux-gnu/\0", b"another-triplet!/\0"))
    with pytest.raises(MissingLibraryError):
        find_libraries(program, where)
    with pytest.raises(subprocess.CalledProcessError):
        listed(program)


@needs_compiler
def test_the_default_directories_can_be_switched_off(compiled: Compiled) -> None:
    program = compiled.program("prog", "-Wl,-z,nodefaultlib")
    with pytest.raises(MissingLibraryError, match=r"libc\.so"):
        found_here(program)
    with pytest.raises(subprocess.CalledProcessError):
        listed(program)


@needs_compiler
def test_musl_searches_in_its_own_way(compiled: Compiled) -> None:
    """Run paths are inherited, a file names the directories, and musl is its own libc."""
    root = compiled.directory / "root"
    own = compiled.library("root/opt/lib/libown.so")
    musl = compiled.library("root/lib/ld-musl-x86_64.so.1")
    libc = compiled.library("libc.musl-x86_64.so.1")
    # the program has the same path here and in the root
    outer = compiled.library(f"root/{compiled.directory}/lib/libouter.so", str(own))
    program = compiled.program(
        "prog", "-nostdlib", outer, libc, RUNPATH, "-Wl,-rpath,$ORIGIN/lib", "-Wl,-e,main"
    )
    where = SearchRoot(root=root, loader="/lib/ld-musl-x86_64.so.1")
    with pytest.raises(MissingLibraryError, match=r"libown\.so"):
        find_libraries(program, where)
    (root / "etc").mkdir()
    (root / "etc/ld-musl-x86_64.path").write_text("/nowhere:/opt/lib\n")
    assert find_libraries(program, where).files == {
        "/lib/ld-musl-x86_64.so.1": musl,
        f"{compiled.directory}/lib/libouter.so": outer,
        "/opt/lib/libown.so": own,
        "/etc/ld-musl-x86_64.path": root / "etc/ld-musl-x86_64.path",
    }


def test_links_stay_beneath_their_root(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "out").symlink_to("../../../../etc")
    (tmp_path / "loop").symlink_to("loop")
    assert resolve_beneath(tmp_path, "/lib/libc.so.6") == tmp_path / "usr/lib/libc.so.6"
    assert resolve_beneath(tmp_path, "/out/shadow") == tmp_path / "etc/shadow"
    assert resolve_beneath(tmp_path, "/../usr/../x") == tmp_path / "x"
    with pytest.raises(OSError) as caught:
        resolve_beneath(tmp_path, "/loop/x")
    assert caught.value.errno == errno.ELOOP
    assert not SearchRoot(loader="/ld.so", root=tmp_path).is_file("/loop/x")


def cache_of(*entries: tuple[int, bytes, bytes, int]) -> bytes:
    """Make a cache of flags, name, path and hwcap."""
    strings, table = b"", b""
    start = 48 + 24 * len(entries)
    for flags, name, path, hwcap in entries:
        places = start + len(strings), start + len(strings) + len(name) + 1
        table += struct.pack("<iIIIQ", flags, *places, 0, hwcap)
        strings += name + b"\0" + path + b"\0"
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II16x", len(entries), len(strings))
    return head.ljust(48, b"\0") + table + strings


def test_reads_the_cache_of_the_loader() -> None:
    entries = (
        (0x303, b"libx.so.1", b"/usr/lib/libx.so.1", 0),
        (0x303, b"libx.so.1", b"/usr/lib/glibc-hwcaps/x86-64-v3/libx.so.1", 1 << 62),
        (0x301, b"libx.so.1", b"/lib/of/libc5/libx.so.1", 0),
        (0x303, b"lib", b"relative", 0),
    )
    found = [
        Entry("/usr/lib/glibc-hwcaps/x86-64-v3/libx.so.1", True),
        Entry("/usr/lib/libx.so.1", False),
    ]
    data = cache_of(*entries)
    assert LoaderCache(data).find("libx.so.1") == found
    assert LoaderCache(data).find("lib") == LoaderCache(data).find("libnowhere.so") == []
    old = b"ld.so-1.7.0\0" + struct.pack("<I", 1) + bytes(12)
    assert LoaderCache(old + bytes(4) + data).find("libx.so.1") == found
    for damaged in (b"", data[:30], data[:60], b"x" + data, data[:20] + b"\xff" * 8 + data[28:]):
        assert LoaderCache(damaged).find("libx.so.1") == []
