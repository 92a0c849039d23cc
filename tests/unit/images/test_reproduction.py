"""A second build of an image is compared with the first one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from foothold_lab.images.builder import Builder
from foothold_lab.images.cache import Cache
from foothold_lab.images.recipes import Materials, Recipe
from foothold_lab.images.reproduction import Reproduction, reproduce


def make_equal(materials: Materials, out: Path) -> None:
    (out / "program").write_text(str(materials.target))
    (out / "link").symlink_to("program")


def make_random(_: Materials, out: Path) -> None:
    for name in ("contents", secrets.token_hex(4)):
        (out / name).write_text(secrets.token_hex(4))
    (out / "directory").mkdir()
    (out / "directory/same").write_text("same")


def rebuilt(root: Path, recipe: Recipe) -> tuple[Reproduction, Path]:
    builder = Builder(Cache(root), recipes={recipe.name: recipe})
    image = builder.image(recipe.name)
    [found] = reproduce(builder, [recipe.name])
    assert [each.path for each in builder.cache.entries()] == [image]
    assert not any((root / "building").iterdir())
    return found, image


def test_equal_builds_have_no_differences(tmp_path: Path) -> None:
    found, image = rebuilt(tmp_path, Recipe(name="equal", make=make_equal, space=0))
    assert (found.name, found.files, found.differences) == ("equal", 2, ())
    assert (image / "program").read_text() == str(image)


def test_names_what_differs(tmp_path: Path) -> None:
    found, image = rebuilt(tmp_path, Recipe(name="random", make=make_random, space=0))
    [own] = [path.name for path in image.iterdir() if len(path.name) == 8 and path.is_file()
             and path.name != "contents"]  # fmt: skip
    assert own in found.differences
    assert "contents" in found.differences
    assert "directory" not in found.differences
    assert "directory/same" not in found.differences
    assert len(found.differences) == 3


def test_names_a_file_with_another_mode(tmp_path: Path) -> None:
    modes = iter((0o755, 0o644))

    def make(_: Materials, out: Path) -> None:
        (out / "file").write_text("")
        (out / "file").chmod(next(modes))

    found, _ = rebuilt(tmp_path, Recipe(name="mode", make=make, space=0))
    assert found.differences == ("file",)


def test_reads_the_files_in_the_store(tmp_path: Path) -> None:
    """Damage that keeps size and time is not in the manifest."""
    builder = Builder(
        Cache(tmp_path), recipes={"equal": Recipe(name="equal", make=make_equal, space=0)}
    )
    program = builder.image("equal") / "program"
    time, size = program.stat().st_mtime_ns, program.stat().st_size
    program.write_text("x" * size)
    os.utime(program, ns=(time, time))
    [found] = reproduce(builder, ["equal"])
    assert found.differences == ("program",)
