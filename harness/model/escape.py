r"""Text from outside made harmless, one function for each kind of output.

Guests and subjects print what they like: control sequences, characters that reverse the direction
of text, markup, workflow commands. A hidden character (a control, format, surrogate, private or
unassigned character, or a line separator of Unicode) is written as `\x1b`, `\u202e` everywhere but
in JSON, where the same notation keeps the text as it was.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence

from foothold_lab.harness.model.kernel_log import excerpt

LONGEST_IN_HTML = 4000  # characters of a line; a browser lays out longer ones slowly
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LAYOUT = "\n\t"  # hidden characters that text of several lines may hold
_PLAIN_IN_MARKDOWN = " .,;/=+-()!'✓✗–·†↻"


def escape_line(text: str, longest: int | None = 2000) -> str:
    """Return one line for a terminal. It holds no hidden character.

    The middle of a text of more than `longest` characters is left out; None keeps all of it.
    """
    if longest is not None and len(text) > longest:
        half = (longest - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    return text if text.isprintable() else "".join(map(_visible, text))


def escape_text(text: str) -> str:
    """Return whole lines for a terminal. Nothing is left out, so commands in it stay whole."""
    return (
        text
        if text.isprintable()
        else "\n".join(escape_line(line, None) for line in text.split("\n"))
    )


def escape_lines(text: str, most: int = 20, longest: int = 300) -> list[str]:
    """Return `most` lines of a console, each for a terminal: from the first fault of the kernel on,
    or the last ones.
    """
    return [escape_line(line, longest) for line in excerpt(text.splitlines(), most)]


def escape_html(text: str) -> str:
    """Return lines without hidden characters. The template engine escapes the markup.

    The middle of a line of more than LONGEST_IN_HTML characters is left out, and its place says so.
    """
    if text.isprintable() and len(text) <= LONGEST_IN_HTML:
        return text
    return "\n".join(
        escape_line(_shortened(line.replace("\t", "    ")), None) for line in text.split("\n")
    )


def _shortened(line: str) -> str:
    left_out = len(line) - LONGEST_IN_HTML
    if left_out <= 0:
        return line
    half = LONGEST_IN_HTML // 2
    return f"{line[:half]} [… {left_out} characters of this line are left out …] {line[-half:]}"


def escape_xml(text: str) -> str:
    """Return text for an XML document. The XML library escapes the markup."""
    if text.isprintable():
        return text
    return "".join(char if char in _LAYOUT else _visible(char) for char in text)


def escape_markdown(text: str, longest: int | None = 2000) -> str:
    """Return one line in which nothing is Markdown or HTML: such a character becomes an entity.

    `longest` is as in `escape_line`.
    """
    return "".join(
        char if char.isalnum() or char in _PLAIN_IN_MARKDOWN else f"&#{ord(char)};"
        for char in escape_line(text, longest)
    )


def escape_github_message(text: str) -> str:
    """Return lines as the message of a workflow command, in full: a line may be a command.

    https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts, escapeData.
    """
    return escape_text(text).replace("%", "%25").replace("\n", "%0A")


def escape_github_property(text: str) -> str:
    """Return one line as a property of a workflow command (escapeProperty of the same file)."""
    line = escape_line(text, 200).replace("%", "%25")
    return line.replace(":", "%3A").replace(",", "%2C")


def escape_json(document: bytes) -> bytes:
    r"""Return a JSON document in which hidden characters are written as \u009b.

    Such a character can only stand in a string, so the document keeps its value.
    """
    if document.isascii() and b"\x7f" not in document:  # the encoder escapes other controls
        return document
    return "".join(
        char if char == "\n" or not _is_hidden(char) else _utf16(char) for char in document.decode()
    ).encode()


def escape_shell(words: Sequence[str]) -> str:
    r"""Return a command line for a shell, in one line and in full.

    A word with hidden characters is written as `$'\x1b'` (bash, zsh, POSIX.1-2024).
    """
    return " ".join(
        shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_in_quotes, word))}'"
        for word in words
    )


def _in_quotes(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if not _is_hidden(char):
        return char
    escaped_byte = "\udc80" <= char <= "\udcff"  # os.fsdecode of a byte that is not UTF-8
    data = char.encode(errors="surrogateescape" if escaped_byte else "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in data)


def _utf16(char: str) -> str:
    data = char.encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{int.from_bytes(data[at : at + 2], 'big'):04x}" for at in range(0, len(data), 2)
    )


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN


def _visible(char: str) -> str:
    if not _is_hidden(char):
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
