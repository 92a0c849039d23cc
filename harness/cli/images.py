"""`foothold images`: what guests are made of."""

from __future__ import annotations

import time
from pathlib import Path

import click

from foothold_lab.harness.cli import context
from foothold_lab.harness.model.errors import UsageError, did_you_mean


@click.group(no_args_is_help=False)
def images() -> None:
    """Build, list and prune what guests are made of."""


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="The runtimes' images as well.")
@click.option("--update", is_flag=True, help="Take the packages that the suites have now.")
@click.option("--locked", is_flag=True, help="Only packages that the lock names.")
@click.option(
    "--from-source",
    "release",
    metavar="RELEASE",
    help="Instead, build a UML kernel from Debian's source of it: 6.12, 7.2.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="More lines for that kernel's .config; they count last.",
)
def build(
    names: tuple[str, ...],
    everything: bool,
    update: bool,
    locked: bool,
    release: str | None,
    config: Path | None,
) -> None:
    """Build images (all that guests need, by default); those that are there stay.

    --from-source prints where the kernel is, so that it can be given to `foothold run --uml`.
    """
    if update and locked:
        raise click.UsageError("--update changes the lock, --locked forbids it: give one of them")
    if release is None and config:
        raise click.UsageError("--config is for a kernel that is built --from-source")
    if release is not None:
        if names or update:
            raise click.UsageError("--from-source builds one kernel, and nothing else")
        click.echo(_from_source(release, config, locked=locked))
        return
    from foothold_lab.images.catalogue import AGENT_HERE, GUESTS, RECIPES

    for name in names:
        if name not in RECIPES:
            raise UsageError(
                f"there is no image {name!r}{did_you_mean(name, RECIPES)}",
                f"images are: {', '.join(RECIPES)}",
            )
    # what is made of this machine's own is made where it is needed
    names = names or tuple(
        each for each in (RECIPES if everything else GUESTS) if each != AGENT_HERE
    )
    maker = context.builder(locked=locked)
    if update:
        for change in maker.update(names):
            click.echo(change, err=True)
    for name in names:
        click.echo(f"{name}  {maker.image(name)}")


def _from_source(release: str, config: Path | None, *, locked: bool) -> Path:
    from foothold_lab.images.builder import Builder
    from foothold_lab.images.catalogue import RECIPES
    from foothold_lab.images.kernel_build import SUITES, recipe

    if release not in SUITES:
        raise UsageError(
            f"there is no source of {release}{did_you_mean(release, SUITES)}",
            f"releases are: {', '.join(SUITES)}",
        )
    kernel = recipe(release, config)
    known = {**RECIPES, kernel.name: kernel}
    return Builder(locked=locked, say=context.say, recipes=known).image(kernel.name) / "linux"


@images.command("list")
def list_() -> None:
    """List the finished images in the cache: name, size in MiB, age in days, path."""
    from foothold_lab.images.cache import Cache, size_of

    for entry in Cache().entries():
        size, age = size_of(entry.path) / (1 << 20), (time.time() - entry.manifest.created) / 86400
        damage = entry.damage()
        note = f"  damaged: {damage}" if damage else ""
        click.echo(f"{entry.manifest.name:<16} {size:7.1f} MiB {age:6.1f} d  {entry.path}{note}")


@images.command()
def prune() -> None:
    """Remove images that today's recipes and locks do not ask for."""
    maker = context.builder()
    removed = maker.cache.prune(maker.in_use())
    for path, size in removed:
        click.echo(f"removed {path.name}, {size / (1 << 20):.1f} MiB")
    click.echo(f"{sum(size for _, size in removed) / (1 << 20):.1f} MiB are free again")


@images.command("lock")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def lock_(file: Path | None) -> None:
    """Write which packages go into every image; into this checkout's own lock by default."""
    from foothold_lab.images import lock

    file = file or lock.TESTED
    found = context.builder().locks()
    lock.write(file, found)
    count = sum(len(debs) for debs in found.sets.values())
    click.echo(f"{file}: {count} packages in {len(found.sets)} sets")
