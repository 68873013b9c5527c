"""A collective at the detail of its steps: every message of its algorithm as a flow on links.

The fluid of a collective is its schedule in lock step, with the latency of its hops before its
bytes. Message by message, members go on as soon as they can, channels do not wait for each other,
and a hop carries the next message while the one before is still on its way. Where all links and
hops are alike both are the same. Elsewhere latency hides behind bytes and early members wait for
nobody, so the steps take at least the time of the busiest link, and at most

* for rounds one after another, the bytes of the fluid and the longest hop of each round; for a
  ring, the fluid and its longest hop once, as a wave runs round it and meets every hop in turn;
* for a pipelined schedule of R rounds in C chunks, (1 + (R - 1) / C) times the bytes of the fluid,
  and the longest hop of each round.
"""

from __future__ import annotations

from dataclasses import replace

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
        For more messages than can be simulated.
    """
    chunks = CHUNKS if schedule.pipelined else 1
    wire_bytes = size_bytes / priced.bandwidth / chunks
    channels = 1 + max((int(r.channel.max(initial=0)) for r in schedule.rounds), default=0)
    rounds = [
        _messages(r, schedule.n, channels, devices, topology, wire_bytes, priced, chunks)
        for r in schedule.rounds
    ]
    lanes = chunks * channels
    run = run_steps(rounds, schedule.n * lanes, topology.capacity_bytes_per_s)
    return replace(run, sent_bytes=run.sent_bytes.reshape(lanes, schedule.n).sum(axis=0))


def _messages(
    of: Round,
    n: int,
    channels: int,
    devices: Ints,
    topology: Topology,
    wire_bytes: float,
    priced: Priced,
    chunks: int,
) -> Messages:
    """Return the messages of a round; every channel and chunk is a lane with its own members."""
    source, target = devices[of.src], devices[of.dst]
    routes = topology.routes(source, target)
    outside = topology.node_of[source] != topology.node_of[target]
    hop_s = np.where(outside, priced.wire.network_hop_s, priced.wire.local_hop_s)
    latency = routes.latency_s(topology) + hop_s
    count = len(of.src)
    lane = np.repeat(np.arange(chunks), count) * channels + np.tile(of.channel, chunks)
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
