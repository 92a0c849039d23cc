"""How the runtime dies, and where it prints what it has to say before.

In Go these are `runtime·throw`, `runtime·exit` and `runtime·printf`; here a death is an exception,
so that a prediction can outlive it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Death(Exception):
    """The runtime ended its process. `status` is the exit status, `printed` what stood on fd 2."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Throw(Death):
    """`runtime·throw(message)`: prints `throw: ` and the message, exit status 2."""


class Exit(Death):
    """`runtime·exit(status)` without a throw: what there was to say has been printed."""


class Console:
    """The runtime's fd 2: keeps the lines printed, hands each text on to `write`.

    `lines` holds what `printf` printed, without the throw itself.
    """

    __slots__ = ("_partial", "_write", "lines")

    def __init__(self, write: "Callable[[str], object] | None" = None) -> None:
        self.lines: list[str] = []
        self._partial = False
        self._write = write

    def printf(self, text: str) -> None:
        """Print `text`, formatted already; a text may lack its newline, as two of Go's do."""
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
