"""`foothold images`: the kernels, root file systems and tools that guests are made of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.cli.context import FINDING, OK, make_builder, read_plan, report_progress
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.model.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from foothold_lab.images.builder import Builder
    from foothold_lab.images.cache import Removal

_MIB = 1 << 20
_DAY = 86400  # seconds
_SHOWN = 5  # damaged files of an image


@dataclass(frozen=True, kw_only=True)
class _Build:
    """What to build."""

    names: tuple[str, ...]
    everything: bool
    update: bool
    locked: bool
    release: str | None
    tree: Path | None
    config: Path | None
    plan: str | None

    def check(self) -> None:
        """Raise an error for options that contradict each other."""
        if self.update and self.locked:
            raise click.UsageError("--update changes the lock file, --locked forbids it")
        kernels = [each for each in (self.release, self.tree) if each is not None]
        if len(kernels) > 1:
            raise click.UsageError("--from-source and --tree name two kernels: give one")
        if self.config and not kernels:
            raise click.UsageError("--config needs --from-source or --tree")
        if self.plan is not None and (self.names or self.everything):
            raise click.UsageError("--for chooses the images: give no NAME, and not --all")
        if kernels and (self.names or self.update or self.plan):
            raise click.UsageError("--from-source and --tree build one kernel, and nothing else")


@click.group(no_args_is_help=False, short_help="Build, list and remove images of guests.")
def images() -> None:
    """Build, list and remove the images that guests are made of."""


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Also build the packaged runtimes.")
@click.option(
    "--for",
    "plan",
    metavar="PLAN",
    help="Build what a plan needs: afterwards it runs without a network.",
)
@click.option(
    "--update", is_flag=True, help="Use the newest packages of Debian, and print what changed."
)
@click.option("--locked", is_flag=True, help="Use only the package versions of the lock file.")
@click.option(
    "--from-source",
    "release",
    metavar="RELEASE",
    help="Build a UML kernel from Debian's source instead: 5.10, 6.1, 6.12 or 7.2.",
)
@click.option(
    "--tree",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIRECTORY",
    help="Build the UML kernel of your own source tree instead, which is not written to.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Append these lines to the .config of that kernel.",
)
def build(**options: Any) -> None:
    """Build images and print their paths. Images that exist are not built again.

    Without NAME, everything that guests need is built. --from-source and --tree print the path of
    the kernel, for `foothold run --uml`. A second build compiles only what has changed.
    """
    request = _Build(**options)
    request.check()
    if request.release is not None:
        click.echo(_from_source(request.release, request.config, locked=request.locked))
        return
    if request.tree is not None:
        from foothold_lab.images.kernel_build import build_tree

        builder = make_builder(locked=request.locked)
        click.echo(build_tree(request.tree, request.config, builder))
        return
    builder = make_builder(locked=request.locked)
    names = _names(request, builder)
    if request.update:
        for change in builder.update(names):
            print_text(change, err=True)
    for name in names:
        print_text(f"{name}  {builder.image(name)}")


def _names(request: _Build, builder: Builder) -> tuple[str, ...]:
    """Return the names of the images to build. Raises UsageError for an unknown one."""
    from foothold_lab.images.catalogue import GUESTS, HOST_AGENT, RECIPES

    if request.plan is not None:
        from foothold_lab.harness.plan import Selection
        from foothold_lab.harness.runner.preparation import images_of

        cells = read_plan(request.plan, builder).cells(Selection())
        return tuple(images_of(cells, builder))
    every = RECIPES if request.everything else GUESTS
    # HOST_AGENT is built with the compiler of this machine, when a guest needs it
    return _known(request.names) or tuple(each for each in every if each != HOST_AGENT)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of images. Raises UsageError for an unknown one."""
    from foothold_lab.images.catalogue import RECIPES

    for name in names:
        if name not in RECIPES:
            raise UsageError(
                f"unknown image {name!r}{did_you_mean(name, RECIPES)}",
                f"known images: {', '.join(RECIPES)}",
            )
    return names


