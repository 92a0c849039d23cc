"""Text that came out of a guest, made fit to be shown, kept and parsed."""

from __future__ import annotations

import re
import unicodedata

# what XML 1.0 has no way to say, not even as a character reference
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str, longest: int = 2000) -> str:
    r"""Return one line in which a character that could move a cursor is written as \x1b.

    `longest` is in characters; the middle of a longer text is left out.
    """
    if len(text) > longest:
        half = (longest - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    return "".join(map(_shown, text))


def clean_lines(text: str, most: int = 20, longest: int = 300) -> list[str]:
    """Return the last lines of a text, each clean."""
    return [clean(line, longest) for line in text.splitlines()[-most:]]


def xml_text(text: str) -> str:
    r"""Return a text in which what XML cannot hold is written as \x1b."""
    return _NOT_XML.sub(lambda match: _escaped(match[0]), text)


def _shown(char: str) -> str:
    return _escaped(char) if unicodedata.category(char) in _HIDDEN else char


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
