"""The door, `foothold`: reads words, calls the laboratory, and turns errors into words.

Exit codes: 0 all as expected, 1 a finding, 2 usage, 3 the laboratory failed, 130 interrupted.
What takes long to import is imported where it is used, so that `foothold --help` is quick.
"""

from __future__ import annotations

import datetime
import io
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import __version__
from harness.cli_subject import Asked, subject_options
from harness.errors import Blame, FootholdError, InfrastructureError, UsageError

if TYPE_CHECKING:
    from harness.guests.own import OwnKernels
    from harness.plan import Known, PlanFile
    from harness.run import Summary
    from images.builder import Builder

OK, FINDING, USAGE, FAILED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


class _Commands(click.Group):
    """Finds commands by the module that has them, and imports that module alone."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_LAZY)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _LAZY:
            return None
        return _LAZY[name]()


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


@click.command()
@click.argument("plan", default="default", metavar="[PLAN]")
@click.option("--guest", "guests", multiple=True, metavar="G", help="This guest instead.")
@click.option("--limit", "limits", multiple=True, metavar="L", help="none, rlimit_as=300M, …")
@click.option("--policy", "policies", multiple=True, metavar="P", help="This policy instead.")
@click.option("--uml", type=click.Path(path_type=Path), metavar="FILE", help="A UML kernel.")
@click.option("--kernel", type=click.Path(path_type=Path), metavar="FILE", help="One for QEMU.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), metavar="N", help="Guests at once.")
@click.option("--json", "json_file", metavar="FILE", help="All of it as JSON; - is stdout.")
@click.option("--junit", "junit_file", metavar="FILE", help="All of it as JUnit's XML.")
@click.option("--require", multiple=True, metavar="G", help="Fail if this guest is unsupported.")
@click.option("--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep it here.")
@click.option("--locked", is_flag=True, help="Only packages that the lock names.")
@click.option("--fresh", is_flag=True, help="Boot each guest anew for every cell.")
@click.option("--trace/--no-trace", default=True, help="System calls as the third witness.")
@click.option("-q", "--quiet", is_flag=True, help="Only what failed, and the sum.")
@subject_options
def run(
    plan: str,
    guests: tuple[str, ...],
    limits: tuple[str, ...],
    policies: tuple[str, ...],
    uml: Path | None,
    kernel: Path | None,
    jobs: int | None,
    json_file: str | None,
    junit_file: str | None,
    require: tuple[str, ...],
    run_dir: Path | None,
    locked: bool,
    fresh: bool,
    trace: bool,
    quiet: bool,
    asked: Asked,
) -> int:
    """Run a plan: a shipped one by its name, or a TOML file.

    With --uml or --kernel, on a kernel of your own instead of the plan's guests.
    """
    from harness import events
    from harness import run as laboratory
    from harness.guests.own import OwnKernels
    from harness.sinks import Bus
    from harness.sinks.junit import Junit
    from harness.sinks.rundir import RunDirectory
    from harness.sinks.summary_json import SummaryJson
    from harness.sinks.terminal import Terminal, is_live
    from images.builder import Builder

    stream = sys.stderr if json_file == "-" else sys.stdout
    with Bus([Terminal(stream, live=is_live(stream), quiet=quiet)]) as bus:
        builder = Builder(locked=locked, say=lambda what: bus(events.Progress(what=what)))
        own = OwnKernels(uml, kernel)
        own.check()
        read = _plan(plan, builder, own)
        if asked.subject and policies:
            raise UsageError("a program of yours has no policy", "leave --policy, or --subject")
        subject = asked.resolve()
        cells = asked.cells(read.cells((*own.guests, *guests), limits, policies), subject)
        cells = tuple(replace(cell, where=own.where(cell.guest)) for cell in cells)
        required = _required(read, require, {cell.guest for cell in cells})
        directory = _run_directory(run_dir)
        bus.add(RunDirectory(directory))
        if json_file:
            bus.add(SummaryJson(json_file))
        if junit_file:
            bus.add(Junit(junit_file))
        _stop_as_by_ctrl_c()
        summary = laboratory.run(
            cells,
            laboratory.Options(
                directory=directory,
                builder=builder,
                own=own,
                jobs=jobs or 0,
                fresh=fresh,
                trace=trace,
                subject=subject,
                require=required,
                plan=read.name,
                command=("foothold", *map(_printable, sys.argv[1:])),
            ),
            bus,
        )
    code = _exit_code(summary, len(cells))
    return FAILED if code == OK and bus.failed else code  # a report that was asked for is missing


@click.command()
@click.argument("plan", default="default", metavar="[PLAN]")
@click.option("--guest", "guests", multiple=True, metavar="G", help="This guest instead.")
@click.option("--limit", "limits", multiple=True, metavar="L", help="none, rlimit_as=300M, …")
@click.option("--policy", "policies", multiple=True, metavar="P", help="This policy instead.")
def plan(
    plan: str, guests: tuple[str, ...], limits: tuple[str, ...], policies: tuple[str, ...]
) -> int:
    """List a plan's cells and what it declares of each; boots nothing."""
    read = _plan(plan, _builder())
    cells = read.cells(guests, limits, policies)
    click.echo(f"{read.name}: {read.description}" if read.description else read.name)
    width = max(len(cell.id) for cell in cells)
    for cell in cells:
        click.echo(f"{cell.id:<{width}}  {cell.declared or '(the oracle alone decides)'}")
    click.echo(f"{len(cells)} cells")
    return OK


