"""What every page of ours is made of: templates that escape, style and script in one file.

Hidden characters are made visible and Jinja escapes markup. A content security policy allows only
the style and script of the page.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

from foothold_lab.harness.model.escape import escape_html


def environment(package: str, *others: str) -> jinja2.Environment:
    """Return an environment with the templates of a package, then of others."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(each) for each in (package, *others)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=visible,
    )


def visible(value: object) -> object:
    """Make the hidden characters of a text visible; leave every other value as it is."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return escape_html(value)


@cache
def asset(package: str, name: str) -> str:
    """Return a file of the folder `assets` of a package."""
    return resources.files(package).joinpath("assets", name).read_text("utf-8")


def embedded(style: str, script: str) -> dict[str, object]:
    """Return what the head of a page needs to have its own style and script, and nothing else."""
    return {
        "style": Markup(style),  # noqa: S704 - our own files
        "script": Markup(script),  # noqa: S704
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
    }


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
