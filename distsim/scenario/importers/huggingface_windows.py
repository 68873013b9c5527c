"""Windows of attention in Hugging Face configurations: ``sliding_window`` and ``layer_types``.

A window of w tokens is the token itself and the w - 1 before it, as transformers masks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from distsim.scenario.importers.huggingface_keys import Keys
from distsim.scenario.importers.huggingface_type import Model

#: Kinds of layers in ``layer_types``.
FULL = ("full_attention", "attention")
WINDOWED = ("sliding_attention", "chunked_attention")


def windowed(
    keys: Keys,
    model: Model,
    full: Callable[[int], bool] = lambda number: False,
    *,
    listed: bool = True,
    size_key: str = "sliding_window",
) -> Model:
    """Return a model with the windows that its configuration gives it.

    Parameters
    ----------
    full : callable, optional
        Says of a layer, whose number counts from 1, whether the class lets it attend in full
        where ``layer_types`` says nothing; none does if it is left out.
    listed : bool, optional
        The class reads ``layer_types``.
    size_key : str, optional
        Key of the tokens of a window; null or 0 is no window, and one that is as long as the
        longest sequence does nothing.
    """
    layers, size = model["layers"], keys.count_or_none(size_key, 0) or 0
    whole = _listed(keys, layers) if listed else None
    if whole is None:
        whole = [full(number) for number in range(1, layers + 1)]
    if all(whole) or not 0 < size < model["max_positions"]:
        return model
    every = _every(whole)
    if every is None:
        keys.notes.add(
            f"{size_key} {size}: the layers with a window do not alternate evenly with those that "
            "attend in full, so attention is counted over the whole sequence"
        )
        return model
    first = whole.index(True) + 1 if every else every
    if first != every:
        keys.notes.add(
            f"of every {every} layers one attends in full, from layer {first} on: it is counted "
            f"from layer {every} on"
        )
    window = {"attention": "window", "attention_size": size}
    return model | window | ({"full_attention_every": every} if every else {})


def every_nth(keys: Keys, default: int) -> Callable[[int], bool]:
    """Say that the last of so many layers attends in full, or of ``sliding_window_pattern``.

    The pattern is that number, or a letter for each of them: LLLG is 4.
    """
    given = keys.look("sliding_window_pattern")
    if given is None or keys.look("layer_types") is not None:
        every = default
    elif isinstance(given, str) and re.fullmatch("L{1,99}G", given):
        every = len(given)
    else:
        every = keys.count("sliding_window_pattern")
    return lambda number: number % every == 0


def after(keys: Keys, model: Model) -> Model:
    """Return a Qwen with its windows, if they are used: in layers after ``max_window_layers``."""
    keys.look("sliding_window")
    keys.look("max_window_layers")
    if not keys.flag("use_sliding_window"):
        keys.used.add("layer_types")
        return model
    first = keys.count("max_window_layers", 0)
    return windowed(keys, model, lambda number: number <= first)


def _listed(keys: Keys, layers: int) -> list[bool] | None:
    """Return which layers attend in full by ``layer_types``; None where it is not given."""
    kinds = keys.look("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != layers:
        count = f"a list of {len(kinds)}" if isinstance(kinds, list) else "no list"
        raise keys.error(
            "DS254",
            f"layer_types is {count}, not a kind for each of {layers} layers",
            "layer_types",
            value=kinds,
            rule="layer_types has as many entries as the model has layers",
            fix="remove layer_types, or list all layers",
        )
    return [kind in FULL for kind in kinds]


def _every(whole: Sequence[bool]) -> int | None:
    """Return n where one of n layers attends in full, at the same distance; 0 where none does.

    As many layers as at every multiple of n, of which the first may stand elsewhere.
    """
    places = [number for number, full in enumerate(whole, 1) if full]
    if not places:
        return 0
    if len(places) == 1:
        first, half = places[0], len(whole) // 2
        return first if first > half else len(whole)
    gaps = {later - sooner for sooner, later in pairwise(places)}
    every = gaps.pop()
    return every if not gaps and every > 1 and len(whole) // every == len(places) else None
