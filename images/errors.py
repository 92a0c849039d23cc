"""Errors of building and using images. Every error has a remedy."""

from __future__ import annotations


class ImageError(Exception):
    """An image could not be built or used. `remedy` is one sentence for the user."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class SuiteChanged(ImageError):
    """A suite no longer has the locked version of a package."""


class NoSpace(ImageError):
    """The disk that holds the cache is full."""


class ReadOnlyStore(ImageError):
    """The user of this process cannot write to the store of images."""


class WrongPackage(ImageError):
    """A downloaded file is not the package that it should be."""
