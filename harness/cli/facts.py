"""`foothold facts`: the measured properties of a guest's address space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK, make_builder
from foothold_lab.harness.cli.formatting import print_json
from foothold_lab.harness.cli.kernel_options import boot_guest, kernel_options, split_guest

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import CustomKernels

_SECONDS = 30.0  # for measuring under a limit, in a guest of native speed


@click.command(short_help="Measure the address space of a guest.")
@click.argument("guest", required=False)
@click.option(
    "--limit",
    default="none",
    show_default=True,
    metavar="LIMIT",
    help="Measure under this limit: ceiling=39bit, no-aslr, …",
)
@kernel_options
def facts(guest: str | None, limit: str, kernels: CustomKernels) -> int:
    """Boot a guest, measure its address space, and print the facts as JSON.

    GUEST may be left out with --uml or --kernel. `foothold doctor` lists all guests.
    """
    from foothold_lab.harness.guests.limit_support import facts_under
    from foothold_lab.harness.model.deadline import Deadline
    from foothold_lab.harness.model.limits import Limits

    limits = Limits.parse(limit)
    builder = make_builder()
    name, _ = split_guest((guest,) if guest else (), kernels, builder)
    with boot_guest(name, builder, custom_kernels=kernels) as (booted, measured):
        if limits.named:
            measured = facts_under(
                booted, measured, limits, Deadline.after(_SECONDS * booted.scale)
            )
        print_json(measured)
    return OK
