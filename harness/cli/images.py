"""`foothold images`: what guests are made of."""

from __future__ import annotations

import time
from pathlib import Path

import click

from harness.cli import common


@click.group(no_args_is_help=False)
def images() -> None:
    """Build, list and prune what guests are made of."""


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--update", is_flag=True, help="Take the packages that the suites have now.")
@click.option("--locked", is_flag=True, help="Only packages that the lock names.")
def build(names: tuple[str, ...], update: bool, locked: bool) -> None:
    """Build images (all of them by default) and what they need; those that are there stay."""
    if update and locked:
        raise click.UsageError("--update changes the lock, --locked forbids it: give one of them")
    from images.catalogue import RECIPES

    maker = common.builder(locked=locked)
    if update:
        for change in maker.update(names or RECIPES):
            click.echo(change, err=True)
    for name in names or RECIPES:
        click.echo(f"{name}  {maker.image(name)}")


@images.command("list")
def list_() -> None:
    """List the finished images in the cache: name, size in MiB, age in days, path."""
    from images.cache import Cache, size_of

    for entry in Cache().entries():
        size, age = size_of(entry.path) / (1 << 20), (time.time() - entry.manifest.created) / 86400
        damage = entry.damage()
        note = f"  damaged: {damage}" if damage else ""
        click.echo(f"{entry.manifest.name:<16} {size:7.1f} MiB {age:6.1f} d  {entry.path}{note}")


@images.command()
def prune() -> None:
    """Remove images that today's recipes and locks do not ask for."""
    maker = common.builder()
    removed = maker.cache.prune(maker.in_use())
    for path, size in removed:
        click.echo(f"removed {path.name}, {size / (1 << 20):.1f} MiB")
    click.echo(f"{sum(size for _, size in removed) / (1 << 20):.1f} MiB are free again")


@images.command("lock")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def lock_(file: Path | None) -> None:
    """Write which packages go into every image; into this checkout's own lock by default."""
    from images import lock

    file = file or lock.TESTED
    found = common.builder().locks()
    lock.write(file, found)
    count = sum(len(debs) for debs in found.sets.values())
    click.echo(f"{file}: {count} packages in {len(found.sets)} sets")
