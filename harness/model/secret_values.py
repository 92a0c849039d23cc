"""Values of environment variables that are secrets: they are not recorded unless the user asks.

A recorded command has MASK in place of such a value. To repeat it, the value is taken from the
environment of Foothold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from foothold_lab.harness.model.errors import UsageError

MASK = "***"
_SECRET = re.compile("TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|KEY|AUTH", re.IGNORECASE)

# a string as strace writes it: with escapes, and cut after some characters
_TRACED = re.compile(rb'"--env", "([A-Za-z_][A-Za-z0-9_]*)=(?:[^"\\]|\\.)*"(?:\.\.\.)?')


def is_secret(name: str) -> bool:
    """Is the value of a variable with this name a secret?"""
    return bool(_SECRET.search(name))


def mask_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with masked secrets."""
    return {name: MASK if is_secret(name) else value for name, value in environment.items()}


def mask_arguments(words: Iterable[str]) -> Iterator[str]:
    """Yield the words of a command line, with masked secrets in `--env NAME=VALUE`."""
    previous = ""
    for word in words:
        option, equals, assignment = word.partition("=")
        if previous == "--env":
            yield _mask_assignment(word)
        elif option == "--env" and equals:
            yield f"--env={_mask_assignment(assignment)}"
        else:
            yield word
        previous = word


def mask_trace(trace: bytes) -> bytes:
    """Return a trace of strace with masked secrets.

    Its first line is the start of the agent that becomes the subject, with the option --env for
    each variable of the subject (images/agent/strace_exec.c).
    """
    start, newline, rest = trace.partition(b"\n")
    return _TRACED.sub(_masked, start) + newline + rest


def _masked(match: re.Match[bytes]) -> bytes:
    name = match[1]
    return b'"--env", "%s=%s"' % (name, MASK.encode()) if is_secret(name.decode()) else match[0]


def _mask_assignment(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}={MASK}" if equals and is_secret(name) else text


def masked_names(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables whose values were not recorded."""
    return [name for name, value in environment.items() if value == MASK and is_secret(name)]


def unmask_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Take the values that were not recorded from the environment of this process.

    Raises UsageError, naming the variables that it lacks.
    """
    names = masked_names(environment)
    if missing := [name for name in names if name not in os.environ]:
        raise UsageError(
            f"the value of {', '.join(missing)} was not recorded, because it may be a secret",
            f"set {missing[0]} in the environment of this command; `foothold run --keep-secrets` "
            "records such values",
        )
    return {**environment, **{name: os.environ[name] for name in names}}
