"""Strings that all outputs get: what a terminal, a browser, a shell or a reader takes for more."""

from __future__ import annotations

import unicodedata

import pytest

SHELL = "$(touch X) `touch X` '; touch X; \" ${IFS} \\ !x *"
HOSTILE = {
    "clears the screen": "\x1b[2J\x1b]0;owned\x07",
    "writes the clipboard": "\x1b]52;c;ZXZpbA==\x1b\\",
    "a link of a terminal": "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\",
    "C1 control": "\x9b2J\x9d0;owned\x9c",
    "device control": "\x1bP+q544e\x1b\\\x1b_x\x1b\\\x0e\x0f\x7f\x85",
    "reverses text": "\u202eevil\u2066\u200f\u061c",
    "invisible": "a\u200bb\ufeffc\u00add\u2028e\u2029f\U000e0041\ue000",
    "carriage return": "good\rbad\x08\x08\x0b\x0c",
    "ends a script": "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "ends an attribute": "\"' onmouseover=alert(1) x=\"",
    "ends XML data": "]]></testcase>&lt;<!--",
    "an entity": "&lt;b&gt; &#27; &nbsp",
    "workflow command": "x\n::error::owned\r\n::set-output name=a::b",
    "old workflow command": "##[error]owned\n##vso[task.x]y",
    "NUL": "a\x00b",
    "Markdown": "| a | [x](javascript:alert(1)) `code` <b> **x** http://evil @all #1",
    "shell": SHELL,
    "a newline in a command": "x\n$(touch X)\n`touch X`\n",
    "an option": "--expect=starts",
    "template": "{{7*7}}{% x %}{0}{title}%s%n",
    "markup of rich": "[bold red]x[/bold red][link=http://evil]y[/]:smile:",
    "a formula": "=1+1",
}  # fmt: skip
EVIL = [pytest.param(text, id=name) for name, text in HOSTILE.items()]
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def hidden(text: str) -> set[str]:
    """Return the characters of a text that a terminal or a reader's eye does not show."""
    return {char for char in text if unicodedata.category(char) in _HIDDEN} - {"\n"}
