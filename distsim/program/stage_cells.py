"""The cells of all stages: what each kind of their actions takes, found once for stages alike."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from distsim.parallel.stages import Chunk
from distsim.program import prices
from distsim.program.build import conditions_of, meeting_axes, pricer_of
from distsim.program.cells import Cell, cell_of
from distsim.program.comm import Network
from distsim.program.grouped import AFTER_HOOK, CHUNK, GATHERS, KIND, REDUCES, Codes, Grouped
from distsim.program.inputs import Inputs
from distsim.program.pieces import cutting, pieces
from distsim.program.segment import Pricer


def cells_of(
    inputs: Inputs, network: Network, groups: Sequence[Grouped]
) -> list[list[float | Cell]]:
    """Return by stage what each kind of its actions takes, one object for stages alike.

    Collectives inside layers are part of what they take, whoever uses their links. Kernels beside
    those that would have tasks of their own in a graph take what they take beside such a task, by
    themselves.

    Parameters
    ----------
    groups : sequence of Grouped
        Of each stage; the ranks of each are one class.
    """
    always, hooked = meeting_axes(network, inputs)
    ranks = network.fold.example
    kinds = inputs.kinds()[ranks].tolist()
    known: dict[tuple[int, ...], list[float | Cell]] = {}
    out = []
    for stage, key in enumerate(conditions_of(inputs, network)):
        held = [variant.chunks[stage] for variant in inputs.variants]
        codes = groups[stage].codes
        at = (key, id(codes), *[id(chunks) for chunks in held])
        if at not in known:
            pricer = pricer_of(inputs, network, int(ranks[stage]), kinds[stage])
            known[at] = _Stage(inputs, held, pricer, key, always, always | hooked).cells(codes)
        out.append(known[at])
    return out


class _Stage:
    """Makes the cells of a stage.

    Parameters
    ----------
    held : sequence of sequence of Chunk
        ``[variant][chunk]``
    key : hashable
        What the pricer depends on.
    always, beside : frozenset of str
        Axes whose collectives would have tasks of their own in all actions, and in those that run
        beside gradients and parameters on the wire.
    """

    def __init__(
        self,
        inputs: Inputs,
        held: Sequence[Sequence[Chunk]],
        pricer: Pricer,
        key: Hashable,
        always: frozenset[str],
        beside: frozenset[str],
    ) -> None:
        self.held, self.pricer, self.key = held, pricer, key
        self.always, self.beside = always, beside
        self.restart_s, self.how = inputs.restart_s, cutting(inputs.data)
        self.about = prices.about("cells", key, always, beside, inputs.restart_s)

    def cells(self, codes: Codes) -> list[float | Cell]:
        """Return the cells of kinds of actions, none of which are pairs."""
        return prices.stage(self.about, self.how, codes, self.held, self._cell)

    def _cell(self, code: int) -> float | Cell:
        """Return the cell of a kind of action."""
        number, flags = divmod(code, CHUNK)
        variant, place = divmod(number, len(self.held[0]))
        chunk = self.held[variant][place]
        alone = self.beside if flags & AFTER_HOOK else self.always
        gather, reduce = bool(flags & GATHERS), bool(flags & REDUCES)
        if self.always == self.beside:
            flags &= ~AFTER_HOOK

        def made() -> float | Cell:
            own = self.pricer
            pricer = Pricer(own.device, own.dtype, own.collective_s, alone) if alone else own
            return cell_of(
                pieces(chunk, self.how, kind=flags // KIND, gather=gather, reduce=reduce),
                lambda runs: prices.price((self.key, alone), pricer, runs),
                self.restart_s,
            )

        key = (self.about, flags, self.how if gather or reduce else None)
        return prices.action(key, chunk, made)


__all__ = ["cells_of"]
