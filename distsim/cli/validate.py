"""``distsim validate``: predictions against published measurements."""

from __future__ import annotations

import click

from distsim.cli.options import json_option


@click.command()
@click.option("--source", metavar="NAME", help="Only the measurements of this source.")
@json_option
def validate(source: str | None, as_json: bool) -> None:
    """Compare predictions with published measurements.

    Predicts every published run that is shipped and prints the error of each
    and the mean of each source. Rows that calibrated the device profiles are
    marked; the others are held out.

    \b
    Examples:
      distsim validate
      distsim validate --source korthikanti-2022 --json
    """
    from distsim import api
    from distsim.cli.output import print_json, print_text

    report = api.validate(source).to_dict()
    if as_json:
        print_json(report)
    else:
        from distsim.report.tables import validation_text

        print_text(validation_text(report))
