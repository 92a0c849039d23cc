"""The images that the cells of a plan need, so that a machine can be prepared before it is used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.subjects.packaged import CATALOGUE
from foothold_lab.images.builder import Builder


def images_of(cells: Iterable[Cell], builder: Builder) -> list[str]:
    """Return the images that the guests of these cells boot with, and those of packaged subjects.

    Guests that this machine does not support count as well: another user may be able to boot them.
    """
    kinds = catalogue(builder)
    mounted: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        of_guest = mounted[cell.guest]
        if packaged := CATALOGUE.get(cell.subject):
            of_guest.add(packaged.port.image(packaged.image))
    found: dict[str, None] = {}
    for guest, names in mounted.items():
        kind = find_guest(kinds, guest)
        booted = kind.images_to_boot(sorted(names)) if names else kind.images
        found |= dict.fromkeys((*sorted(names), *filter(None, booted)))
    return list(found)
