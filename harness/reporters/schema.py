"""The JSON Schema of the document of a run, and the page docs/result-schema.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from foothold_lab.harness.reporters.json_document import Document

HEAD = """\
# The result schema

<!-- made by `./foothold schema --markdown`: edit the docstrings of the values instead -->

What `foothold run --json FILE` writes (`-` is standard output): one document, a
[Document](#document). `foothold schema` prints its JSON Schema, for programs. Every key is there in
every document; a later version with the same `schema` may have more. Times are in seconds, sizes in
bytes. A verdict has the same form in a run's `verdict.json` and `events.jsonl`, and in the history.
[reading-a-verdict.md](reading-a-verdict.md) explains the words.
"""
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the document."""
    whole = msgspec.json.schema(Document)
    for each in whole["$defs"].values():
        each["description"] = inspect.cleandoc(each["description"])
    return whole


def page() -> str:
    """Return the page docs/result-schema.md."""
    described = schema()["$defs"].items()
    return "\n".join([HEAD, *(line for name, one in described for line in _section(name, one))])


def _section(name: str, described: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{described['description']}\n"
    if "enum" in described:
        yield f"One of {_words(described['enum'])}.\n"
        return
    yield "| key | value |"
    yield "|---|---|"
    for key, value in described["properties"].items():
        yield f"| `{key}` | {_value(value)} |"
    yield ""


def _value(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value:
        return _words(value["enum"])
    if "anyOf" in value:
        return " or ".join(map(_value, value["anyOf"]))
    if value["type"] == "array":
        return f"[{_value(value['items'])}, …]"
    if value["type"] == "object":
        return f"{{NAME: {_value(value['additionalProperties'])}, …}}"
    return _TYPES[value["type"]]


def _words(words: list[object]) -> str:
    return ", ".join(f"`{msgspec.json.encode(each).decode()}`" for each in words)
