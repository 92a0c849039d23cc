"""The program `foothold`: finds the command that is asked for, and turns errors into words."""

from __future__ import annotations

import importlib
import io
import os
import select
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
    INTERRUPTED,
    OK,
    USAGE,
    name_of_now,
    state,
)
from foothold_lab.harness.model.errors import Blame, FootholdError, did_you_mean

_COMPLETING = "_FOOTHOLD_COMPLETE"  # set by a shell that asks what it may offer

# a command, and the module of this room that has it
COMMANDS: Mapping[str, str] = {
    "run": "run",
    "report": "report",
    "plan": "plan",
    "history": "history",
    "show": "show",
    "compare": "compare",
    "flaky": "history",
    "predict": "predict",
    "policies": "predict",
    "facts": "facts",
    "atlas": "atlas",
    "threshold": "threshold",
    "survey": "survey",
    "doctor": "facts",
    "shell": "shell",
    "repro": "repro",
    "gdb": "gdb",
    "images": "images",
    "schema": "schema",
    "completion": "completion",
    "man": "man",
}


class _PipeError(Exception):
    """A pipe is broken, and click is not to know it: it would end us with 1, which is a finding."""


class _Commands(click.Group):
    """Finds commands by the module that has them, and imports that module alone."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError as error:
            raise _PipeError from error

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and args[0][:1] != "-":
            raise click.UsageError(
                f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", context
            )
        return super().resolve_command(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"foothold_lab.harness.cli.{COMMANDS[name]}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        if _COMPLETING in os.environ:
            from foothold_lab.harness.cli.completion import offer_names

            offer_names(command)
        return command


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="foothold")
@click.pass_context
def foothold(context: click.Context) -> None:
    """Where in the address space does a program find its foothold, and can it allocate there?"""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (the process's own by default) and return the exit code.

    Never raises: whatever goes wrong becomes a line on stderr.
    """
    code = _main(argv)
    words = sys.argv[1:] if argv is None else argv
    # a command line that cannot be read would call every commit bad
    return ABORT if code in (USAGE, FAILED) and is_bisection(words) else code


def _main(argv: Sequence[str] | None) -> int:
    from foothold_lab.images.errors import ImageError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no locale is a reason to fail
    if not sys.platform.startswith("linux"):
        return _say(FAILED, f"this is {sys.platform}; guests can only be had on Linux", "")
    if _COMPLETING in os.environ:
        importlib.import_module("foothold_lab.harness.cli.completion")  # it has a bash of its own
    try:
        # the launcher has held Ctrl-C back until somebody is there to answer it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        result = foothold.main(
            args=None if argv is None else list(argv), prog_name="foothold", standalone_mode=False
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "foothold"
        return _say(USAGE, error.format_message(), f"`{path} --help` says what there is")
    except FootholdError as error:
        code = USAGE if error.blame is Blame.USAGE else FAILED
        return _say(code, str(error), error.remedy)
    except ImageError as error:
        return _say(FAILED, str(error), error.remedy)
    except (KeyboardInterrupt, click.Abort):
        return _say(INTERRUPTED, "interrupted", "")
    except (BrokenPipeError, _PipeError) as error:
        if not _is_broken(sys.stdout.fileno()):
            return _unforeseen(error.__cause__ or error)
        # nobody reads on; what is still buffered must not be complained about at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _unforeseen(error)


def _is_broken(descriptor: int) -> bool:
    """Has whoever read from this pipe gone?"""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _unforeseen(error: BaseException) -> int:
    if os.environ.get("FOOTHOLD_DEBUG"):
        traceback.print_exc()
        return FAILED
    return _say(FAILED, f"{_last_words(error)}; {_keep_traceback()}", "")


def _say(code: int, message: str, remedy: str) -> int:
    click.echo(f"foothold: {message}", err=True)
    if remedy:
        click.echo(f"  remedy: {remedy}", err=True)
    return code


def _last_words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return f"unforeseen {type(error).__name__}: {error}"


def _keep_traceback() -> str:
    """Write down where the current exception came from, and say where that is."""
    try:
        folder = state() / "crashes"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name_of_now()}.txt"
        path.write_text(traceback.format_exc(), "utf-8", "backslashreplace")
    except OSError:
        return "FOOTHOLD_DEBUG=1 shows where"
    return f"the details are in {path}"


def program() -> None:
    """Be the program `foothold`: run the process's command line, and end the process."""
    code = main()
    if code == INTERRUPTED:
        # CPython remembers an interrupt that passed through exec(), even one that was caught, and
        # would end the process by SIGINT instead of with our exit code
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
