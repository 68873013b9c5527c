"""Sides of a comparison from what Python code has in hand."""

from __future__ import annotations

from os import PathLike, fspath

from distsim.prediction.predict import Prediction, predict
from distsim.scenario.resolve import resolve
from distsim.scenario.schema import Scenario
from distsim.study.calibration.readers.base import see_from_here
from distsim.study.diff.run import Side, side

#: What results are compared by.
_INPUTS = ("model", "devices", "plan", "resolved")


def side_of(of: Scenario | Prediction | str | PathLike[str]) -> Side:
    """Return one side: a scenario or its name or file, a prediction or the file of a result.

    Raises
    ------
    DistsimError
        As `distsim.study.diff.run.side`.
    """
    if isinstance(of, Prediction):
        result = of.to_dict()
        return Side(of.scenario, result, None, {key: result[key] for key in _INPUTS})
    if not isinstance(of, Scenario):
        return side(fspath(of))
    data = of.to_dict()
    see_from_here(data, of.positions.directory)
    return Side(of.name, predict(resolve(of)).to_dict(), of, data)
