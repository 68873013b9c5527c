"""``distsim cost`` and ``distsim compute-optimal``: money, energy, CO2 and sizes."""

from __future__ import annotations

import click

from distsim.cli.options import json_option, scenario_argument, set_option

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
    help="A list of prices, power and grids of your own, in the form of "
    "distsim/data/prices/list-2025.yaml; what it leaves out is as there.",
)
region_option = click.option("--region", metavar="NAME", help="Whose grid: usa, france, us-texas.")
currency_option = click.option("--currency", metavar="CODE", help="What money is printed in.")


@click.command()
@scenario_argument
@set_option
@click.option("--tokens", metavar="N", help="Length of the training: 15T, 300B.")
@click.option("--steps", metavar="N", type=click.IntRange(1, 10**12), help="The same in steps.")
@pricing_option
@prices_option
@region_option
@currency_option
@json_option
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
) -> None:
    """Say what a whole training with SCENARIO costs.

    Predicts the step, and prints time, device hours, money, energy and CO2 of
    so many tokens, without failures (see distsim goodput), with the interval
    of the step time and the source of each price. Exits with 1 if the plan
    does not fit into memory.

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
    exit_unless_fits(result.memory, reported=not as_json)


@click.command("compute-optimal")
@click.option("--model", metavar="NAME", help="A shipped model, or a Hugging Face config.json.")
@click.option("--flops", metavar="N", help="A budget of FLOP: 1e24.")
@click.option("--budget", metavar="AMOUNT", help="A budget of money: 5M$, 3.2M EUR.")
@click.option("--device", metavar="NAME", help="What is rented or owned.")
@click.option(
    "--mfu",
    metavar="SHARE",
    default="40%",
    show_default=True,
    help="Model FLOP over the dense peak of the device.",
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
