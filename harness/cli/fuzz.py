"""`foothold fuzz`: the same random programs natively and in guests, and where they differ."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import (
    FINDING,
    OK,
    handle_termination,
    make_builder,
    make_run_directory,
    report_progress,
)
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.call_fuzzer import (
        Campaign,
        FoundDifference,
        Interpreter,
        Program,
    )
    from foothold_lab.harness.runner import RunOptions
    from foothold_lab.images.builder import Builder

_GUESTS = ("uml-6.1", "uml-6.12", "uml-7.2", "qemu-x86_64")
_SECONDS = 60.0


@click.command(short_help="Compare random system calls natively and in guests.")
@click.option(
    "--guest",
    "guests",
    multiple=True,
    metavar="GUEST",
    help=f"Guest to compare with this machine; repeatable (default: {', '.join(_GUESTS)}).",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=_SECONDS,
    show_default=True,
    metavar="N",
    help="How long random programs run; 0: only the corpus.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="First seed. The same seed makes the same programs.",
)
@click.option(
    "--program",
    "texts",
    multiple=True,
    metavar="CALLS",
    help="Run this program instead, and print all answers; repeatable.",
)
@click.option(
    "--run-dir", "directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIRECTORY",
    help="Directory for the consoles of the guests (default: a new one).",
)  # fmt: skip
def fuzz(
    guests: tuple[str, ...],
    seconds: float,
    seed: int,
    texts: tuple[str, ...],
    directory: Path | None,
) -> int:
    """Run random programs of mapping and signal calls natively and in guests, and compare.

    First the corpus of known programs runs. A program that differs in a guest, and is not known to,
    is confirmed, made as small as possible, and printed. Ends with 1 if one was found. Guests of
    this machine's architecture can be compared.
    """
    from foothold_lab.harness.api.vocabulary import canonical_guest
    from foothold_lab.harness.call_fuzzer import Interpreter, parse_program
    from foothold_lab.harness.call_fuzzer.interpreter import interpreter_subject
    from foothold_lab.harness.runner import PROGRAM_MEMORY, RunOptions

    programs = tuple(map(parse_program, texts))
    handle_termination()
    builder = make_builder()
    names = [canonical_guest(each, builder) for each in guests or _GUESTS]
    _check_machines(names, builder)
    subject = interpreter_subject(builder)
    options = RunOptions(
        directory=make_run_directory(directory),
        builder=builder,
        subjects={subject.name: subject},
        memory=PROGRAM_MEMORY,
        trace=False,
    )
    with contextlib.ExitStack() as stack:
        native = stack.enter_context(Interpreter("native", options))
        others = [
            stack.enter_context(Interpreter(name, options)) for name in names if name != "native"
        ]
        if programs:
            return _print_answers(programs, (native, *others))
        return _fuzz(native, others, seed, seconds, options)


def _check_machines(names: Sequence[str], builder: Builder) -> None:
    from foothold_lab.harness.guests.catalogue import catalogue, find_guest

    for name in names:
        if "x86_64" not in find_guest(catalogue(builder), name).machines:
            raise UsageError(
                f"{name} runs programs of another machine", "give a guest for x86-64 programs"
            )


def _print_answers(programs: Sequence[Program], interpreters: Sequence[Interpreter]) -> int:
    """Print what each guest answered; 1 if one answers otherwise than this machine."""
    from foothold_lab.harness.call_fuzzer import program_text

    answers = {each.guest: each.run(programs) for each in interpreters}
    native = answers["native"]
    for n, program in enumerate(programs):
        print_text(program_text(program))
        for guest, theirs in answers.items():
            print_text(f"  {guest}")
            for line in theirs[n]:
                print_text(f"  {' ' if line in native[n] else '*'} {line}")
    return OK if all(each == native for each in answers.values()) else FINDING


def _fuzz(
    native: Interpreter,
    others: Sequence[Interpreter],
    seed: int,
    seconds: float,
    options: RunOptions,
) -> int:
    from foothold_lab.harness.call_fuzzer import Campaign, read_corpus
    from foothold_lab.harness.conformance import kernel_of, known_differences

    kernels = []
    for each in others:
        booted = each.booted
        argv = booted.guest.boot_record.argv
        kernels.append((each, kernel_of(each.guest, booted.facts.release, argv)))
    campaign = Campaign(native, kernels, _print_found)
    campaign.replay(read_corpus(), known_differences())
    report_progress("the corpus has been run")
    after = campaign.fuzz(seed, seconds, len(options.processors))
    _print_result(campaign, seed, after)
    return FINDING if campaign.result.found else OK


def _print_found(found: FoundDifference) -> None:
    from foothold_lab.harness.call_fuzzer import program_text

    difference = found.difference
    source = f"seed {found.seed}" if found.seed >= 0 else "of the corpus"
    print_text(f"DIFFERS  {found.guest}, {source}: {difference.step}")
    print_text(f"  native  {difference.native}")
    print_text(f"  guest   {difference.other}")
    print_text(
        f"  again:  foothold fuzz --guest {found.guest} --program "
        f"'{program_text(difference.program)}'"
    )


def _print_result(campaign: Campaign, first: int, after: int) -> None:
    from foothold_lab.harness.call_fuzzer import program_text

    result = campaign.result
    for found in result.found:
        where = ", ".join(campaign.guests_that_differ(found))
        print_text(f"{program_text(found.difference.program)}: differs in {where or 'none again'}")
    for guest, programs in result.programs.items():
        new = sum(each.guest == guest for each in result.found)
        print_text(
            f"{guest}: {programs} programs, {new} new differences; {result.known.get(guest, 0)} "
            f"programs differ as is known, {result.unstable.get(guest, 0)} did not differ again"
        )
    for guest, entry in result.repaired:
        print_text(f"repaired in {guest}: {program_text(entry.calls)} ({entry.because})")
    if after > first:
        print_text(f"seeds {first} to {after - 1} were used; go on with --seed {after}")
