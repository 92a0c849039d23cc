"""Mutations of input that Foothold reads: of bytes, of text, and of the values of JSON."""

from __future__ import annotations

import json
from random import Random
from typing import Any

# values that a reader may not expect, of all types of JSON
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, [], {}, "", 0, -1, 1 << 63, 1 << 64, -(1 << 70), 10**400, 1e300, -0.5, "\0", "..",
    "../../etc/passwd", "/etc/passwd", "a/../../b", "x" * 70000, "\x1b]0;x\x07\u202e\x9b", "nan",
    "$(touch x)`touch x`';touch x;\"", "::error::x", "</script>", "{0}{title}%s%n", "native",
)  # fmt: skip
HOSTILE_BYTES = (
    b"\0", b"\xff", b"\n", b"\x1b[2J", b"\xe2\x80\xae", b"9" * 30, b"-1", b"0x" + b"f" * 20,
    b"NaN", b"1e999", b"[" * 3000, b"\"", b"{", b"}", b"(((((", b"..", b"/", b"%s", b"\r", b"\xc2",
)  # fmt: skip


def mutate_bytes(random: Random, data: bytes, most: int = 4) -> bytes:
    """Change, insert, remove, repeat or cut parts of some data."""
    changed = bytearray(data)
    for _ in range(random.randint(1, most)):
        at = random.randint(0, len(changed))
        length = random.choice((1, 1, 2, 4, 8, random.randint(0, 200)))
        match random.randint(0, 6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randint(0, 7)
            case 1 if at < len(changed):
                changed[at : at + length] = random.randbytes(min(length, len(changed) - at))
            case 2:
                changed[at:at] = random.choice(HOSTILE_BYTES)
            case 3:
                del changed[at : at + length]
            case 4:
                part = changed[at : at + length]
                changed[at:at] = part * random.randint(1, 20)
            case 5:
                del changed[at:]
            case 6 if at < len(changed):
                word = random.choice((0, 1, 0x7F, 0xFF)).to_bytes(1, "little") * length
                changed[at : at + length] = word[: len(changed) - at]
    return bytes(changed)


def mutate_lines(random: Random, data: bytes) -> bytes:
    """Exchange, repeat, remove or change whole lines."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return mutate_bytes(random, data)
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randint(0, 3):
        case 0:
            lines[at], lines[other] = lines[other], lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            del lines[at]
        case 3:
            lines[at] = mutate_bytes(random, lines[at], 2)
    return b"".join(lines)


def mutate_json(random: Random, value: Any) -> Any:
    """Replace one value in a document, or remove or add a member."""
    places: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict | list):
            keys = list(each) if isinstance(each, dict) else range(len(each))
            places += [(each, key) for key in keys]
            pending += [each[key] for key in keys]
    if not places:
        return random.choice(HOSTILE_VALUES)
    container, key = random.choice(places)
    match random.randint(0, 3):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[random.choice(("", "x", "event", "../x", "\x1b"))] = container[key]
        case 2:
            other, place = random.choice(places)
            moved = json.loads(json.dumps(container[key]))
            if place in other if isinstance(other, dict) else place < len(other):
                other[place] = moved
        case _:
            container[key] = random.choice(HOSTILE_VALUES)
    return value


def mutate_json_text(random: Random, data: bytes) -> bytes:
    """Mutate a document, or a line of a file of documents, as JSON; other data as bytes."""
    lines = data.splitlines(keepends=True)
    at = random.randrange(len(lines)) if lines else 0
    for whole, text in ((True, data), (False, lines[at] if lines else b"")):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        changed = json.dumps(mutate_json(random, value)).encode()
        return changed if whole else b"".join((*lines[:at], changed, b"\n", *lines[at + 1 :]))
    return mutate_bytes(random, data)


def mutate(random: Random, data: bytes) -> bytes:
    """Mutate text in one of the ways above."""
    return random.choice((mutate_bytes, mutate_lines, mutate_json_text))(random, data)
