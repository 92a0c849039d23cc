"""An Atom feed of new findings. Source: RFC 4287."""

from __future__ import annotations

import datetime
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from itertools import groupby

from foothold_lab.harness.dashboard.changes import NewFinding
from foothold_lab.harness.model.escape import escape_text

_NAMESPACE = "http://www.w3.org/2005/Atom"
MOST_ENTRIES = 100


def feed(findings: Iterable[NewFinding], url: str) -> bytes:
    """Return the feed: an entry for each run that has new findings, the newest first.

    `url` is the address of the site, which an absolute link needs; empty if it is not known.
    """
    ET.register_namespace("", _NAMESPACE)
    root = ET.Element(f"{{{_NAMESPACE}}}feed")
    newest = sorted(findings, key=lambda each: (-each.at, each.run))
    entries = [list(group) for _, group in groupby(newest, key=lambda each: each.run)]
    _add(root, "id", url or "urn:foothold:findings")
    _add(root, "title", "Foothold: new findings")
    _add(root, "updated", _time(newest[0].at if newest else 0.0))
    _add(ET.SubElement(root, f"{{{_NAMESPACE}}}author"), "name", "Foothold")
    if url:
        ET.SubElement(root, f"{{{_NAMESPACE}}}link", href=url)
    for each in entries[:MOST_ENTRIES]:
        _add_entry(root, each, url)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _add_entry(root: ET.Element, findings: Sequence[NewFinding], url: str) -> None:
    first = findings[0]
    entry = ET.SubElement(root, f"{{{_NAMESPACE}}}entry")
    count = len(findings)
    _add(entry, "id", f"urn:foothold:run:{first.run}")
    _add(entry, "title", f"{first.plan}: {count} new finding{'s' if count > 1 else ''}")
    _add(entry, "updated", _time(first.at))
    if url:
        ET.SubElement(entry, f"{{{_NAMESPACE}}}link", href=url)
    lines = (
        f"{each.cell}: {each.before} -> {each.now}"
        + (f": {each.finding.text} [{each.finding.code}]" if each.finding else "")
        for each in findings
    )
    _add(entry, "content", "\n".join(lines), type="text")


def _add(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, f"{{{_NAMESPACE}}}{name}", attributes).text = escape_text(text)


def _time(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")