def _from_source(release: str, config: Path | None, *, locked: bool) -> Path:
    from foothold_lab.images.catalogue import RECIPES
    from foothold_lab.images.kernel_build import SUITES, recipe

    if release not in SUITES:
        raise UsageError(
            f"unknown kernel release {release!r}{did_you_mean(release, SUITES)}",
            f"known releases: {', '.join(SUITES)}",
        )
    kernel = recipe(release, config)
    recipes = {**RECIPES, kernel.name: kernel}
    builder = make_builder(locked=locked, recipes=recipes)
    return builder.image(kernel.name) / "linux"


@images.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("names", nargs=-1, metavar="[NAME]...")
def pack(file: Path, names: tuple[str, ...]) -> None:
    """Pack images into FILE, a tar that is compressed by zstd. Prints its SHA256.

    Without NAME, all images of this version that are in the store are packed. Two packings of the
    same images are equal. `foothold images unpack` adds the images to any store.
    """
    from foothold_lab.harness import __version__
    from foothold_lab.images.transfer import pack as pack_images

    done = pack_images(make_builder(), file, __version__, _known(names))
    size = file.stat().st_size / _MIB
    print_text(f"{file}: {len(done.images)} images, {size:.1f} MiB")
    print_text(f"SHA256 {done.sha256}")


@images.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--sha256", metavar="HASH", default="", help="Refuse FILE if its SHA256 is another.")
def unpack(file: Path, sha256: str) -> None:
    """Add the images of FILE to the store, which may have another path than the one they were built in.

    Every file is compared with its manifest, and nothing is added before all is read. Programs of
    the images run on this machine: use a FILE that you trust, or compare its SHA256.
    """
    from foothold_lab.harness import __version__
    from foothold_lab.images.transfer import unpack as unpack_images

    done = unpack_images(make_builder(), file, __version__, report_progress, sha256.lower())
    print_text(f"{file}: {len(done.images)} images added, SHA256 {done.sha256}")
    if done.left_out:
        print_text(
            f"left out, because they contain the path of the other store: {', '.join(done.left_out)}; "
            "they are made again when they are needed, without a download"
        )


@images.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--layers", is_flag=True, help="FILE is a directory for the layers and a Containerfile."
)
@click.option(
    "--for",
    "plan",
    metavar="PLAN",
    default="default",
    show_default=True,
    help="Include the images that this plan needs.",
)
@click.option(
    "--tag", metavar="NAME:TAG", default="foothold:latest", show_default=True, help="Name it so."
)
def oci(file: Path, plan: str, tag: str, *, layers: bool) -> None:
    """Write a container image with Foothold, its Python and the images of guests to FILE.

    `docker load` and `podman load` read it. No base image is pulled. In a container of it,
    everything that the plan needs is there: it downloads nothing.
    """
    from foothold_lab.harness.plan import Selection
    from foothold_lab.harness.runner.preparation import images_of
    from foothold_lab.images.oci import write, write_layers

    builder = make_builder()
    names = images_of(read_plan(plan, builder).cells(Selection()), builder)
    if layers:
        write_layers(builder, names, file)
        print_text(f"docker build -t {tag} -f {file}/Containerfile {file}")
        return
    size = write(builder, names, file, tag)
    print_text(f"{file}: {tag}, {size / _MIB:.1f} MiB")


@images.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--for", "plan", metavar="PLAN", help="List only what the images of this plan need.")
def sbom(file: Path | None, plan: str | None) -> None:
    """Write the software bill of materials of all images to FILE (default: standard output).

    The format is CycloneDX 1.6 (JSON): each image, and the packages that it is made of, with their
    versions, hashes and package URLs. Nothing is built.
    """
    import msgspec

    from foothold_lab.harness import __version__
    from foothold_lab.harness.plan import Selection
    from foothold_lab.harness.runner.preparation import images_of
    from foothold_lab.images.catalogue import RECIPES
    from foothold_lab.images.sbom import sbom as bill_of

    builder = make_builder()
    names = images_of(read_plan(plan, builder).cells(Selection()), builder) if plan else RECIPES
    bill = msgspec.json.format(msgspec.json.encode(bill_of(builder, names, __version__)), indent=1)
    if file is None:
        click.echo(bill.decode())
    else:
        file.write_bytes(bill + b"\n")


@images.command("list")
def list_() -> None:
    """List the images in the cache: name, size, age in days, path."""
    from foothold_lab.images.cache import Cache, size_of

    for entry in Cache().entries():
        size, age = size_of(entry.path) / _MIB, (time.time() - entry.manifest.created) / _DAY
        damage = entry.damage()
        note = f"  damaged: {damage}" if damage else ""
        print_text(f"{entry.manifest.name:<16} {size:7.1f} MiB {age:6.1f} d  {entry.path}{note}")


