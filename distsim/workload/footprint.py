"""What a software stack allocates beside model states and kept activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from distsim.record import record


@record
class Footprint:
    """Arrays that frameworks make for a while or beside others, in bytes.

    Mappings say it for each compute type; a type that is not in them has none.

    Attributes
    ----------
    loss_copies, divided_loss_copies : float
        Of products in 16 bits: what is there while the loss or its backward pass runs, over what it
        keeps (logits or their gradient in 16 bits). The second is that of a loss that is not fused,
        where ranks divide the vocabulary.
    raw_gradients : mapping of str to float
        A parameter that a rank holds: gradients as autograd makes them, where they stay beside the
        buffer into which they are summed.
    update : mapping of str to float
        A parameter that a rank updates, during the update: gradients in fp32, and what an optimizer
        of elementwise operators makes.
    flat_update : mapping of str to float
        The same, in addition, where the share of a rank is one flat array (ZeRO-1 and 2): gradients
        copied into one. Arrays of this size find no room in what the passes left to the allocator.
    norm : mapping of str to float
        An element of the largest gradient, in the type in which its norm is taken.
    fragmentation : float or None
        Gaps between blocks of the allocator over what it has handed out; None: not known of this
        stack.
    """

    loss_copies: float = 0.0
    divided_loss_copies: float = 0.0
    raw_gradients: Mapping[str, float] = field(default_factory=dict)
    update: Mapping[str, float] = field(default_factory=dict)
    flat_update: Mapping[str, float] = field(default_factory=dict)
    norm: Mapping[str, float] = field(default_factory=dict)
    fragmentation: float | None = None
