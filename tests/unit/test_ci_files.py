"""The files for CI systems are valid: the action, the workflows, the component, and the recipes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = re.compile(r"^```yaml\n(# [\w ]*:? ?(\S+)\n.*?)^```", re.MULTILINE | re.DOTALL)
SCHEMAS = {".github/workflows": "vendor.github-workflows", ".gitlab-ci.yml": "vendor.gitlab-ci"}


def recipes() -> list[tuple[str, str]]:
    """Return the path and the text of each file that docs/ci.md shows."""
    return [(path, text) for text, path in RECIPE.findall((ROOT / "docs/ci.md").read_text())]


def check(schema: str, *files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_has_the_form_of_an_action() -> None:
    check("vendor.github-actions", ROOT / "action.yml")


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_recipes_have_the_form_of_their_system(kind: str, tmp_path: Path) -> None:
    files = []
    for number, (path, text) in enumerate(recipes()):
        if path.startswith(kind):
            files.append(tmp_path / f"{number}.yml")
            files[-1].write_text(text)
    assert len(files) >= 2
    check(SCHEMAS[kind], *files)


def test_the_component_has_the_form_of_a_job(tmp_path: Path) -> None:
    """The header of a component is not in the schema; the jobs behind it are."""
    _, _, jobs = (ROOT / "templates/foothold.yml").read_text().partition("\n---\n")
    file = tmp_path / "jobs.yml"
    file.write_text(jobs.replace("$[[ inputs.parallel ]]", "2"))
    check("vendor.gitlab-ci", file)


def test_a_wrong_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "action.yml"
    file.write_text((ROOT / "action.yml").read_text().replace("using: composite", "using: compost"))
    with pytest.raises(AssertionError, match="compost"):
        check("vendor.github-actions", file)


@pytest.mark.parametrize(("path", "text"), recipes(), ids=lambda value: value[:30])
def test_a_recipe_for_other_repositories_requires_its_guests(path: str, text: str) -> None:
    if not text.startswith("# your repository:"):
        return
    assert "require" in text or "guests: |" in text or "plan: nightly" in text, path
    assert "./foothold" not in text, path  # the script of this repository
