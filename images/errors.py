"""What can go wrong while images are made. Every error carries its remedy."""

from __future__ import annotations


class ImageError(Exception):
    """An image could not be made or used.

    `remedy` is the remedy, one sentence, for the user.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class MovedOn(ImageError):
    """A suite no longer has the locked version of a package."""


class NoSpace(ImageError):
    """The disk under the cache is full."""
