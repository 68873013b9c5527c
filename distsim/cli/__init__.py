"""The command line: the only place that prints, writes files or exits.

Each command is a module that imports click alone; what it needs beyond that is imported when it
runs, so that ``distsim --version`` and ``--help`` stay fast. A new command is one file and one
line in `COMMANDS`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module

import click

from distsim import __version__
from distsim.cli.group import Commands
from distsim.cli.guard import guarded
from distsim.cli.page import About
from distsim.cli.settings import reset

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
    "serve": "distsim.cli.serve",
    "validate": "distsim.cli.validate",
    "calibrate": "distsim.cli.calibrate",
    "measure": "distsim.cli.measure",
    "schema": "distsim.cli.schema",
    "completion": "distsim.cli.completion",
    "help": "distsim.cli.help",
}
#: Commands under the titles of the help; those of no title come last.
TITLES = {
    "Predict a step": ("run", "check", "diff", "whatif", "serve"),
    "Plan a training": ("sweep", "plan", "goodput", "cost", "compute-optimal"),
    "Look at parts": ("collective", "topology", "schedule"),
    "Compare with real runs": ("validate", "trace", "calibrate", "measure"),
    "List what ships": ("scenarios", "models", "devices", "topologies", "libraries", "stacks"),
    "Get help": ("help", "explain", "schema", "completion"),
}
ABOUT = About(
    exits={
        1: "the plan does not fit into memory, or a check failed",
        70: "an error in distsim itself; run again with DISTSIM_DEBUG=1 and report it",
        141: "who read the output went away, as head does",
    },
    files={
        "NO_COLOR": "Print without colours and bold text, if set to anything.",
        "COLUMNS": "Width of texts. Without it a terminal's own; what goes into a pipe or a file "
        "is not wrapped.",
        "DISTSIM_DEBUG": "Show tracebacks, if set to anything.",
        "XDG_CACHE_HOME": "Directory of caches, by default ~/.cache: distsim/ there keeps results "
        "of sweeps.",
    },
    see_also=("help scenario", "help quantities", "help exit-codes"),
)


class _Lazy(Commands):
    """Commands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def titles(self, ctx: click.Context) -> list[tuple[str, Sequence[str]]]:
        placed = {name for names in TITLES.values() for name in names}
        rest = [name for name in COMMANDS if name not in placed]
        return [*TITLES.items(), ("More", rest)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_")
        )
        return command


@click.command(
    cls=_Lazy,
    about=ABOUT,
    context_settings={"max_content_width": 100},
)
@click.version_option(__version__, prog_name="distsim", message="%(prog)s %(version)s")
def cli() -> None:
    """Predict distributed training before it runs.

    distsim predicts how long one optimizer step takes on a cluster under a
    parallel plan, where the time goes, and whether it fits in memory. A
    SCENARIO is a YAML file, or the name of a shipped one (distsim scenarios).

    \b
    Examples:
      distsim run gpt3-175b-1024xa100
      distsim run my.yaml --set plan.tp=4 --set plan.pp=16
      distsim check my.yaml
      distsim models show llama3-70b
      distsim validate
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
    reset()
    if "_DISTSIM_COMPLETE" in os.environ:
        from distsim.cli.completion import register

        register()
    return guarded(lambda: cli.main(argv, prog_name="distsim", standalone_mode=False))
