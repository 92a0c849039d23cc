"""The words that name guests, policies and subjects on this machine."""

from __future__ import annotations

from foothold_lab.harness.evidence.arena_detection import POLICIES
from foothold_lab.harness.guests.catalogue import NO_CUSTOM_KERNELS, known_guests
from foothold_lab.harness.guests.custom_kernels import CustomKernels
from foothold_lab.harness.plan import Vocabulary
from foothold_lab.harness.subjects.packaged import CATALOGUE
from foothold_lab.images.builder import Builder


def vocabulary(builder: Builder, own: CustomKernels = NO_CUSTOM_KERNELS) -> Vocabulary:
    """Return the words that a plan may use on this machine."""
    titles = {name: program.title for name, program in CATALOGUE.items()}
    return Vocabulary(known_guests(builder, own), POLICIES, titles)


def canonical_guest(name: str, builder: Builder) -> str:
    """Return the canonical name of a guest: `uml-6.1` for `uml-bookworm`. Raises UsageError."""
    return Vocabulary(known_guests(builder), ()).resolve_guest(name)
