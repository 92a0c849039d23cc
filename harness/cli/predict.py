"""`foothold predict` and `foothold policies`: what must happen, without a boot."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Limits
    from foothold_lab.harness.model.facts import Facts

PAGE = 4096


@click.command()
@click.option("--task-size", metavar="N", help="In bits up to 64, or in bytes (47; 3G of 32 bits).")
@click.option("--pointer-size", type=click.Choice(["4", "8"]), default="8", help="Bytes of one.")
@click.option("--limit", default="none", metavar="L", help="As of `run`: limits and faults.")
@click.option("--rlimit-as", metavar="SIZE", help="Short for --limit rlimit_as=SIZE.")
@click.option("--commit", metavar="SIZE", help="What overcommit=2 still leaves to promise.")
@click.option("--policy", default="after", metavar="P", help="See `foothold policies`.")
@click.option("--bottom-up", is_flag=True, help="The kernel places upward, as UML does.")
@click.option("--calls/--no-calls", default=True, help="Show the system calls.")
def predict(
    task_size: str | None,
    pointer_size: str,
    limit: str,
    rlimit_as: str | None,
    commit: str | None,
    policy: str,
    bottom_up: bool,
    calls: bool,
) -> int:
    """Say what the allocator must come to in an address space.

    Two answers that share no code: the oracle's, from the facts, and that of the allocator itself
    on a model of the kernel. If they differ, the exit code is 1.
    """
    from foothold_lab.harness import oracle
    from foothold_lab.harness.model.cells import Limits
    from foothold_lab.harness.model.sizes import parse_size
    from foothold_lab.harness.oracle import modelled

    if policy not in oracle.POLICIES:
        raise UsageError(
            f"unknown policy {policy!r}", f"policies are: {', '.join(oracle.POLICIES)}"
        )
    limits = Limits.parse(limit)
    if rlimit_as:
        limits = replace(limits, rlimit_as=parse_size(rlimit_as))
    pointers = int(pointer_size)
    end = _end(_task_size(task_size, pointers), limits)
    facts = _facts(end, pointers, bottom_up=bottom_up)
    facts = _under(facts, limits, parse_size(commit) if commit else None)
    if why := oracle.unknown(facts, policy):
        raise UsageError(why, "leave --pointer-size, or take another policy")
    process = replace(oracle.FORMS[pointers].process, unsure=0, low=modelled.low_arena(pointers))
    foretold = oracle.predict(facts, limits, policy, process)
    shown = modelled.run(policy, facts, limits, process)
    click.echo(f"{foretold}\n  oracle: {foretold.reason}")
    click.echo(f"  model:  {shown.reason}")
    if calls:
        click.echo("  calls:")
        for call in shown.calls:
            click.echo(f"    {call}")
    if not foretold.agrees(other := modelled.expectation(shown)):
        click.echo(f"  the model comes to something else: {other}")
        return 1
    return 0


@click.command()
def policies() -> None:
    """Explain the policies: generations of Go's reservation logic."""
    from foothold_lab.allocator.policy import POLICIES

    for policy in POLICIES.values():
        click.echo(f"{policy.name}  ({policy.date}, {policy.commit})")
        click.echo(textwrap.indent(textwrap.fill(policy.explanation, 90), "    "))


def _task_size(text: str | None, pointer_size: int) -> int:
    """Read bytes, or bits: 47 bits of x86-64 end a page early, as Linux has it."""
    from foothold_lab.harness.model.sizes import parse_size

    if text is None:
        return (1 << 47) - PAGE if pointer_size == 8 else 3 << 30
    size = parse_size(text)
    if size > 64:
        if size < 1 << 20 or size % PAGE:
            raise UsageError(
                f"a task size of {text} is too small, or no number of pages",
                "give it in bits, such as 39, or in bytes, such as 0x7fc0000000",
            )
        if size > 1 << 8 * pointer_size:
            raise UsageError(
                f"pointers of {pointer_size} bytes do not reach {text}", "give at most 0xfffff000"
            )
        return size
    least, most = (33, 64) if pointer_size == 8 else (28, 32)
    if not least <= size <= most:
        raise UsageError(
            f"an address space of {size} bits",
            f"{8 * pointer_size}-bit kernels have {least} to {most}",
        )
    return (1 << size) - PAGE


def _end(task_size: int, limits: Limits) -> int:
    """Where the address space ends, be it by a ceiling."""
    if limits.ceiling is None:
        return task_size
    if limits.ceiling > task_size:
        raise UsageError(
            f"a ceiling at {limits.ceiling:#x} is none: the address space ends at {task_size:#x}",
            "give a lower one, or a larger --task-size",
        )
    return limits.ceiling


def _facts(task_size: int, pointer_size: int, *, bottom_up: bool) -> Facts:
    """An address space of this size that is otherwise as everywhere."""
    from foothold_lab.harness.model.facts import Cgroup, Facts, Hint, Tools
    from foothold_lab.harness.oracle import HIGH, PROBE

    first = 0x40000000 if bottom_up else task_size - min(1 << 30, task_size >> 4)
    asked = HIGH if pointer_size == 8 else 0xB0000000
    high = asked if task_size >= asked + PROBE else first
    return Facts(
        schema=2,
        machine="x86_64" if pointer_size == 8 else "i686",
        release="",
        pointer_size=pointer_size,
        page_size=PAGE,
        task_size=task_size,
        lowest=0x10000,
        placement="bottom-up" if bottom_up else "top-down",
        first=first,
        hint_high=Hint(asked, high, 0),
        hint_low=Hint(0x10000000, 0x10000000, 0),
        hint_beyond=Hint(task_size, first, 0),
        aslr=0,
        aslr_bits=0,
        rlimit_as=-1,
        rlimit_data=-1,
        rlimit_stack=8 << 20,
        rlimit_memlock=8 << 20,
        overcommit=0,
        commit_limit=-1,
        committed=-1,
        memory=-1,
        max_map_count=65530,
        cgroup=Cgroup(),
        tools=Tools(),
    )


def _under(facts: Facts, limits: Limits, commit: int | None) -> Facts:
    """The same under limits that move what a guest's agent would measure."""
    if limits.legacy_layout:
        facts = replace(facts, placement="bottom-up", first=facts.task_size // 3 & ~(PAGE - 1))
    if limits.overcommit == 2 and commit is None:
        raise UsageError(
            "what overcommit=2 comes to depends on what the kernel may still promise",
            "give that as well: --commit 200M",
        )
    return facts if commit is None else replace(facts, commit_limit=commit, committed=0)
