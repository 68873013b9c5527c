"""Readers of the files that users have: each knows one format by what is in it.

A reader is a module with ``KIND``, its name; ``sniff(text) -> bool``; and ``read(document) ->
Readings``. To add one, write the module and put it into `READERS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from types import ModuleType
from typing import Any

from distsim.errors import DistsimError, Place, SyntaxProblem
from distsim.study.calibration.measurements import Readings, merged
from distsim.study.calibration.readers import (
    deepspeed,
    kineto,
    megatron,
    nccl,
    step_csv,
    timings,
    torchtitan,
)
from distsim.study.calibration.readers.document import Document

#: All readers, in the order in which they are asked: those with the surest marks first. A training
#: log may begin with a test of the network.
READERS: tuple[ModuleType, ...] = (
    timings,
    kineto,
    megatron,
    torchtitan,
    step_csv,
    deepspeed,
    nccl,
)

Scenario = str | PathLike[str] | Mapping[str, Any] | None


def read_any(
    path: str | PathLike[str],
    scenario: Scenario = None,
    defaults: Mapping[str, Any] | None = None,
) -> Readings:
    """Return the measurements of a file, whose format is found by its content.

    Parameters
    ----------
    path : str or path
        Plain, or compressed with gzip.
    scenario : str, path or mapping, optional
        What the step times are of, as far as the file does not say: a scenario file, complete or
        not; by default the YAML file of the same stem beside it, if there is one.
    defaults : mapping, optional
        Keys of a scenario that count where neither says anything, such as
        ``{"cluster": {"topology": NAME}}``.

    Raises
    ------
    FileError
        DS101 to DS104, DS106.
    SyntaxProblem
        DS631 a format that is not known, DS634 JSON that is not whole.
    ValueProblem
        DS632 where nothing in it can be used, DS633 where nothing says what its step times are of,
        DS635 a column of times without a unit, DS243 a table of several systems.
    """
    document = Document(path, scenario, defaults)
    reader = next((reader for reader in READERS if reader.sniff(document.text)), None)
    if reader is None:
        raise SyntaxProblem(
            "DS631",
            "the file is of no known format",
            rule="a training log with times of steps (Megatron-LM, torchtitan, DeepSpeed), output "
            "of nccl-tests, a CSV with a header (step_s, or size_bytes and time_us), a trace of "
            "PyTorch's profiler, or operator timings of distsim measure",
            fix="save the whole output of the run",
            place=Place(document.file),
        )
    found: Readings = reader.read(document)
    return found


def read_all(
    paths: Iterable[str | PathLike[str]],
    scenario: Scenario = None,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Readings, tuple[DistsimError, ...]]:
    """Return the measurements of several files, and what is wrong with those left out.

    Parameters
    ----------
    paths : iterable of str or path
    scenario, defaults : optional
        As for `read_any`, for each of them.
    """
    found: list[Readings] = []
    errors: list[DistsimError] = []
    for path in paths:
        try:
            found.append(read_any(path, scenario, defaults))
        except DistsimError as error:
            errors.append(error)
    return merged(found), tuple(errors)
