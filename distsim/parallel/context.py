"""Context parallelism: the tokens of a sequence are divided, and attention needs all of them.

Three ways, by what the ranks exchange around core attention:

* ``ring`` (Liu 2023, arXiv 2310.01889): keys and values travel around the ring, one hop beside each
  block of attention; a rank receives (cp - 1) / cp of K and V. Backward they travel once more, and
  their gradients with them.
* ``all_to_all`` (DeepSpeed-Ulysses, Jacobs 2023, arXiv 2309.14509): heads are divided instead of
  tokens inside core attention; queries, keys, values and the output are exchanged.
* ``all_gather`` (Llama 3, arXiv 2407.21783, section 3.3.2): all keys and values are gathered
  before; their gradients are reduced and scattered.

Under a causal mask a rank with late tokens has more to do. Balanced, each rank holds one early and
one late part of 2 cp (zig-zag, Brandon 2023, arXiv 2311.09431), and all do the same. In order, the
last rank works on every block in full, and sets the pace.
"""

from __future__ import annotations

from dataclasses import replace

from distsim.parallel.step import Collective, Step
from distsim.parallel.tensor import TensorParallel
from distsim.record import record
from distsim.workload.op import Op, Work, stream

#: Ways to exchange; the first is the default.
MODES = ("ring", "all_to_all", "all_gather")

#: A ring rescales the output of the blocks before in fp32 and adds the next: 2 reads, 1 write.
MERGE_BYTES = 12.0


@record
class ContextParallel:
    """How core attention runs on tokens that are divided over a group.

    Attributes
    ----------
    size : int
        Ranks in the group (cp).
    mode : str
        One of `MODES`.
    balanced : bool
        Tokens are dealt out so that a causal mask leaves all ranks the same work.
    tensor : TensorParallel
        Heads are divided over this group.
    """

    size: int
    mode: str
    balanced: bool
    tensor: TensorParallel

    def _elements(self, op: Op) -> tuple[float, float]:
        """Return elements of queries and of keys on one rank."""
        parts = self.tensor.size * self.size
        return op.query_elements / parts, op.key_elements / parts

    def _collective(self, name: str, elements: float) -> Collective:
        return Collective(name, elements * self.tensor.element_bytes, "context")

    def forward(self, op: Op) -> tuple[Step, ...]:
        """Return the forward steps of core attention on one rank."""
        works = self.tensor.works(op, op.forward)
        queries, keys = self._elements(op)
        if self.mode == "all_to_all":
            return self._exchanged(op, works, queries + 2 * keys, queries)
        if self.mode == "all_gather":
            gather = self._collective("all_gather", 2 * keys * self.size)
            return (Step(op.name, self._all_keys(works), gather),)
        hop = self._collective("send_recv", 2 * keys)
        merge = (stream(MERGE_BYTES * queries),)
        steps = self._ring(op, works, hop)
        return tuple(replace(s, works=(*s.works, *merge)) if i else s for i, s in enumerate(steps))

    def backward(self, op: Op) -> tuple[Step, ...]:
        """Return the backward steps of core attention on one rank; it has no weights."""
        works = self.tensor.works(op, op.backward_data)
        queries, keys = self._elements(op)
        if self.mode == "all_to_all":
            return self._exchanged(op, works, queries, queries + 2 * keys)
        if self.mode == "all_gather":
            gather = self._collective("all_gather", 2 * keys * self.size)
            scatter = self._collective("reduce_scatter", 2 * keys * self.size)
            return (Step(op.name, self._all_keys(works), gather), Step(op.name, (), scatter))
        # Keys and values go around with the gradients that the ranks before have added up; the
        # last hop brings each gradient home.
        hop = self._collective("send_recv", 4 * keys)
        home = Step(op.name, (), self._collective("send_recv", 2 * keys))
        return (*self._ring(op, works, hop), home)

    def _exchanged(
        self, op: Op, works: tuple[Work, ...], before: float, after: float
    ) -> tuple[Step, ...]:
        """All-to-all, attention on all tokens and fewer heads, all-to-all."""
        share = tuple(w.divided(self.size) for w in works)
        return (
            Step(op.name, share, self._collective("all_to_all", before)),
            Step(op.name, (), self._collective("all_to_all", after)),
        )

    def _all_keys(self, works: tuple[Work, ...]) -> tuple[Work, ...]:
        """Local queries on all keys: the same share of FLOP for all, or as the last rank has."""
        # The last of cp parts of a causal triangle is 2 - 1/cp times the mean part.
        uneven = 1.0 if self.balanced else 2.0 - 1.0 / self.size
        return tuple(
            replace(
                w,
                m=w.m / self.size,
                flop=w.flop / self.size * uneven,
                stream_bytes=w.stream_bytes / self.size,
            )
            for w in works
        )

    def _ring(self, op: Op, works: tuple[Work, ...], hop: Collective) -> tuple[Step, ...]:
        """One block of attention a hop: the hop for the next block runs beside it.

        A block is 1/cp of the queries on 1/cp of the keys. Of a causal triangle each holds 1/cp^2
        of the FLOP if balanced; in order the first is half a square and the rest are whole ones,
        for the last rank, twice as much each.
        """
        n = self.size

        def block(factor: float) -> tuple[Work, ...]:
            return tuple(
                replace(
                    w,
                    m=w.m / n,
                    n=w.n / n,
                    flop=w.flop / n**2 * factor,
                    stream_bytes=w.stream_bytes / n,
                )
                for w in works
            )

        own, other = block(1.0), block(1.0 if self.balanced else 2.0)
        return (
            Step(op.name, own, hop, beside=True),
            *(Step(op.name, other, hop, beside=True) for _ in range(n - 2)),
            Step(op.name, other),
        )
