"""The command line: the only place that prints, writes files or exits.

Each command is a module that imports click alone; what it needs beyond that is imported when it
runs, so that ``distsim --version`` and ``--help`` stay fast. A new command is one file and one
line in `COMMANDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from distsim import __version__
from distsim.cli.group import Commands
from distsim.cli.guard import guarded

#: Command -> module that has it, in the order of the help.
COMMANDS = {
    "run": "distsim.cli.run",
    "sweep": "distsim.cli.sweep",
    "plan": "distsim.cli.plan",
    "check": "distsim.cli.check",
    "cost": "distsim.cli.cost",
    "compute-optimal": "distsim.cli.cost",
    "goodput": "distsim.cli.goodput",
    "whatif": "distsim.cli.whatif",
    "diff": "distsim.cli.diff",
    "trace": "distsim.cli.trace",
    "collective": "distsim.cli.collective",
    "topology": "distsim.cli.topology",
    "schedule": "distsim.cli.schedule",
    "explain": "distsim.cli.explain",
    "scenarios": "distsim.cli.catalogues",
    "models": "distsim.cli.catalogues",
    "devices": "distsim.cli.catalogues",
    "topologies": "distsim.cli.catalogues",
    "libraries": "distsim.cli.catalogues",
    "stacks": "distsim.cli.catalogues",
    "validate": "distsim.cli.validate",
    "calibrate": "distsim.cli.calibrate",
    "measure": "distsim.cli.measure",
    "schema": "distsim.cli.schema",
}


class _Lazy(Commands):
    """Commands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_")
        )
        return command


@click.command(
    cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="distsim", message="%(prog)s %(version)s")
def cli() -> None:
    """Predict distributed training before it runs.

    distsim predicts how long one optimizer step takes on a cluster under a
    parallel plan, where the time goes, and whether it fits in memory.

    \b
    Examples:
      distsim run gpt3-175b-1024xa100
      distsim run my.yaml --set plan.tp=4 --set plan.pp=16
      distsim check my.yaml
      distsim models show llama3-70b
      distsim validate

    Exit codes: 0 done; 1 the plan does not fit, or a check failed; 2 bad
    input; 70 an error in distsim itself; 130 interrupted.

    Set NO_COLOR to print without colours, DISTSIM_DEBUG=1 to see tracebacks.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit code.
    """
    return guarded(lambda: cli.main(argv, prog_name="distsim", standalone_mode=False))
