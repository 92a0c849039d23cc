"""Signals by name."""

from __future__ import annotations

import re
import signal


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGSEGV; `signal 40` for a real-time signal.

    The numbers are those of x86, arm and RISC-V (signal(7)), which all guests have.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_number(name: str) -> int:
    """Return the number of a signal: `SIGSEGV`, `SEGV` or `11`. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,2}", name) and 0 < int(name) <= 64:
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    try:
        return signal.Signals[full].value
    except KeyError:
        raise ValueError(f"{name!r} is not a signal: write SIGSEGV, SEGV or 11") from None
