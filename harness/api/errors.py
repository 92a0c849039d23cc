"""One family of errors for the users of the Python interface."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from foothold_lab.harness.model.errors import InfrastructureError
from foothold_lab.images.errors import ImageError


@contextlib.contextmanager
def image_errors_converted() -> Iterator[None]:
    """Raise InfrastructureError instead of ImageError, which is not a FootholdError."""
    try:
        yield
    except ImageError as error:
        raise InfrastructureError(str(error), error.remedy) from error
