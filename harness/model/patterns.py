"""Regular expressions of the user, which are matched against what a guest wrote.

The engine is the crate `regex` of Rust, in the package pydantic-core. It takes time that grows in
proportion to the text. `re` of Python takes exponential time for `(a+)+$`, and nothing can interrupt
it. docs/plans.md lists how the syntax differs from Python's (source: https://docs.rs/regex#syntax).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from foothold_lab.harness.model.errors import InfrastructureError, UsageError

MOST_PARTS = 10_000  # of a pattern
# parts times bytes of a text: at worst each is tried at every byte, which takes 7 to 15 ns (measured)
MOST_STEPS = 1 << 30
_SYNTAX = "docs/plans.md#regular-expressions explains the syntax"
_TOKEN = re.compile(
    r"""
    (?P<escape> \\ (?: [pPxuU]\{[^}]*\} | [pP]\w | . | $ ) )
    | (?P<characters> \[ \^? \]? (?: \\. | \[:\^?\w+:\] | [^\\\]] )* \] )
    | (?P<repetition> (?: [*+?] | \{ \s*(?P<least>\d+)\s* (?: ,\s*(?P<most>\d*)\s* )? \} ) (?P<possessive>\+)? )
    | (?P<open> \( (?: \? (?: P?<\w+> | (?P<flags>[\w-]*):? ) )? ) | (?P<close> \) ) | (?P<character> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_SLOW = re.compile(r"\\[wWdDsSpPbB].*|\.|\[.*", re.DOTALL)  # stand for many characters
_FLAG = "unrecognized flag"
_POSSESSIVE = "possessive repetition"
_TOO_LARGE = "Compiled regex exceeds size limit"
# the starts of a message and of what it marks in the pattern: what that is, and what to write instead
_UNSUPPORTED = (
    ("look-around", "(?=", "a lookahead", "match the text that follows as well"),
    ("look-around", "(?!", "a negative lookahead", "match the text that may follow instead"),
    ("look-around", "(?<", "a lookbehind", "match the text before it as well"),
    ("look-around", "", "a lookahead or lookbehind", "match the text beside it as well"),
    ("backreferences", "", "a backreference", "repeat what the group matches"),
    (_FLAG, "P", "a backreference", "repeat what the group matches"),
    (_FLAG, ">", "an atomic group", "write (?:…): nothing is matched twice"),
    (_FLAG, "(", "a condition", "write both cases, joined by |"),
    (_FLAG, "#", "a comment", "leave it out"),
    (_FLAG, "", "an unknown flag", "use only the flags i, m, s and U"),
    (_POSSESSIVE, "", "a possessive repetition", "write it without the last +"),
    (_TOO_LARGE, "", "too many parts", "write a shorter pattern, or smaller repetitions"),
    ("unrecognized escape", r"\Z", r"\Z", r"write \z"),
    ("unrecognized escape", r"\N", r"\N", r"write the character, or \x{E4}"),
)


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern; `compile_pattern` makes it."""

    text: str
    _compiled: Any
    _parts: int

    def matches(self, output: str | bytes) -> bool:
        r"""Does it match anywhere in the output? Bytes that are not UTF-8 are matched as `\xff`,
        the form in which reports show them.

        Raises UsageError if the pattern has too many parts for an output of this length.
        """
        decoded = output if isinstance(output, str) else output.decode(errors="backslashreplace")
        text = decoded.encode(errors="backslashreplace")
        if self._parts * len(text) > MOST_STEPS:
            raise _too_many_parts(self.text, len(text))
        return bool(self._compiled.isinstance_python(text.decode()))


def compile_pattern(text: str, *, per_line: bool = False) -> Pattern:
    """Compile a regular expression of the user.

    With `per_line`, `^` and `$` match at the borders of each line, else at those of the whole text.
    Raises UsageError for a pattern that is wrong, or that the engine does not support,
    InfrastructureError if the engine is not installed.
    """
    try:
        # 50 ms, which other commands do not need
        from pydantic_core import SchemaError, SchemaValidator
    except ImportError as error:
        raise InfrastructureError(
            f"the package pydantic-core cannot be loaded: {error}",
            "install what pyproject.toml names: in a checkout, ./foothold does it",
        ) from error
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _wrong(text, "it is not valid UTF-8") from error
    parts = _count_parts(text)
    searched = f"(?m){text}" if per_line else text
    try:
        compiled = SchemaValidator(
            {"type": "str", "pattern": searched, "regex_engine": "rust-regex", "strict": True}
        )
    except SchemaError as error:
        raise _wrong(text, str(error)) from error
    return Pattern(text, compiled, parts)


def matches(pattern: str, output: str | bytes, *, per_line: bool = False) -> bool:
    """Does a pattern match anywhere in the output? An empty pattern always does."""
    return not pattern or compile_pattern(pattern, per_line=per_line).matches(output)


def _count_parts(text: str) -> int:
    """Return how many parts a pattern has with its repetitions, at least 1: a character is one part,
    what stands for many characters is two.

    Raises UsageError for what the engine would accept with another meaning than Python's.
    """
    outer: list[int] = []  # the parts before each open group
    group = last = 0  # the parts of this group, and those of its last item
    for token in _TOKEN.finditer(text):
        if "x" in (token["flags"] or "").partition("-")[0]:
            raise _wrong(text, _FLAG)
        if token["possessive"]:
            raise _wrong(text, _POSSESSIVE)
        if token["open"]:
            outer.append(group)
            group = last = 0
        elif token["close"]:
            last, group = group, group + (outer.pop() if outer else 0)
        elif token["repetition"]:
            times = int(token["most"] or token["least"] or 1)
            group, last = group + last * (times - 1), last * times
        else:
            last = 2 if _SLOW.fullmatch(token[0]) else 1
            group += last
        if group > MOST_PARTS:
            raise _wrong(text, _TOO_LARGE)
    return max(1, group + sum(outer))


def _too_many_parts(text: str, size: int) -> UsageError:
    return UsageError(
        f"{_shown(text)} is not a supported regular expression: "
        f"it has too many parts to search {size:,} bytes of output",
        f"write a shorter pattern, or smaller repetitions; {_SYNTAX}",
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def _wrong(text: str, message: str) -> UsageError:
    """Explain a message of the engine: it ends with the pattern, a mark below it, and `error: …`."""
    *above, reason = message.splitlines()
    reason = reason.strip().removeprefix("error: ").removeprefix("SchemaError: ")
    column = above[-1].find("^") if len(above) > 1 else -1
    marked = above[-2][column:] if column >= 0 else ""
    for start, excerpt, feature, remedy in _UNSUPPORTED:
        if reason.startswith(start) and marked.startswith(excerpt):
            return UsageError(
                f"{_shown(text)} is not a supported regular expression: it has {feature}",
                f"{remedy}; {_SYNTAX}",
            )
    return UsageError(f"{_shown(text)} is not a regular expression: {reason}", _SYNTAX)
