"""The death of the runtime, and the messages that it prints before.

In Go these are `runtime·throw`, `runtime·exit` and `runtime·printf`. Here a death is an exception,
so that `predict` can continue after it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


SIGSEGV = 11


class Death(Exception):
    """The runtime ended its process. `status` is the exit status, 128 + N for signal N."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Throw(Death):
    """`runtime·throw(message)`: print `throw: ` and the message, exit with status 2."""


class Exit(Death):
    """`runtime·exit(status)` without a throw, after its messages have been printed."""


class Killed(Death):
    """The kernel killed the process by a signal. Nothing is printed."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"killed by signal {signal}", 128 + signal)
        self.signal = signal


class Console:
    """The runtime's standard error. It keeps the printed lines and passes each text to `write`.

    `lines` holds the output of `printf`, without the line of the throw itself.
    """

    __slots__ = ("_partial", "_write", "lines")

    def __init__(self, write: "Callable[[str], object] | None" = None) -> None:
        self.lines: list[str] = []
        self._partial = False
        self._write = write

    def printf(self, text: str) -> None:
        """Print the formatted `text`. It may lack a newline at its end, as two texts of Go do."""
        *whole, rest = text.split("\n")
        for line in [*whole, rest] if rest else whole:
            if self._partial:
                self.lines[-1] += line
            else:
                self.lines.append(line)
            self._partial = False
        self._partial = bool(rest)
        if self._write is not None:
            self._write(text)
