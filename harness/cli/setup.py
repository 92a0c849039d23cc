"""`foothold setup`: the Debian mirror that images are made from."""

from __future__ import annotations

import os

import click

from foothold_lab.harness.cli.context import OK, report_progress
from foothold_lab.harness.cli.formatting import print_text


@click.command(short_help="Choose the Debian mirror of this user.")
@click.option(
    "--mirror",
    "url",
    metavar="URL",
    help="Try this Debian mirror, and write it into the configuration of this user.",
)
def setup(url: str | None) -> int:
    """Choose the Debian mirror that images are made from, or print which one is used.

    A mirror is tried before it is written: it must have the suites of the default plan, signed by
    Debian. FOOTHOLD_MIRROR takes precedence over the configuration, and both over apt's own
    sources. A machine whose apt uses a Debian mirror needs no set-up.
    """
    from foothold_lab.images.apt import Apt
    from foothold_lab.images.cache import Cache
    from foothold_lab.images.catalogue import default_suites
    from foothold_lab.images.mirror import VARIABLE, check_address, find_mirror, remember_mirror

    if url is None:
        mirror = find_mirror()
        print_text(f"{mirror.url}  (from {mirror.chosen_by})")
        return OK
    before = os.environ.get(VARIABLE)
    url = check_address(url, "--mirror")
    apt, suites = Apt(Cache(), report_progress, mirror=url), default_suites()
    for suite in suites:
        apt.verify_suite(suite)
    print_text(f"{url}: Debian signed its suites {', '.join(suites)}")
    print_text(f"wrote {remember_mirror(url)}")
    if before and before != url:
        print_text(f"{VARIABLE} is set in this environment, and takes precedence")
    return OK
