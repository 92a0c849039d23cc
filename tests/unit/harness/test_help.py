"""What the program says of itself: help of every command and option, manual pages, completion."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.cli.main import COMMANDS, foothold
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.plan_options import SECTIONS
from foothold_lab.harness.model.limits import USAGES

ROOT = Path(__file__).parents[3]


def contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command
            yield from contexts(click.Context(command, info_name=name, parent=context))


ALL = list(contexts(click.Context(foothold, info_name="foothold")))


@pytest.mark.parametrize("context", ALL, ids=lambda each: each.command_path)
def test_every_command_and_option_has_help(context: click.Context) -> None:
    command = context.command
    first = (command.help or "").split("\n\n")[0].strip()
    assert first, "a command without help"
    assert first[0].isupper()
    assert first[-1] in ".?"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help"
            assert parameter.help.endswith((".", "…", ")", "]")), parameter.help
    assert max(map(len, command.get_help(context).splitlines())) <= 80


def test_explains_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["help", "limits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for usage in USAGES[1:]:
        line = next(each for each in lines if each.strip().startswith(usage))
        assert line.strip() != usage


def test_every_command_has_a_page(tmp_path: Path) -> None:
    assert main.main(["man", "--write", str(tmp_path / "man1")]) == 0
    pages = {page.name for page in (tmp_path / "man1").iterdir()}
    assert pages == {f"{each.command_path.replace(' ', '-')}.1" for each in ALL}
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff: apt-get install groff-base")
    for page in (tmp_path / "man1").iterdir():
        argv = [groff, "-man", "-Tutf8", "-ww", "-z", str(page)]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), page.name


def test_prints_a_page_and_rejects_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["man", "images", "build"]) == 0
    out = capsys.readouterr().out
    assert out.startswith('.TH "FOOTHOLD-IMAGES-BUILD" 1')
    assert r"\fB\-\-locked\fR" in out
    assert main.main(["man", "nonsense"]) == 2


def offered(line: str) -> list[str]:
    """What a shell is offered for the last word of a command line."""
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COMP_LINE": line, "_FOOTHOLD_COMPLETE": "bash_complete"},
    )
    assert done.returncode == 0, done.stderr
    return [each.partition(",")[2] for each in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "line, some",
    [
        ("foothold ", {"run", "shell", "images", "completion"}),
        ("foothold run d", {"default"}),
        ("foothold run --guest uml-t", {"uml-trixie", "uml-testing"}),
        ("foothold run --require n", {"native"}),
        ("foothold run --policy ", {"before", "after"}),
        ("foothold run --limit overcommit", {"overcommit=0", "overcommit=1", "overcommit=2"}),
        ("foothold images build sys", {"sysroot"}),
        ("foothold shell uml-b", {"uml-bookworm"}),
        ("foothold gdb --bat", {"--batch"}),
        ("foothold run --limit overcommit=1", {"overcommit=1"}),
        ("foothold run --subject go-h", {"go-hello"}),
        ("foothold run --expect=path", {"path:low", "path:high"}),
        ("foothold compare la", {"last"}),
        ("foothold man sh", {"show", "shell"}),
        ("foothold images build --from-source ", {"5.10", "6.1", "6.12", "7.2"}),
    ],
)
def test_completes_names(line: str, some: set[str]) -> None:
    assert some <= set(offered(line))


def kinds(line: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COMP_LINE": line, "_FOOTHOLD_COMPLETE": "bash_complete"},
    )
    return {each.partition(",")[0] for each in done.stdout.splitlines()}


def test_names_are_remembered_and_known_without_the_guests(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "foothold_lab.harness.cli"]
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path),
        "_FOOTHOLD_COMPLETE": "bash_complete",
        "COMP_LINE": "foothold run --guest uml-6.12",
    }
    imports = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == ["plain,uml-6.12"]
        imports.append("foothold_lab.harness.guests" in done.stderr)
    assert imports == [True, False]
    remembered = tmp_path / "foothold/completion/guests"
    remembered.write_text("of another version\numl-5.3\n")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["plain,uml-6.12"]


def test_completes_files_where_they_are_allowed() -> None:
    for line in ("run ", "run --junit ", "run --subject ./s", "run --uml ", "report ", "compare "):
        assert "file" in kinds(f"foothold {line}"), line
    assert "file" not in kinds("foothold history --plan ")
    assert offered("foothold history --count ") == [""]


# as bash calls it: its own words end at = and :, and it replaces what follows the last of these
IN_BASH = """
compopt() { echo "files"; }
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE="$2" COMP_POINT=${#2}
source "$1" && _foothold_completion ./foothold && printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("foothold run --limit overcommit=", {"0", "1", "2"}),
        ("foothold run --limit=overcommit=", {"0", "1", "2"}),
        ("foothold run --limit=over", {"overcommit=0", "overcommit=1", "overcommit=2"}),
        ("foothold run --expect path:", {"high", "low", "refused"}),
        ("foothold run uml", {"files", "uml-bug-2012"}),
        ("foothold run -", {"--guest", "--limit"}),
    ],
)
def test_bash_gets_the_part_that_it_replaces(line: str, some: set[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    argv = [sys.executable, "-m", "foothold_lab.harness.cli", "completion", "bash"]
    script = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    program = tmp_path / "foothold"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m foothold_lab.harness.cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        [bash, "--norc", "-c", IN_BASH, "bash", "./script", line], capture_output=True, text=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    got = done.stdout.splitlines()
    assert some <= set(got)
    if len(some) == 3:
        assert some == set(got)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_accepts_its_script(shell: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "foothold_lab.harness.cli", "completion", shell]
    script = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "_FOOTHOLD_COMPLETE" in script
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(script)
        done = subprocess.run([program, "-n", str(tmp_path / "script")], capture_output=True)
        assert done.returncode == 0, done.stderr


def run_parameters() -> dict[str, click.Parameter]:
    [context] = [each for each in ALL if each.command_path == "foothold run"]
    return {str(each.name): each for each in context.command.params}


def test_every_option_of_run_is_in_one_section() -> None:
    options = {name for name, each in run_parameters().items() if isinstance(each, click.Option)}
    placed = [name for names in SECTIONS.values() for name in names]
    assert options <= set(placed)
    assert len(placed) == len(set(placed))


def test_the_help_of_run_has_sections_and_three_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["run", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [f"{title}:" for title in (*SECTIONS, "Other options", "Examples")]
    examples = [line for line in lines if line.startswith("  foothold run ")]
    assert len(examples) == 3


@pytest.mark.parametrize(
    "context", [each for each in ALL if isinstance(each.command, SectionedCommand)],
    ids=lambda each: each.command_path,
)  # fmt: skip
def test_every_example_can_be_parsed(context: click.Context) -> None:
    assert isinstance(context.command, SectionedCommand)
    assert context.command.examples
    for line, _ in context.command.examples:
        words = shlex.split(line.partition(" > ")[0])
        assert words[:2] == context.command_path.split()
        context.command.make_context(words[1], words[2:], context.parent)


@pytest.mark.parametrize("words", [[], ["run"], ["images", "build"]])
def test_help_shows_the_help_of_a_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["help", *words]) == 0
    shown = capsys.readouterr().out
    assert main.main([*words, "--help"]) == 0
    assert shown == capsys.readouterr().out


@pytest.mark.parametrize(("words", "near"), [(["rum"], "run"), (["images", "buil"], "build")])
def test_help_rejects_an_unknown_command(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["help", *words]) == 2
    assert f"did you mean {near}?" in capsys.readouterr().err


def test_every_command_is_a_module_of_its_own() -> None:
    for names in COMMANDS.values():
        for name in names:
            module = importlib.import_module(f"foothold_lab.harness.cli.{name}")
            found = [
                each for each in vars(module).values()
                if isinstance(each, click.Command) and each.callback
                and each.callback.__module__ == module.__name__
            ]  # fmt: skip
            if not isinstance(getattr(module, name), click.Group):
                assert found == [getattr(module, name)]
