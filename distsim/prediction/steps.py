"""A collective at the detail of its steps: every message of its algorithm as a flow on links.

The fluid of a collective is its schedule in lock step. Message by message, members go on as soon
as they can. Where all links and hops are alike both are the same. Elsewhere a round that is not
pipelined lasts, in lock step, as long as its slowest message, and members that wait for nobody
slow are ahead of that: so the steps take at most the fluid, and at least the time of the busiest
link. A ring is the exception on the latency side: its fluid counts the mean latency of its hops,
which a wave that runs round it reaches only in the long run, so that steps may exceed it by the
spread of the hops, at most once round the ring. A pipelined schedule of R rounds in C chunks takes
at most (1 + (R - 1) / C) times the fluid, and the hops of C chunks instead of one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distsim.collectives.algorithms import Schedule
from distsim.collectives.flows import Round
from distsim.engine.steps import Messages, StepsRun, run_steps
from distsim.hardware.library import Priced
from distsim.hardware.topology import Topology

Ints = npt.NDArray[np.int64]

#: Chunks of a pipelined schedule.
CHUNKS = 64


def steps_run(
    schedule: Schedule, devices: Ints, topology: Topology, size_bytes: float, priced: Priced
) -> StepsRun:
    """Run a schedule message by message.

    Parameters
    ----------
    devices : int64[n]
        Device of each member.
    priced : Priced
        The protocol and the share of bandwidth that the library would use.

    Raises
    ------
    ValueError
        For more messages than memory holds.
    """
    chunks = CHUNKS if schedule.pipelined else 1
    wire_bytes = size_bytes / priced.bandwidth / chunks
    rounds = [
        _messages(r, schedule.n, devices, topology, wire_bytes, priced, chunks)
        for r in schedule.rounds
    ]
    return run_steps(rounds, schedule.n * chunks, topology.capacity_bytes_per_s)


def _messages(
    of: Round,
    n: int,
    devices: Ints,
    topology: Topology,
    wire_bytes: float,
    priced: Priced,
    chunks: int,
) -> Messages:
    """Return the messages of a round, for every chunk a copy over members of its own."""
    source, target = devices[of.src], devices[of.dst]
    routes = topology.routes(source, target)
    outside = topology.node_of[source] != topology.node_of[target]
    hop_s = np.where(outside, priced.wire.network_hop_s, priced.wire.local_hop_s)
    latency = routes.latency_s(topology) + hop_s
    count = len(of.src)
    lane = np.repeat(np.arange(chunks), count)
    hops = np.diff(routes.ptr)
    previous = np.arange(chunks * count) - count
    return Messages(
        np.tile(of.src.astype(np.int64), chunks) + lane * n,
        np.tile(of.dst.astype(np.int64), chunks) + lane * n,
        np.tile(of.fraction * wire_bytes, chunks),
        np.tile(latency, chunks),
        np.concatenate([[0], np.cumsum(np.tile(hops, chunks))]).astype(np.int64),
        np.tile(routes.link.astype(np.int64), chunks),
        of.repeat,
        np.where(previous >= 0, previous, -1),
    )
