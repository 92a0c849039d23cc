"""`foothold site`: the history as a static site."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import plural, print_text
from foothold_lab.harness.cli.history_options import database_option
from foothold_lab.harness.model.errors import InfrastructureError, UsageError
from foothold_lab.harness.model.findings import Code

if TYPE_CHECKING:
    from foothold_lab.harness.dashboard import NewFinding

NOTIFY_SECONDS = 300


@click.command(short_help="Write the history as a static web site.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--plan", "plans", multiple=True, metavar="PLAN", help="Show this plan; repeatable.")
@click.option(
    "--runs", type=click.IntRange(1, 365), default=60, show_default=True,
    help="Show at most this many runs of each plan.",
)  # fmt: skip
@click.option("--url", default="", metavar="URL", help="Address of the site, for the feed.")
@click.option(
    "--notify", metavar="COMMAND",
    help="Run COMMAND if there are findings that the site did not have before, and write them to its "
    "standard input as JSON.",
)  # fmt: skip
@database_option
def site(
    directory: Path, plans: tuple[str, ...], runs: int, url: str, notify: str | None, file: Path
) -> int:
    """Write the history as a static web site: the newest run of each plan, the results of each cell
    over time, what changed, flaky cells, and a feed of new findings (feed.atom).

    The site needs no server, no script and no network. DIRECTORY is new, or holds an earlier site,
    which is updated.
    """
    from foothold_lab.harness.dashboard import SiteOptions, write_site
    from foothold_lab.harness.results_db.database import Database

    argv = _parse_command(notify) if notify else []
    charts = _can_draw()
    if not charts:
        print_text(
            "no charts: they need vl-convert-python; pip install 'foothold-lab[site]'", err=True
        )
    options = SiteOptions(plans=frozenset(plans), runs=runs, url=url, charts=charts)
    with Database(file, read_only=True) as database:
        written = write_site(database, directory, options)
    new = f", {plural(len(written.new), 'new finding')}" if written.new else ""
    print_text(f"{plural(written.pages, 'page')} in {directory}{new}")
    if argv and written.new:
        _notify(argv, written.new)
    return OK


def _can_draw() -> bool:
    from importlib.util import find_spec

    return find_spec("vl_convert") is not None


def _parse_command(text: str) -> list[str]:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--notify: {error}", "close the quotes") from error
    if not argv:
        raise UsageError("--notify needs a command", "give a program and its arguments")
    return argv


def _notify(argv: list[str], findings: tuple[NewFinding, ...]) -> None:
    """Run the user's command. Raises InfrastructureError if it cannot be started or fails."""
    from msgspec.json import encode

    document = encode(findings)
    try:
        done = subprocess.run(argv, input=document, timeout=NOTIFY_SECONDS, check=False)
        problem = f"ended with status {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    sys.stdout.flush()
    if problem:
        raise InfrastructureError(
            f"--notify: {shlex.join(argv)}: {problem}",
            "try it by hand: it reads a JSON list from standard input",
            code=Code.INFRASTRUCTURE_OUTPUT,
        )
