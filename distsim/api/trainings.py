"""Whole trainings: what they cost, how long they take with failures, how large they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distsim.scenario.schema import Scenario

if TYPE_CHECKING:
    from distsim.study.goodput.result import Goodput
    from distsim.study.money.optimal import Sizing
    from distsim.study.money.training import Cost


def training_cost(
    scenario: Scenario,
    *,
    tokens: float | str | None = None,
    steps: int | None = None,
    pricing: str = "on-demand",
    prices: str | None = None,
    region: str | None = None,
    currency: str | None = None,
) -> Cost:
    """Return what a whole training costs in time, money, energy and CO2, without failures.

    Parameters
    ----------
    tokens, steps : optional
        Length of the training: one of them. ``15e12`` or ``"15T"``.
    pricing : str
        ``on-demand``, ``reserved-1y``, ``reserved-3y`` or ``owned``.
    prices : str, optional
        A YAML file of prices; what it leaves out is as in the shipped list.
    region, currency : str, optional
        Whose grid, and what money is in; those of the list by default.

    Returns
    -------
    Cost
        Time in seconds, money, energy in joules, CO2 in kilograms, each with its range by the
        interval of the step.

    Raises
    ------
    DistsimError
        DS670 to DS676, and those of `load`.
    """
    from distsim.study.money.training import cost as run

    return run(
        scenario,
        tokens=tokens,
        steps=steps,
        pricing=pricing,
        prices=prices,
        region=region,
        currency=currency,
    )


def compute_optimal(
    *,
    model: str | None = None,
    flop: float | str | None = None,
    budget: str | None = None,
    device: str | None = None,
    mfu: float | None = None,
    pricing: str = "on-demand",
    prices: str | None = None,
    region: str | None = None,
) -> Sizing:
    """Return what to train by the scaling laws: tokens for a model, or the model for a budget.

    Parameters
    ----------
    model : str, optional
        Catalogue name, or path to a Hugging Face config.json.
    flop : float or str, optional
        Budget of model FLOP, ``"1e24"``.
    budget : str, optional
        Budget of money, ``"5M USD"``; needs `device`.
    device : str, optional
        What is rented or owned; with it every size has its time and money.
    mfu : float, optional
        Model FLOP over the dense peak of the device, in (0, 1]; 0.4 by default.
    pricing, prices, region : optional
        As `training_cost`.

    Returns
    -------
    Sizing
        A size for each law (Kaplan 2020; Hoffmann 2022, three approaches).

    Raises
    ------
    UsageError
        DS676 where not exactly one of model, flop and budget is given, or a budget without a
        device.
    DistsimError
        DS670 to DS675 for values.
    """
    from distsim.study.money import optimal

    return optimal.compute_optimal(
        model=model,
        flop=flop,
        budget=budget,
        device=device,
        mfu=optimal.MFU if mfu is None else mfu,
        pricing=pricing,
        prices=prices,
        region=region,
    )


def goodput(
    scenario: Scenario,
    *,
    tokens: float | str | None = None,
    steps: int | None = None,
    pricing: str = "on-demand",
    prices: str | None = None,
    region: str | None = None,
    start: str | None = None,
    **options: Any,
) -> Goodput:
    """Return how long a training takes with failures, by Monte Carlo and by a closed form.

    Parameters
    ----------
    tokens, steps : optional
        Length of the training: one of them.
    pricing, prices, region : optional
        As `training_cost`.
    start : str, optional
        Day on which the training starts, ``"2027-01-31"``; without it there are no dates.
    **options
        ``mtbf_device`` (``"50000h"``), ``checkpoint_interval`` (``"auto"``, ``"30min"``),
        ``checkpoint`` (``"sync"``, ``"async"``), ``storage``, ``detect``, ``restart``, ``spares``,
        ``shape``, ``runs``, ``seed``: fields of `distsim.study.goodput.run.Options`.

    Returns
    -------
    Goodput
        Quantiles of the time and the day of the end, effective share of the time, money, and the
        intervals of Young (1974) and Daly (2006).

    Raises
    ------
    DistsimError
        DS675 to DS679, and those of `load`.
    """
    from distsim.study.goodput.run import goodput as run

    return run(
        scenario,
        tokens=tokens,
        steps=steps,
        pricing=pricing,
        prices=prices,
        region=region,
        start=start,
        **options,
    )
