"""`foothold predict`: the verdict of the allocator in an address space, without a boot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.cli.context import FINDING, OK
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.model.errors import UndecidedError, UsageError, did_you_mean

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Limits
    from foothold_lab.harness.model.facts import Facts

PAGE_SIZES = {"4K": 4 << 10, "16K": 16 << 10, "64K": 64 << 10}


@dataclass(frozen=True, kw_only=True)
class _AddressSpace:
    """An address space, as the command line describes it."""

    task_size: str | None
    pointer_size: str
    page_size: str
    limit: str
    rlimit_as: str | None
    commit_limit: str | None
    bottom_up: bool

    @property
    def pointer_bytes(self) -> int:
        return int(self.pointer_size)

    def limits(self) -> Limits:
        """Parse the limits. Raises UsageError."""
        from foothold_lab.harness.model.cells import Limits
        from foothold_lab.harness.model.sizes import parse_size

        limits = Limits.parse(self.limit)
        if self.rlimit_as:
            limits = replace(limits, rlimit_as=parse_size(self.rlimit_as))
        return limits

    def facts(self) -> Facts:
        """Return the facts that a guest with this address space would have. Raises UsageError."""
        from foothold_lab.harness.model.sizes import parse_size
        from foothold_lab.harness.oracle.imagined import imagined_facts, under_limits

        limits, page_size = self.limits(), PAGE_SIZES[self.page_size]
        if misaligned := limits.misaligned(page_size):
            raise UsageError(
                f"{misaligned} is not a multiple of the page, {self.page_size}",
                "round the address to a whole page",
            )
        end = _end(_task_size(self.task_size, self.pointer_bytes, page_size), limits)
        commit_limit = parse_size(self.commit_limit) if self.commit_limit else None
        if limits.overcommit == 2 and commit_limit is None:
            raise UsageError(
                "the effect of overcommit=2 depends on the memory that may still be committed",
                "give it, for example --commit-limit 200M",
            )
        facts = imagined_facts(end, self.pointer_bytes, page_size, bottom_up=self.bottom_up)
        return under_limits(facts, limits, commit_limit)


@click.command(short_help="Predict the allocator's verdict without a boot.")
@click.option(
    "--task-size",
    metavar="SIZE",
    help="End of the address space, in bits or in bytes (default: 47; with pointers of 4 bytes: 3G).",
)
@click.option(
    "--pointer-size",
    type=click.Choice(["4", "8"]),
    default="8",
    show_default=True,
    help="Bytes of a pointer.",
)
@click.option(
    "--page-size",
    type=click.Choice(list(PAGE_SIZES)),
    default="4K",
    show_default=True,
    help="Bytes of a page of the kernel.",
)
@click.option(
    "--limit",
    default="none",
    show_default=True,
    metavar="LIMIT",
    help="Limits and faults, as in `foothold run`.",
)
@click.option("--rlimit-as", metavar="SIZE", help="The same as --limit rlimit_as=SIZE.")
@click.option(
    "--commit-limit",
    metavar="SIZE",
    help="Memory that may still be committed; overcommit=2 needs it.",
)
@click.option("--bottom-up", is_flag=True, help="The kernel places mappings upwards, as UML does.")
@click.option(
    "--policy",
    default="after",
    show_default=True,
    metavar="POLICY",
    help="Policy of the allocator: see `foothold policies`.",
)
@click.option(
    "--workload",
    default="default",
    show_default=True,
    metavar="WORKLOAD",
    help="Workload of the allocator: none, default, hello, grow:SIZE, block:SIZE or small:N:SIZE.",
)
@click.option(
    "--calls/--no-calls",
    default=True,
    show_default=True,
    help="Show the allocator's system calls.",
)
def predict(policy: str, workload: str, calls: bool, **address_space: Any) -> int:
    """Predict the allocator's verdict in an address space, without a boot.

    Two predictions are made that share no code: that of the oracle, from facts, and that of the
    allocator on a model of the kernel. The exit code is 1 if they differ. Where the oracle cannot
    decide, the answer is that of the model.
    """
    from foothold_lab.harness import oracle
    from foothold_lab.harness.oracle import modelled
    from foothold_lab.harness.plan.vocabulary import check_workload

    if policy not in oracle.POLICIES:
        raise UsageError(
            f"unknown policy {policy!r}{did_you_mean(policy, oracle.POLICIES)}",
            f"known policies: {', '.join(oracle.POLICIES)}",
        )
    check_workload(workload)
    space = _AddressSpace(**address_space)
    facts, limits, pointers = space.facts(), space.limits(), space.pointer_bytes
    if problem := oracle.unknown(facts, policy):
        raise UsageError(problem, "remove --pointer-size, or choose another policy")
    process = replace(oracle.FORMS[pointers].process, unsure=0, low=modelled.low_arena(pointers))
    model = modelled.run(policy, facts, limits, process, workload)
    other = modelled.expectation(model)
    try:
        predicted = oracle.predict(facts, limits, policy, process, workload=workload)
        reason = predicted.reason
    except UndecidedError as error:
        predicted, reason = other, f"undecided: {error}"
    print_text(f"{other if predicted.outcome is None else predicted}\n  oracle: {reason}")
    print_text(f"  model:  {model.reason}")
    if calls:
        click.echo("  calls:")
        for call in model.calls:
            print_text(f"    {call}")
    if not predicted.agrees(other):
        print_text(f"  the model differs: {other}")
        return FINDING
    return OK


def _task_size(text: str | None, pointer_size: int, page_size: int) -> int:
    """Parse a size in bytes or bits. Linux ends 47 bits of x86-64 a page early."""
    from foothold_lab.harness.model.sizes import parse_size

    if text is None:
        return (1 << 47) - page_size if pointer_size == 8 else 3 << 30
    size = parse_size(text)
    if size > 64:
        if size < 1 << 20 or size % page_size:
            raise UsageError(
                f"a task size of {text} is too small, or not a multiple of {page_size}",
                "give bits, for example 39, or bytes, for example 0x7fc0000000",
            )
        if size > 1 << 8 * pointer_size:
            raise UsageError(
                f"pointers of {pointer_size} bytes do not reach {text}", "give at most 0xfffff000"
            )
        return size
    least, most = (33, 64) if pointer_size == 8 else (28, 32)
    if not least <= size <= most:
        raise UsageError(
            f"--task-size: {size} bits",
            f"a {8 * pointer_size}-bit kernel has {least} to {most} bits",
        )
    return (1 << size) - page_size


def _end(task_size: int, limits: Limits) -> int:
    """Return the end of the address space: the ceiling, if there is one."""
    if limits.ceiling is None:
        return task_size
    if limits.ceiling > task_size:
        raise UsageError(
            f"a ceiling at {limits.ceiling:#x} has no effect: the address space ends at "
            f"{task_size:#x}",
            "give a lower ceiling, or a larger --task-size",
        )
    return limits.ceiling
