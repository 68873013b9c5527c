"""``distsim explain``: what an error code means."""

from __future__ import annotations

import click

from distsim.cli.complete import codes
from distsim.cli.group import Command
from distsim.cli.options import json_option
from distsim.cli.page import About


@click.command(
    cls=Command,
    about=About(
        arguments={"CODE": "DS301, or 301; without one, all are listed."},
        see_also=("help exit-codes",),
    ),
)
@click.argument("code", metavar="[CODE]", required=False, shell_complete=codes)
@json_option
def explain(code: str | None, as_json: bool) -> None:
    """Explain an error CODE, or list all of them.

    \b
    Examples:
      distsim explain DS301
      distsim explain
    """
    from distsim.cli.output import print_json, print_text
    from distsim.errors import CODES, code_info

    if code is None:
        if as_json:
            print_json({"codes": [{"code": c} | i._asdict() for c, i in CODES.items()]})
        else:
            from distsim.report.tables import codes_text

            print_text(codes_text(CODES))
        return
    info = code_info(code)
    name = next(c for c, i in CODES.items() if i is info)
    if as_json:
        print_json({"code": name} | info._asdict())
    else:
        from distsim.report.tables import code_text

        print_text(code_text(name, info))
