"""`foothold predict` and `foothold policies`: what must happen, without a boot."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from allocator.predict import Prediction
    from harness.cells import Limits
    from harness.facts import Facts
    from harness.verdict import Expectation

PAGE = 4096


@click.command()
@click.option("--task-size", default="47", metavar="N", help="In bits up to 64, or in bytes.")
@click.option("--rlimit-as", metavar="SIZE", help="RLIMIT_AS; unlimited by default.")
@click.option("--policy", default="after", metavar="P", help="See `foothold policies`.")
@click.option("--bottom-up", is_flag=True, help="The kernel places upward, as UML does.")
@click.option("--calls/--no-calls", default=True, help="Show the system calls.")
def predict(
    task_size: str, rlimit_as: str | None, policy: str, bottom_up: bool, calls: bool
) -> int:
    """Say what the allocator must come to in an address space.

    Two answers that share no code: the oracle's, from the facts, and that of the allocator itself
    on a model of the kernel. If they differ, the exit code is 1.
    """
    from allocator.policy import POLICIES
    from harness import oracle
    from harness.cells import Limits
    from harness.sizes import parse_size

    if policy not in POLICIES:
        raise UsageError(f"unknown policy {policy!r}", f"policies are: {', '.join(POLICIES)}")
    facts = _facts(_task_size(task_size), bottom_up=bottom_up)
    limits = Limits(parse_size(rlimit_as) if rlimit_as else None)
    modelled = _modelled(facts, limits, policy)
    foretold = oracle.predict(facts, limits, policy, oracle.Process(unsure=0))
    click.echo(f"{foretold}\n  oracle: {foretold.reason}")
    click.echo(f"  model:  {modelled.reason}")
    if calls:
        click.echo("  calls:")
        for call in modelled.calls:
            click.echo(f"    {call}")
    if not foretold.agrees(_expectation(modelled)):
        click.echo(f"  the model comes to something else: {_expectation(modelled)}")
        return 1
    return 0


@click.command()
def policies() -> None:
    """Explain the policies: generations of Go's reservation logic."""
    from allocator.policy import POLICIES

    for policy in POLICIES.values():
        click.echo(f"{policy.name}  ({policy.date}, {policy.commit})")
        click.echo(textwrap.indent(textwrap.fill(policy.explanation, 90), "    "))


def _task_size(text: str) -> int:
    """Read bytes, or bits: 47 bits of x86-64 end a page early, as Linux has it."""
    from harness.sizes import parse_size

    size = parse_size(text)
    if size > 64:
        if size < 1 << 20 or size % PAGE:
            raise UsageError(
                f"a task size of {text} is too small, or no number of pages",
                "give it in bits, such as 39, or in bytes, such as 0x7fc0000000",
            )
        return size
    if not 32 < size <= 64:
        raise UsageError(f"an address space of {size} bits", "64-bit kernels have 33 to 64")
    return (1 << size) - PAGE


def _facts(task_size: int, *, bottom_up: bool) -> Facts:
    """An address space of this size that is otherwise as everywhere."""
    from harness.facts import Cgroup, Facts, Hint, Tools
    from harness.oracle import HIGH, PROBE

    first = 0x40000000 if bottom_up else task_size - (1 << 30)
    high = HIGH if task_size >= HIGH + PROBE else first
    return Facts(
        schema=2, machine="x86_64", release="", pointer_size=8, page_size=PAGE,
        task_size=task_size, lowest=0x10000,
        placement="bottom-up" if bottom_up else "top-down", first=first,
        hint_high=Hint(HIGH, high, 0), hint_low=Hint(0x10000000, 0x10000000, 0),
        hint_beyond=Hint(task_size, first, 0), aslr=0, aslr_bits=0,
        rlimit_as=-1, rlimit_data=-1, rlimit_stack=8 << 20, rlimit_memlock=8 << 20,
        overcommit=0, commit_limit=-1, committed=-1, memory=-1, max_map_count=65530,
        cgroup=Cgroup(), tools=Tools(),
    )  # fmt: skip


def _modelled(facts: Facts, limits: Limits, policy: str) -> Prediction:
    from allocator.modelkernel import ModelKernel
    from allocator.policy import POLICIES
    from allocator.predict import predict as run_on
    from harness.oracle import FOOTPRINT

    room = limits.rlimit_as
    kernel = ModelKernel(
        facts.task_size,
        top_down=facts.placement == "top-down",
        rlimit_as=None if room is None else max(room - FOOTPRINT, 0),
    )
    return run_on(POLICIES[policy], kernel)


def _expectation(modelled: Prediction) -> Expectation:
    from harness.verdict import Expectation, Outcome, Path

    message = f"throw: {modelled.message}" if modelled.message else ""
    return Expectation(
        Path(modelled.path), Outcome(modelled.outcome), modelled.status, message, modelled.reason
    )
