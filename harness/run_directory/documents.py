"""Decodes JSON that may come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from foothold_lab.harness.model.errors import UsageError

SURVEY_FILE = "survey.json"  # beside run.json: what a survey found besides its run
DAMAGED = "the run directory is damaged, or another Foothold made it"  # a remedy


def decode(
    data: bytes, kind: Any, where: str, *, convert: Callable[[type, Any], Any] | None = None
) -> Any:
    """Decode a JSON document to a value of `kind`, a type or a union of types.

    `where` names the document in errors; `convert` makes values of types that JSON does not have.
    Raises UsageError for all that is not such a document: another type, a missing key, a number
    that does not fit, lists that are nested too deeply.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=convert)
    except (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"{where} cannot be read: {error}", DAMAGED) from error
