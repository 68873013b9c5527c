"""The hardware of a case."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.hardware.device import Device
from distsim.hardware.topology import Topology
from distsim.record import record

Ints = npt.NDArray[np.int64]


@record
class Machine:
    """The hardware of a case.

    Attributes
    ----------
    devices : tuple of Device
        Kinds of devices, the ordinary one first.
    device_of, kind_of : int64[ranks]
    nominal : tuple of Device
        The same kinds at the speed of their type.
    """

    devices: tuple[Device, ...]
    topology: Topology
    device_of: Ints
    kind_of: Ints
    nominal: tuple[Device, ...]