@images.command()
def prune() -> None:
    """Remove images that this version of Foothold does not use, downloads, and package indexes.

    Images that a run or a build uses at this moment stay.
    """
    builder = make_builder()
    removed = builder.cache.prune(builder.in_use())
    for each in removed:
        if each.obstacle:
            print_text(f"kept {each.path.name}: {each.obstacle}")
        else:
            print_text(f"removed {each.path.name}, {each.size / _MIB:.1f} MiB")
    print_text(f"freed {sum(each.size for each in removed) / _MIB:.1f} MiB")


@images.command()
def verify() -> int:
    """Read all images and packages, and remove those that are damaged.

    A removed image is built again when it is needed. Ends with 1 if something was damaged.
    """
    from foothold_lab.images.cache import Cache
    from foothold_lab.images.verify import verify as find_damage

    cache = Cache()
    total = len(cache.directories())
    found = []
    for damage in find_damage(cache, report_progress):
        found.append(damage)
        what = "; ".join(damage.found[:_SHOWN])
        if (more := len(damage.found) - _SHOWN) > 0:
            what += f"; and {more} more"
        print_text(f"damaged {damage.path.name}: {what}")
        print_text(f"  {_became_of(damage.removal)}")
    damaged = sum(damage.is_image for damage in found)
    removed = sum(not damage.removal.obstacle for damage in found)
    packages = f" and {len(found) - damaged} packages" if len(found) > damaged else ""
    print_text(f"{total - damaged} images intact, {damaged}{packages} damaged, {removed} removed")
    return FINDING if found else OK


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def reproduce(names: tuple[str, ...]) -> int:
    """Build images a second time, and compare each file with that in the store.

    Without NAME, all images of this version that are in the store are built. Their packages are
    downloaded again. The images in the store stay as they are; one that lacks a file, or has a file of
    another size, is first made anew. Ends with 1 if a file differs.
    """
    from foothold_lab.images.catalogue import RECIPES
    from foothold_lab.images.reproduction import reproduce as build_again

    builder = make_builder()
    chosen = tuple(dict.fromkeys(_known(names))) or tuple(
        name for name in RECIPES if builder.ready(name)
    )
    if not chosen:
        raise UsageError("the store has no image", "build them: `foothold images build`")
    different = 0
    try:
        for each in build_again(builder, chosen):
            if each.differences:
                different += 1
                what = f"{len(each.differences)} of {each.files} files differ"
            else:
                what = f"{each.files} files, all equal"
            print_text(f"{each.name:<24} {each.seconds:6.1f} s  {what}")
            for path in each.differences[:_SHOWN]:
                print_text(f"  {path}")
            if (more := len(each.differences) - _SHOWN) > 0:
                print_text(f"  and {more} more")
    finally:
        builder.discard_downloads()
    print_text(f"{len(chosen) - different} images are reproducible, {different} are not")
    return FINDING if different else OK


def _became_of(removal: Removal) -> str:
    if removal.obstacle:
        return f"not removed: {removal.obstacle}"
    return "removed; it is made again when it is needed"


@images.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
def prebuild(directory: Path | None) -> None:
    """Compile the agent for every machine into DIRECTORY (default: images/prebuilt of the checkout).

    A wheel that is built from the checkout afterwards contains these programs, so an installed
    Foothold downloads no compiler.
    """
    from foothold_lab.images.catalogue import COMPILED
    from foothold_lab.images.compiler import PREBUILT, export_prebuilt

    builder = make_builder()
    for name, folder in COMPILED.items():
        export_prebuilt(name, builder.image(name), folder, directory or PREBUILT)
        print_text(f"{name}  {(directory or PREBUILT) / name}")


@images.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def lock(file: Path | None) -> None:
    """Write the package versions of every image to FILE (default: the lock file of the checkout)."""
    from foothold_lab.images.lock import TESTED, write

    file = file or TESTED
    found = make_builder().locks()
    write(file, found)
    count = sum(len(debs) for debs in found.sets.values())
    print_text(f"{file}: {count} packages in {len(found.sets)} sets")
