"""The report: JSON lines, written to a file descriptor without a buffer."""

from posix import write as write_some

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Json = str | int | bool | None | Sequence["Json"] | Mapping[str, "Json"]


class Report:
    """Writes events to the file descriptor `fd`."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def event(self, event: str, **fields: "Json") -> None:
        """Write one line: `event`, then its fields in this order. Raises OSError."""
        write(self._fd, dumps({"event": event, **fields}) + "\n")


def write(fd: int, text: str) -> None:
    """Write the whole text in UTF-8. Raises OSError."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[write_some(fd, data) :]


def dumps(value: "Json") -> str:
    """Return a value as JSON. Importing `json` takes as long as importing the allocator."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(map(_escape, value)) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps, value)) + "]"
    assert hasattr(value, "items")
    return "{" + ",".join(f"{dumps(key)}:{dumps(item)}" for key, item in value.items()) + "}"


def _escape(char: str) -> str:
    if " " <= char <= "~" and char not in '"\\':
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
