"""``distsim cost`` and ``distsim compute-optimal``: money, energy, CO2 and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distsim.cli.complete import files, listed, shipped, words
from distsim.cli.group import Command
from distsim.cli.options import (
    FITS_OR_FAILS,
    OUTPUTS,
    SCENARIO,
    fail_if_option,
    json_option,
    scenario_argument,
    set_option,
)
from distsim.cli.page import About
from distsim.cli.waiting import working

if TYPE_CHECKING:
    from distsim.study.diff.condition import Condition

#: Ways of paying, as `distsim.study.money.prices` knows them.
_PRICINGS = ("on-demand", "reserved", "reserved-1y", "reserved-3y", "owned")
pricing_option = click.option(
    "--pricing",
    type=click.Choice(_PRICINGS),
    default="on-demand",
    show_default=True,
    help="How devices are paid for; reserved is reserved-1y, owned spreads the purchase over the "
    "years that devices serve.",
)
prices_option = click.option(
    "--prices",
    metavar="FILE",
    shell_complete=files(".yaml", ".yml"),
    help="A list of prices, power and grids of your own; what it leaves out is as in the shipped "
    "one. docs/money.md shows the form.",
)
region_option = click.option(
    "--region",
    metavar="NAME",
    shell_complete=words("@region"),
    help="Whose electricity: usa, france, us-texas. Without it, that of the list of prices.",
)
currency_option = click.option(
    "--currency",
    metavar="CODE",
    shell_complete=words("@currency"),
    help="What money is printed in: USD, EUR. Without it, that of the prices.",
)
tokens_option = click.option(
    "--tokens", metavar="N", help="Length of the training in tokens: 15T, 300B."
)
steps_option = click.option(
    "--steps", metavar="N", type=click.IntRange(1, 10**12), help="The same in optimizer steps."
)
#: Options of what is paid, for the pages.
MONEY = ("pricing", "prices", "region", "currency")


@click.command(
    cls=Command,
    about=About(
        arguments=SCENARIO,
        sections={"Prices": MONEY, OUTPUTS: ("as_json", "fail_if")},
        exits=FITS_OR_FAILS,
        see_also=("goodput", "plan", "compute-optimal", "help quantities", "docs/money.md"),
    ),
)
@scenario_argument
@set_option
@tokens_option
@steps_option
@pricing_option
@prices_option
@region_option
@currency_option
@json_option
@fail_if_option
def cost(
    scenario: str,
    changes: tuple[str, ...],
    tokens: str | None,
    steps: int | None,
    pricing: str,
    prices: str | None,
    region: str | None,
    currency: str | None,
    as_json: bool,
    fail_if: tuple[Condition, ...],
) -> None:
    """Say what a whole training with SCENARIO costs.

    Predicts the step, and prints time, device hours, money, energy and CO2 of
    so many tokens, without failures (see distsim goodput), with the interval
    of the step time and the source of each price.

    \b
    Examples:
      distsim cost llama3-405b-16384xh100 --tokens 15.6T
      distsim cost my.yaml --tokens 300B --pricing owned --region france
      distsim cost my.yaml --steps 10000 --prices ours.yaml --json
    """
    from distsim import api
    from distsim.cli.output import print_json, print_text
    from distsim.cli.verdict import exit_unless_fits
    from distsim.report.money import cost_text

    with working("predicting"):
        result = api.training_cost(
            api.load(scenario, changes),
            tokens=tokens,
            steps=steps,
            pricing=pricing,
            prices=prices,
            region=region,
            currency=currency,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        print_text(cost_text(result))
    for condition in fail_if:
        condition.check(result.to_dict())
    exit_unless_fits(result.memory, reported=not as_json)


@click.command(
    "compute-optimal",
    cls=Command,
    about=About(
        sections={
            "Question, one of": ("model", "flops", "budget"),
            "Prices": ("device", "mfu", *MONEY[:3]),
            OUTPUTS: ("as_json",),
        },
        see_also=("cost", "plan", "models", "docs/money.md"),
    ),
)
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=listed("@model", ".json"),
    help="A model, by name or as a Hugging Face config.json: how many tokens?",
)
@click.option("--flops", metavar="N", help="A budget of FLOP, 1e24: which size, how many tokens?")
@click.option(
    "--budget",
    metavar="AMOUNT",
    help="A budget of money, 5M$ or 3.2M EUR: the same, with --device.",
)
@click.option(
    "--device",
    metavar="NAME",
    shell_complete=shipped("devices", ".yaml", ".yml"),
    help="What is rented or owned.",
)
@click.option(
    "--mfu",
    metavar="SHARE",
    default="40%",
    show_default=True,
    help="Model FLOP over the dense peak of the device, as assumed.",
)
@pricing_option
@prices_option
@region_option
@json_option
def compute_optimal(
    model: str | None,
    flops: str | None,
    budget: str | None,
    device: str | None,
    mfu: str,
    pricing: str,
    prices: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Propose tokens for a model, or a model for a budget, by scaling laws.

    Prints what each published law says: the three approaches of Chinchilla
    (Hoffmann 2022), the third fitted again (Epoch 2024), and Kaplan 2020.
    With --device also device hours, money and CO2 at an assumed MFU.

    \b
    Examples:
      distsim compute-optimal --model llama3-8b
      distsim compute-optimal --flops 1e24
      distsim compute-optimal --budget 5M$ --device h100-80gb-sxm
    """
    from distsim import api
    from distsim.cli.output import print_json, print_text
    from distsim.report.money import sizing_text
    from distsim.units import parse

    result = api.compute_optimal(
        model=model,
        flop=flops,
        budget=budget,
        device=device,
        mfu=parse(mfu, "1"),
        pricing=pricing,
        prices=prices,
        region=region,
    )
    if as_json:
        print_json(result.to_dict())
    else:
        print_text(sizing_text(result))
