"""``distsim plan``: which cluster size and which parallel plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from distsim.cli.complete import files, keys
from distsim.cli.cost import (
    MONEY,
    currency_option,
    prices_option,
    pricing_option,
    region_option,
    steps_option,
    tokens_option,
)
from distsim.cli.group import Command
from distsim.cli.options import (
    OUTPUTS,
    SCENARIO,
    fail_if_option,
    html_option,
    json_option,
    output_option,
    scenario_argument,
)
from distsim.cli.page import About

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition


@click.command(
    cls=Command,
    about=About(
        arguments=SCENARIO,
        sections={
            "Question": ("devices", "tokens", "steps", "deadline", "budget", "objective", "start"),
            "Search": ("changes", "space", "evaluator", "jobs", "top"),
            "Failures": ("with_failures", "mtbf_device"),
            "Prices": MONEY,
            OUTPUTS: ("as_json", "output", "page", "fail_if"),
        },
        exits={1: "no plan fits or keeps to the limits, or a condition of --fail-if holds"},
        see_also=("sweep", "whatif", "goodput", "cost", "help quantities", "docs/planning.md"),
    ),
)
@scenario_argument
@click.option(
    "--devices",
    metavar="COUNTS",
    required=True,
    help="Sizes of cluster: 64:4096 doubles, 64:4096:x4, 280:4480:+280, or a list 512,1024.",
)
@tokens_option
@steps_option
@click.option("--deadline", metavar="TIME", help="Longest duration of the training: 30d.")
@click.option("--budget", metavar="AMOUNT", help="Most money for it: 5M$, 3.2M EUR.")
@click.option(
    "--objective",
    type=click.Choice(["time", "cost", "energy"]),
    help="What to make small. Without it, cost with a deadline and no budget, otherwise time.",
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="How many of the best plans to list.",
)
@click.option(
    "--set",
    "changes",
    metavar="KEY=VALUES",
    multiple=True,
    shell_complete=keys,
    help="Only these values of a key of the search, as plan.tp=4,8 or batch.micro_size=1; any "
    "other key of the scenario is changed as with distsim run.",
)
@click.option(
    "--space",
    metavar="FILE",
    shell_complete=files(".yaml", ".yml"),
    help="YAML with the values of some keys of the search: tp: [4, 8].",
)
@click.option(
    "--with-failures",
    is_flag=True,
    help="Count failures, restarts and checkpoints in (see distsim goodput).",
)
@click.option(
    "--mtbf-device",
    metavar="TIME",
    default="50000h",
    show_default=True,
    help="With --with-failures: mean time between failures of one device.",
)
@click.option(
    "--evaluator",
    type=click.Choice(["graph", "auto"]),
    default="graph",
    show_default=True,
    help="graph: compare plans by the longest path, without contention, and predict those that are "
    "printed as the scenario says. auto: predict every plan so; slower.",
)
@click.option("--start", metavar="DAY", help="Day on which the training starts: 2027-01-31.")
@pricing_option
@prices_option
@region_option
@currency_option
@output_option("Also write the best plan as a scenario.", ".yaml", ".yml")
@html_option
@json_option
@fail_if_option
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that predict.",
)
def plan(
    scenario: str,
    changes: tuple[str, ...],
    space: str | None,
    output: str | None,
    page: str | None,
    as_json: bool,
    fail_if: tuple[Condition, ...],
    **asked: Any,
) -> None:
    """Find the cluster size and the plan that train SCENARIO.

    Searches sizes of cluster, tensor, pipeline, context, expert and data
    parallelism, schedules and virtual stages, ZeRO, micro batches,
    recomputation, sequence parallelism and overlap. Plans that do not fit are
    left out by their memory, those that cannot win by a lower bound of their
    step; the others are predicted, so the plan that is printed is the best of
    all. Prints also the front of time, money and energy, and why the plans
    next to the best one are worse.

    \b
    Examples:
      distsim plan gpt2-xl-8xa100 --devices 8 --tokens 100B --deadline 30d
      distsim plan my.yaml --devices 1024 --tokens 300B --set plan.tp=8 -o plan.yaml
      distsim plan gpt2-xl-8xa100 --devices 4,8 --steps 9000 --budget 1M$
    """
    from distsim import api
    from distsim.cli.output import check_targets, print_json, print_text, write_file
    from distsim.cli.output_count import counting

    check_targets(scenario, output, page)
    with counting(what="predicted") as done:
        result = api.plan(scenario, set_=changes, space=space, on_result=done, **asked)
    if output is not None:
        from distsim.report.plan_scenario import scenario_yaml

        write_file(output, [scenario_yaml(result.best.scenario, result)])
    if page is not None:
        from distsim.report.html.plan import plan_html

        write_file(page, plan_html(result))
    if as_json:
        print_json(result.to_dict())
    else:
        from distsim.report.plan_text import plan_text

        print_text(plan_text(result, written=output))
    for condition in fail_if:
        condition.check(result.to_dict())
