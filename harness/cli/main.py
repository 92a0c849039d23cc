"""The program `foothold`: finds and runs a command, and turns errors into messages."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence

import click

from foothold_lab.harness import __version__
from foothold_lab.harness.cli.bisect import ABORT, is_bisection
from foothold_lab.harness.cli.context import (
    BROKEN_PIPE,
    FAILED,
    FINDING,
    INTERRUPTED,
    OK,
    USAGE,
    handle_termination,
    ignore_termination,
    report_error,
    state_directory,
    unique_name,
)
from foothold_lab.harness.cli.streams import (
    discard_output,
    escape_unprintable,
    flush_output,
    is_broken,
    is_closed_terminal,
    replace_closed_streams,
)
from foothold_lab.harness.model.errors import Blame, FootholdError, UsageError, did_you_mean

_COMPLETING = "_FOOTHOLD_COMPLETE"  # set by a shell that asks for completions

# The commands by purpose. Each is a function in the module of this room that has its name.
COMMANDS: Mapping[str, Sequence[str]] = {
    "Run programs": ("run", "watch", "threshold", "survey", "differences", "fuzz"),
    "Plans": ("plan", "policies", "predict"),
    "Results": (
        "report",
        "show",
        "merge",
        "site",
        "history",
        "compare",
        "flaky",
        "repro",
        "findings",
        "schema",
    ),
    "Guests": ("doctor", "setup", "facts", "atlas", "shell", "guests", "gdb", "images"),
    "Clusters": ("worker",),
    "Help": ("help", "man", "completion"),
}
_HINTS = {  # words that are no commands, and what was meant
    "test": "in a checkout, `./foothold test` runs all tests",
    "bench": "in a checkout, `./foothold bench` measures",
    "version": "`foothold --version` shows the version",
}
_NAMES = tuple(name for names in COMMANDS.values() for name in names)


class _Commands(click.Group):
    """Imports the module of a command when the command is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_NAMES)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in _HINTS:
            raise UsageError(f"No such command {args[0]!r}", _HINTS[args[0]])
        if args and args[0] not in _NAMES and args[0][:1] != "-":
            raise click.UsageError(
                f"No such command {args[0]!r}{did_you_mean(args[0], _NAMES)}", context
            )
        return super().resolve_command(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _NAMES:
            return None
        module = importlib.import_module(f"foothold_lab.harness.cli.{name}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        if _COMPLETING in os.environ:
            from foothold_lab.harness.cli.completion import complete_parameters

            complete_parameters(command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - max(map(len, _NAMES)) - 6
        for title, names in COMMANDS.items():
            found = {name: self.get_command(context, name) for name in names}
            rows = [(name, each.get_short_help_str(width)) for name, each in found.items() if each]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: foothold run --subject ./server. `foothold help COMMAND` explains a "
    "command. In a checkout, `./foothold test` runs all tests.",
)
@click.version_option(__version__, prog_name="foothold")
@click.pass_context
def foothold(context: click.Context) -> None:
    """Test where programs reserve memory, and whether they can allocate it.

    Foothold boots native, User-Mode Linux, QEMU and container guests, limits their address space,
    runs a program inside, and reports with evidence what became of it.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default that of the process) and return the exit code.

    Never raises: every error becomes a message on stderr.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    escape_unprintable()
    try:
        # the launcher blocks Ctrl-C while Python starts
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = _flush(_run_command(arguments))
    except (KeyboardInterrupt, Exception) as error:
        code = _handle(error)
    if code in (INTERRUPTED, FAILED) and is_broken():  # a reporter stops a run that nothing reads
        discard_output()
        code = BROKEN_PIPE
    # `git bisect run` would take code 2 or 3 of a bad command line for a bad kernel
    return ABORT if code in (USAGE, FAILED) and is_bisection(arguments) else code


def _flush(code: int) -> int:
    """Flush standard output, and return the exit code. A finding remains if that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        failure = _handle(error)
        return code if code == FINDING else failure
    return code


def _run_command(arguments: list[str]) -> int:
    if not sys.platform.startswith("linux"):
        raise FootholdError(f"Foothold only runs on Linux; this is {sys.platform}")
    if _COMPLETING in os.environ:
        importlib.import_module("foothold_lab.harness.cli.completion")  # registers its own bash
        foothold.main(arguments, prog_name="foothold")
    # not foothold.main(): click would turn a broken pipe into exit code 1, which is a finding
    try:
        with foothold.make_context("foothold", arguments) as context:
            result = foothold.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        result = end.exit_code
    return result if isinstance(result, int) else OK


def _handle(error: BaseException) -> int:
    """Report an error, and return the exit code."""
    from foothold_lab.images.errors import ImageError

    match error:
        case KeyboardInterrupt() | click.Abort():
            if not is_broken():
                report_error("interrupted")
            return INTERRUPTED
        case OSError() if is_closed_terminal(error) or (
            isinstance(error, BrokenPipeError) and is_broken()
        ):
            discard_output()
            return BROKEN_PIPE
        case click.ClickException():
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "foothold"
            report_error(error.format_message(), f"`{path} --help` lists what is possible")
            return USAGE
        case FootholdError():
            report_error(str(error), error.remedy)
            return USAGE if error.blame is Blame.USAGE else FAILED
        case ImageError():
            report_error(str(error), error.remedy)
            return FAILED
    return _handle_unexpected(error)


def _handle_unexpected(error: BaseException) -> int:
    if os.environ.get("FOOTHOLD_DEBUG"):
        traceback.print_exception(error)
    else:
        report_error(f"{_summary(error)}; {_save_traceback(error)}")
    return FAILED


def _summary(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return f"unexpected {type(error).__name__}: {error}"


def _save_traceback(error: BaseException) -> str:
    """Write the traceback of an error to a file, and return a phrase that names the file."""
    from foothold_lab.harness.run_directory import write_private

    try:
        folder = state_directory() / "crashes"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{unique_name()}.txt"
        text = "".join(traceback.format_exception(error))
        write_private(path, text.encode(errors="backslashreplace"))
    except (OSError, FootholdError):  # a home directory that is absent or not writable
        return "set FOOTHOLD_DEBUG=1 to see the traceback"
    return f"the traceback is in {path}"


def program() -> None:
    """Run the command line of the process, and end the process with the exit code."""
    replace_closed_streams()
    handle_termination()
    code = main()
    ignore_termination()
    flush_output()
    if code == INTERRUPTED:
        # CPython remembers an interrupt that passed through exec(), even one that was caught, and
        # would end the process by SIGINT instead of with this exit code
        os._exit(code)
    sys.exit(code)
