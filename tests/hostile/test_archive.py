"""Archives of images: equal twice, usable at any path, and refused if anything is not as listed."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import zstandard

from foothold_lab.images import archive, elf
from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError, NoSpace
from foothold_lab.images.manifest import File, Manifest
from foothold_lab.images.progress import no_progress
from foothold_lab.images.recipes import Materials, Recipe
from foothold_lab.images.transfer import AnotherVersion, Transfer, pack, pack_some, unpack

PROGRAM = Path("/bin/true").resolve()
pytestmark = pytest.mark.skipif(
    elf.machine(PROGRAM) != elf.X86_64 or not elf.interpreter(PROGRAM),
    reason="/bin/true is not a dynamic program of x86-64",
)
Members = list[tuple[tarfile.TarInfo, bytes]]


def make_tool(materials: Materials, out: Path) -> None:
    """A program with its loader and libc beside it, at absolute paths, as tools are made."""
    loader = Path(elf.interpreter(PROGRAM) or "").resolve()
    (out / "lib").mkdir()
    for library in (
        loader,
        *elf.closure([PROGRAM], [loader.parent, Path("/lib/x86_64-linux-gnu")]),
    ):
        shutil.copy2(library.resolve(), out / "lib" / library.name)
    shutil.copy2(PROGRAM, out / "true")
    library_path = materials.target / "lib"
    elf.relocate(out / "true", str(library_path / loader.name), str(library_path))


def make_root(_: Materials, out: Path) -> None:
    (out / "etc/deep").mkdir(parents=True)
    (out / "etc/deep/file").write_text("text")
    (out / "etc/deep/holes").write_bytes(b"\0" * (3 << 20) + b"end")
    (out / "link").symlink_to("/etc/deep")
    (out / "empty").touch(0o600)
    (out / "etc/deep").chmod(0o555)


def make_disk(materials: Materials, out: Path) -> None:
    (out / "disk").write_bytes(b"x" * 5000 + str(materials.images["tool"]).encode())


RECIPES = {
    each.name: each
    for each in (
        Recipe(name="tool", make=make_tool, space=0),
        Recipe(name="root", make=make_root, needs=("tool",), space=0),
        Recipe(name="disk", make=make_disk, needs=("tool",), space=0),
    )
}


def builder(root: Path, recipes: dict[str, Recipe] = RECIPES) -> Builder:
    return Builder(Cache(root), recipes=recipes)


def take(into: Builder, file: Path, sha256: str = "") -> Transfer:
    return unpack(into, file, "1", no_progress, sha256)


@pytest.fixture
def store(tmp_path: Path) -> Builder:
    one = builder(tmp_path / "store")
    for name in RECIPES:
        one.image(name)
    return one


@pytest.fixture
def packed(tmp_path: Path, store: Builder) -> Path:
    pack(store, tmp_path / "images.tar.zst", "1")
    return tmp_path / "images.tar.zst"


def test_two_archives_of_the_same_images_are_equal(
    tmp_path: Path, store: Builder, packed: Path
) -> None:
    done = pack(store, tmp_path / "again", "1")
    assert packed.read_bytes() == (tmp_path / "again").read_bytes()
    assert take(builder(tmp_path / "other"), packed, done.sha256).sha256 == done.sha256


def test_the_store_at_the_same_path_has_all_images_again(store: Builder, packed: Path) -> None:
    # only root can remove the contents of a directory without permissions
    subprocess.run(["chmod", "-R", "u+rwX", store.cache.root / "store"], check=True)
    shutil.rmtree(store.cache.root / "store")
    assert take(builder(store.cache.root), packed).left_out == ()
    assert all(builder(store.cache.root).ready(name) for name in RECIPES)
    assert [entry.all_damage() for entry in store.cache.entries()] == [[], [], []]


def test_a_store_at_another_path_has_programs_that_run(
    tmp_path: Path, store: Builder, packed: Path
) -> None:
    shutil.move(store.cache.root, tmp_path / "gone")
    other = builder(tmp_path / "a much longer path of another user/cache")
    done = take(other, packed)
    assert done.images == ("root", "tool")
    assert done.left_out == ("disk",)  # it contains the path of the tool
    subprocess.run([other.image("tool") / "true"], check=True)
    assert other.ready("root")
    assert [entry.all_damage() for entry in other.cache.entries()] == [[], []]
    holes = other.image("root") / "etc/deep/holes"
    assert holes.stat().st_blocks * 512 < 1 << 20
    assert (other.image("root") / "link").readlink() == Path("/etc/deep")


def test_packs_the_named_images_and_what_they_need(tmp_path: Path, store: Builder) -> None:
    assert pack(store, tmp_path / "root", "1", ["root"]).images == ("root", "tool")


def test_packs_the_named_images_alone_for_one_that_has_what_they_need(
    tmp_path: Path, store: Builder
) -> None:
    other = builder(tmp_path / "other")
    tool = other.image("tool")
    assert other.missing(["root"]) == ["root"]
    assert set(builder(tmp_path / "third").missing(["root"])) == {"root", "tool"}
    with (tmp_path / "pack").open("xb") as out:
        done = pack_some(store, out, "1", ["root", "unknown"])
    assert done.images == ("root",)
    assert take(other, tmp_path / "pack", done.sha256).images == ("root",)
    assert builder(tmp_path / "other").missing(["root"]) == []
    assert other.image("tool") == tool
    with pytest.raises(ImageError, match="has no images"):
        pack_some(store, io.BytesIO(), "1", ["unknown"])


def test_a_moved_store_is_refused_and_packing_it_corrects_it(
    tmp_path: Path, store: Builder
) -> None:
    place = tmp_path / "elsewhere"
    shutil.move(store.cache.root, place)
    with pytest.raises(ImageError, match=r"was built at .*store, and its programs") as error:
        builder(place).image("tool")
    assert "images pack" in error.value.remedy
    pack(builder(place), tmp_path / "file", "1")
    take(builder(place), tmp_path / "file")
    subprocess.run([builder(place).image("tool") / "true"], check=True)


def test_a_store_can_be_used_by_another_path(tmp_path: Path, store: Builder) -> None:
    (tmp_path / "link").symlink_to(store.cache.root)
    assert all(builder(tmp_path / "link").ready(name) for name in RECIPES)


def test_an_archive_of_another_version_is_refused(tmp_path: Path, packed: Path) -> None:
    changed = {**RECIPES, "tool": replace(RECIPES["tool"], sources=(Path(__file__),))}
    with pytest.raises(AnotherVersion, match="packed by Foothold 1"):
        take(builder(tmp_path / "other", changed), packed)


def test_a_full_disk_is_refused(
    tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: full)
    with pytest.raises(NoSpace):
        take(builder(tmp_path / "other"), packed)


def test_a_wrong_sum_is_refused(tmp_path: Path, packed: Path) -> None:
    with pytest.raises(ImageError, match="its SHA256 is"):
        take(builder(tmp_path / "other"), packed, "0" * 64)
    assert not list((tmp_path / "other").glob("store/*"))


def members(file: Path) -> Members:
    data = zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [
            (each, reader.read() if (reader := tar.extractfile(each)) and each.isreg() else b"")
            for each in tar
        ]


def rewrite(file: Path, changed: Members) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in changed:
            tar.addfile(info, io.BytesIO(data))
    file.write_bytes(zstandard.ZstdCompressor().compress(out.getvalue()))


def index(found: Members, end: str) -> int:
    return next(n for n, (info, _) in enumerate(found) if info.name.endswith(end))


def edit_manifest(found: Members, edit: Callable[[Manifest], Manifest]) -> None:
    """Change the manifest of the image `root`, with the right sum."""
    at = next(
        n for n, (info, _) in enumerate(found)
        if info.name.startswith("root-") and info.name.endswith("manifest.json")
    )  # fmt: skip
    listed = msgspec.json.decode(found[at][1], type=Manifest)
    data = msgspec.json.encode(edit(listed).sealed())
    found[at][0].size = len(data)
    found[at] = (found[at][0], data)


def with_file(path: str) -> Callable[[Members], None]:
    """List one more file, `path`."""
    file = File(0, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0o100644)
    return lambda found: edit_manifest(
        found, lambda listed: replace(listed, files={**listed.files, path: file})
    )


def with_mode(mode: int) -> Callable[[Members], None]:
    def edit(listed: Manifest) -> Manifest:
        empty = replace(listed.files["empty"], mode=mode)
        return replace(listed, files={**listed.files, "empty": empty})

    return lambda found: edit_manifest(found, edit)


def change(end: str, **attributes: object) -> Callable[[Members], None]:
    """Change the header of a member."""

    def edit(found: Members) -> None:
        for name, value in attributes.items():
            setattr(found[index(found, end)][0], name, value)

    return edit


def contents(end: str, data: bytes) -> Callable[[Members], None]:
    def edit(found: Members) -> None:
        at = index(found, end)
        found[at] = (found[at][0], data)

    return edit


def add(at: int, name: str) -> Callable[[Members], None]:
    return lambda found: found.insert(at % (len(found) + 1), (tarfile.TarInfo(name), b""))


HOSTILE: dict[str, Callable[[Members], None]] = {
    "absolute path": with_file("/tmp/foothold-escaped"),
    "path to the parent": with_file("etc/../../../escaped"),
    "file below a link": with_file("link/escaped"),
    "file that is not there": with_file("zzz"),
    "the manifest itself": with_file("manifest.json"),
    "file below a file": with_file("empty/file"),
    "program that changes its user": with_mode(0o104755),
    "device": with_mode(0o020644),
    "another name": change("/empty", name="root/escaped"),
    "device in the tar": change("/empty", type=tarfile.CHRTYPE),
    "hard link": change("/empty", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "another target": change("/link", linkname="/etc/shadow"),
    "link instead of a directory": change("/etc", type=tarfile.SYMTYPE, linkname="/tmp"),
    "long header": change("/empty", pax_headers={"comment": "x" * (2 << 20)}),
    "other contents": contents("/file", b"evil"),
    "one more member": add(-1, "more"),
    "one more member before": add(2, "more"),
    "no contents": lambda found: found.pop(0) and None,
    "half": lambda found: found.__delitem__(slice(len(found) // 2, None)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_adds_nothing(
    name: str, tmp_path: Path, packed: Path
) -> None:
    found = members(packed)
    HOSTILE[name](found)
    rewrite(packed, found)
    other = tmp_path / "other"
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ImageError, match="the archive is refused"):
        take(builder(other), packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "other"])
    assert not list(other.glob("store/*"))
    assert not list(other.glob("building/*"))
    assert not Path("/tmp/foothold-escaped").exists()


@pytest.mark.parametrize("data", [b"", b"garbage" * 99, b"\x28\xb5\x2f\xfd" + b"\0" * 99])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(ImageError, match="the archive is refused"):
        take(builder(tmp_path / "other"), file)


def test_a_cut_archive_is_refused(tmp_path: Path, packed: Path) -> None:
    data = packed.read_bytes()
    packed.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(ImageError, match="the archive is refused"):
        take(builder(tmp_path / "other"), packed)
