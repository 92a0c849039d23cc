"""`foothold findings`: the codes of findings, what each means and what to do about it."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import OK


@click.command(short_help="Explain the codes of findings.")
@click.argument("code", default="", metavar="[CODE]")
@click.option("--markdown", is_flag=True, help="Print all codes as a Markdown page instead.")
def findings(code: str, markdown: bool) -> int:
    """List the codes of findings, or explain one of them."""
    from foothold_lab.harness.model.errors import UsageError, did_you_mean
    from foothold_lab.harness.model.findings import Code, page

    if markdown:
        click.echo(page(), nl=False)
    elif not code:
        width = max(map(len, Code))
        for each in Code:
            click.echo(f"{each:<{width}}  {each.meaning}")
    elif code in list(Code):
        known = Code(code)
        click.echo(f"{known}\n  {known.meaning}\n  What to do: {known.action}")
    else:
        near = did_you_mean(code, Code)
        raise UsageError(f"unknown code {code!r}{near}", "`foothold findings` lists all codes")
    return OK
