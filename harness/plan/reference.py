"""The documentation of the plan file, made from the table of settings."""

from __future__ import annotations

from collections.abc import Iterator

from foothold_lab.harness.plan import schema
from foothold_lab.harness.plan.schema import REQUIRED, SECTIONS, Setting, Shape
from foothold_lab.harness.plan.value_types import FLAG

HEAD = """\
# The plan file

<!-- made by `./foothold plan --reference`: change harness/plan/schema.py instead -->

A plan is a TOML file; [plans.md](plans.md) tells how to write one. Where a setting has an option,
the option of `foothold run` and `foothold plan` goes before what the plan says. Patterns may have
shell wildcards, `*`, `?`, `[…]`; a list of patterns matches if one of them does.
"""


def reference() -> str:
    """Return the page docs/plan-reference.md."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for section in SECTIONS.values():
        yield f"## {f'`{section.title}`' if section.title else 'Above all tables'}\n"
        yield f"{section.help}\n"
        yield "| key | value | if it is not given | option | |"
        yield "|---|---|---|---|---|"
        for setting in schema.of_section(section.key):
            yield _row(setting, section.key)
        yield ""


def _row(setting: Setting, section: str) -> str:
    value = {
        Shape.ONE: setting.kind.name,
        Shape.LIST: f"[{setting.kind.name}, …]",
        Shape.SET: f"[{setting.kind.name}, …]",
        Shape.NAMED: f"{{NAME = {setting.kind.name}, …}}",
    }[setting.shape]
    default = "as in the plan" if _is_the_plans(setting, section) else _default(setting)
    cells = (f"`{setting.key}`", value, default, _option(setting), setting.help)
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _is_the_plans(setting: Setting, section: str) -> bool:
    return section == schema.CELLS and schema.PLAN in setting.sections


def _option(setting: Setting) -> str:
    if not setting.option:
        return ""
    name = f"`{setting.option.name}`"
    return f"{name}, `{setting.option.off}`" if setting.kind is FLAG else name


def _default(setting: Setting) -> str:
    if setting.default is REQUIRED:
        return "needed"
    if setting.otherwise:
        return setting.otherwise
    if isinstance(setting.default, tuple):
        words = ", ".join(f'"{each}"' for each in setting.default)
        return f"`[{words}]`" if words else "none"
    return "" if setting.default in ("", None) else f"`{str(setting.default).lower()}`"
