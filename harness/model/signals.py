"""Signals by name."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGSEGV; `signal 40` for a real-time signal.

    The numbers are those of x86, arm and RISC-V (signal(7)), which all guests have.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
