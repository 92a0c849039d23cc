"""Regular expressions of the user, which are matched against what a guest wrote.

RE2 matches every pattern in time that grows in proportion to the text. `re` of Python
takes exponential time for `(a+)+$`, and nothing can interrupt it. docs/plans.md lists how the
syntax differs from Python's (source: https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foothold_lab.harness.model.errors import InfrastructureError, UsageError

MOST_INSTRUCTIONS = 10_000  # of a compiled pattern
# instructions times bytes of a text: at worst each is tried at every byte, which takes 20 ns (measured)
MOST_STEPS = 1 << 30
_MEMORY = 8 << 20  # bytes of a compiled pattern and its states
_SYNTAX = "docs/plans.md#regular-expressions explains the syntax"
# the start of a message of RE2: what the pattern has, and what to write instead
_UNSUPPORTED = (
    ("invalid perl operator: (?=", "a lookahead", "match the text that follows as well"),
    ("invalid perl operator: (?!", "a negative lookahead", "match the text that may follow instead"),
    ("invalid perl operator: (?<", "a lookbehind", "match the text before it as well"),
    ("invalid perl operator: (?>", "an atomic group", "write (?:…): nothing is matched twice"),
    ("invalid perl operator: (?(", "a condition", "write both cases, joined by |"),
    ("invalid perl operator: (?#", "a comment", "leave it out"),
    ("invalid perl operator: (?P", "a backreference", "repeat what the group matches"),
    ("invalid perl operator: (?", "an unknown flag", "use only the flags i, m, s and U"),
    ("invalid repetition size", "a repetition of more than 1,000", "repeat it less often"),
    ("pattern too large", "too many parts", "write a shorter pattern, or smaller repetitions"),
    *(
        (f"bad repetition operator: {each}+", "a possessive repetition", f"write {each}")
        for each in "*+?"
    ),
    *(
        (f"invalid escape sequence: \\{digit}", "a backreference", "repeat what the group matches")
        for digit in range(1, 10)
    ),
    ("invalid escape sequence: \\Z", "\\Z", "write \\z"),
    *(
        (f"invalid escape sequence: \\{letter}", f"\\{letter}", "write the character, or \\x{E4}")
        for letter in "uUN"
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern; `compile_pattern` makes it."""

    text: str
    _compiled: Any  # re2 has no types

    def matches(self, output: str | bytes) -> bool:
        r"""Does it match anywhere in the output? Bytes that are not UTF-8 are matched as `\xff`,
        the form in which reports show them.

        Raises UsageError if the pattern has too many parts for an output of this length.
        """
        decoded = output if isinstance(output, str) else output.decode(errors="backslashreplace")
        text = decoded.encode(errors="backslashreplace")
        if self._compiled.programsize * len(text) > MOST_STEPS:
            raise _too_many_parts(self.text, len(text))
        return self._compiled.search(text) is not None


def compile_pattern(text: str, *, per_line: bool = False) -> Pattern:
    """Compile a regular expression of the user.

    With `per_line`, `^` and `$` match at the borders of each line, else at those of the whole text.
    Raises UsageError for a pattern that is wrong, or that RE2 does not support,
    InfrastructureError if the library is not usable.
    """
    try:
        import re2  # 7 ms, which commands without patterns do not need
    except ImportError as error:
        raise InfrastructureError(
            f"the package google-re2 cannot be loaded: {error}",
            "install the C++ library of your distribution (libstdc++)",
        ) from error
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    options.never_capture = True  # to locate each group takes 200 times longer (measured)
    try:
        compiled = re2.compile(f"(?m){text}" if per_line else text, options)
    except re2.error as error:
        raise _wrong(text, error.args[0].decode(errors="replace")) from error
    except UnicodeEncodeError as error:
        raise _wrong(text, "it is not valid UTF-8") from error
    if compiled.programsize > MOST_INSTRUCTIONS:
        raise _wrong(text, "pattern too large")
    return Pattern(text, compiled)


def matches(pattern: str, output: str | bytes, *, per_line: bool = False) -> bool:
    """Does a pattern match anywhere in the output? An empty pattern always does."""
    return not pattern or compile_pattern(pattern, per_line=per_line).matches(output)


def _too_many_parts(text: str, size: int) -> UsageError:
    return UsageError(
        f"{_shown(text)} is not a supported regular expression: "
        f"it has too many parts to search {size:,} bytes of output",
        f"write a shorter pattern, or smaller repetitions; {_SYNTAX}",
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}…")


def _wrong(text: str, message: str) -> UsageError:
    for start, feature, remedy in _UNSUPPORTED:
        if message.startswith(start):
            return UsageError(
                f"{_shown(text)} is not a supported regular expression: it has {feature}",
                f"{remedy}; {_SYNTAX}",
            )
    return UsageError(f"{_shown(text)} is not a regular expression: {message}", _SYNTAX)
