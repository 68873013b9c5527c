"""``distsim serve``: predictions live in a browser."""

from __future__ import annotations

import click

from distsim.cli.complete import files, shipped
from distsim.cli.group import Command
from distsim.cli.page import About


@click.command(
    cls=Command,
    about=About(
        arguments={"SCENARIO": "A scenario file, or the name of a shipped one, to begin with."},
        sections={
            "Address": ("host", "port", "opens"),
            "Evaluation": ("jobs", "cache", "no_cache"),
        },
        files={
            "~/.cache/distsim/": "Results of sweeps that are kept, unless --cache or --no-cache "
            "says otherwise; in $XDG_CACHE_HOME/distsim/ if that is set.",
        },
        see_also=("run", "diff", "sweep", "docs/serve.md"),
    ),
)
@click.argument(
    "scenario",
    metavar="[SCENARIO]",
    required=False,
    shell_complete=shipped("scenarios", ".yaml", ".yml"),
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any other lets the machines that reach it use this one.",
)
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8642,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Processes that evaluate. Without it, one a processor, and at least two.",
)
@click.option(
    "--cache",
    metavar="FILE",
    shell_complete=files(".sqlite"),
    help="Where results of sweeps are kept. Without it, in the user's cache directory.",
)
@click.option("--no-cache", is_flag=True, help="Keep no results, and use none.")
def serve(
    scenario: str | None,
    host: str,
    port: int,
    opens: bool,
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
) -> None:
    """Show predictions live on a page of this machine.

    Pick a model, a cluster and a plan, or start from SCENARIO, and see step
    time, memory and timeline as you change them; compare two scenarios, run
    sweeps, share a link that carries the scenario. Ctrl-C ends it.

    The page loads nothing from elsewhere, and pages of other origins cannot
    reach the server. A scenario that comes over HTTP reads no file but
    shipped ones. Needs pip install 'distsim-train[serve]'.

    \b
    Examples:
      distsim serve
      distsim serve gpt3-175b-1024xa100 --open
      distsim serve my.yaml --port 0
    """
    from distsim.cli.output import check_target, print_raw
    from distsim.serve.run import serve as run
    from distsim.serve.share import fragment

    if no_cache and cache is not None:
        raise click.UsageError("--cache and --no-cache exclude each other")
    if cache is not None:
        check_target(cache)
    link = fragment(scenario) if scenario is not None else ""

    def ready(address: str) -> None:
        print_raw(f"distsim serve: {address}{link}\nCtrl-C ends it.\n")
        if opens:
            click.launch(f"{address}{link}")

    run(host, port, jobs=jobs, cache=None if no_cache else cache or "", on_ready=ready)