@click.command()
@click.argument("guest")
def facts(guest: str) -> int:
    """Boot a guest and say what its address space is like, as JSON."""
    import tempfile

    import msgspec

    from harness import run as laboratory
    from harness.sinks import Bus
    from harness.sinks.terminal import Terminal

    builder = _builder()
    name = _known(builder).guest(guest)
    _stop_as_by_ctrl_c()
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([Terminal(sys.stderr, live=False)]) as bus,
    ):
        options = laboratory.Options(directory=Path(directory), builder=builder, jobs=1)
        measured = laboratory.facts_of(name, options, bus)
    click.echo(msgspec.json.format(msgspec.json.encode(measured), indent=1))
    return OK


@click.command()
def doctor() -> int:
    """Say for each guest whether this machine can boot it, why not, and the remedy."""
    from harness.doctor import examine

    checks = examine(_builder())
    width = max((len(check.guest) for check in checks), default=0)
    for check in checks:
        mark = click.style("ok", "green") if check.ok else click.style("no", "yellow")
        click.echo(f"{mark}  {check.guest:<{width}}  {check.reason}".rstrip())
        lines = [f"note: {note}" for note in check.notes]
        if not check.ok and check.remedy:
            lines.append(f"remedy: {check.remedy}")
        for line in lines:
            click.echo(f"    {'':<{width}}  {line}")
    return OK


def _predict() -> click.Command:
    from harness import cli_predict

    return cli_predict.predict


def _policies() -> click.Command:
    from harness import cli_predict

    return cli_predict.policies


def _atlas() -> click.Command:
    from harness import cli_atlas

    return cli_atlas.atlas


def _images() -> click.Command:
    from harness import cli_images

    return cli_images.images


_LAZY: dict[str, Callable[[], click.Command]] = {
    "run": lambda: run,
    "plan": lambda: plan,
    "predict": _predict,
    "policies": _policies,
    "facts": lambda: facts,
    "atlas": _atlas,
    "doctor": lambda: doctor,
    "images": _images,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (the process's own by default) and return the exit code.

    Never raises: whatever goes wrong becomes a line on stderr.
    """
    from images.errors import ImageError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no locale is a reason to fail
    if not sys.platform.startswith("linux"):
        return _say(FAILED, f"this is {sys.platform}; guests can only be had on Linux", "")
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
        return _say(code, str(error), error.hint)
    except ImageError as error:
        return _say(FAILED, str(error), error.hint)
    except (KeyboardInterrupt, click.Abort):
        return _say(INTERRUPTED, "interrupted", "")
    except BrokenPipeError:
        # nobody reads on; what is still buffered must not be complained about at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("FOOTHOLD_DEBUG"):
            traceback.print_exc()
            return FAILED
        return _say(FAILED, f"{_last_words(error)}; {_keep_traceback()}", "")


def _say(code: int, message: str, hint: str) -> int:
    click.echo(f"foothold: {message}", err=True)
    if hint:
        click.echo(f"  remedy: {hint}", err=True)
    return code


def _last_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return f"unforeseen {type(error).__name__}: {error}"


def _keep_traceback() -> str:
    """Write down where the current exception came from, and say where that is."""
    try:
        folder = _state() / "crashes"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_name_of_now()}.txt"
        path.write_text(traceback.format_exc(), "utf-8", "backslashreplace")
    except OSError:
        return "FOOTHOLD_DEBUG=1 shows where"
    return f"the details are in {path}"


def _builder() -> Builder:
    from images.builder import Builder

    return Builder(say=lambda what: click.echo(what, err=True))


def _known(builder: Builder, own: OwnKernels | None = None) -> Known:
    from harness.guests.catalogue import NO_OWN, known_guests
    from harness.plan import Known
    from harness.witnesses.maps import POLICIES

    return Known(known_guests(builder, own or NO_OWN), POLICIES)


def _plan(name: str, builder: Builder, own: OwnKernels | None = None) -> PlanFile:
    from harness.plan import find, load

    path = find(name)
    return load(path, _known(builder, own))


def _required(plan: PlanFile, asked: Sequence[str], guests: set[str]) -> frozenset[str]:
    """Return the guests that must be there; those asked for by hand must also have cells."""
    names = frozenset(plan.known.guest(each) for each in asked)
    if idle := sorted(names - guests):
        raise UsageError(
            f"{', '.join(idle)} is required and has no cell in this run",
            "add it with --guest, or leave --require",
        )
    return names | plan.require & guests


def _run_directory(chosen: Path | None) -> Path:
    """Make the run's directory, which no other run has."""
    directory = (chosen or _state() / "runs" / _name_of_now()).absolute()
    if (directory / "run.json").exists():
        raise UsageError(f"{directory} holds a run already", "give --run-dir a new directory")
    try:
        directory.mkdir(parents=True, exist_ok=chosen is not None)
    except OSError as error:
        raise InfrastructureError(
            f"{directory} cannot be made: {error.strerror}", "give --run-dir another directory"
        ) from error
    return directory


def _state() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local/state").absolute() / "foothold"


def _name_of_now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def _stop_as_by_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does: guests stopped, files whole."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _printable(argument: str) -> str:
    """An argument that is not UTF-8 has to be written down all the same."""
    return argument.encode(errors="backslashreplace").decode()


def _exit_code(summary: Summary, cells: int) -> int:
    """A finding counts more than a failure of the laboratory: it is certain, the other is a gap."""
    if summary.interrupted:
        return INTERRUPTED
    if summary.required_missing or summary.counts.get("fail"):
        return FINDING
    if summary.counts.get("error") or sum(summary.counts.values()) < cells:
        return FAILED
    return OK


def program() -> None:
    """Be the program `foothold`: run the process's command line, and end the process."""
    code = main()
    if code == INTERRUPTED:
        # CPython remembers an interrupt that passed through exec(), even one that was caught, and
        # would end the process by SIGINT instead of with our exit code
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
