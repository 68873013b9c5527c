"""Operator timings of the machine at hand, taken with PyTorch.

`measure` times matrix products, attention, memory-bound operators, launches, the host's issue rate
and, among several processes, collectives; `Timings.to_dict` is the document that calibration
reads (docs/measure.md). PyTorch is an extra: importing this package does not need it.

This is the one package that reads a clock: it measures, all others predict.
"""

from __future__ import annotations

from distsim.measure.document import Timings
from distsim.measure.request import Request, read_request
from distsim.measure.session import measure

__all__ = ["Request", "Timings", "measure", "read_request"]
