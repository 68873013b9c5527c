"""Reading and checking the block that describes a convolutional network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distsim.errors import WorkloadError, show
from distsim.workload.families.checking import (
    COMMON,
    Check,
    Path,
    choice,
    count,
    counts,
    out_of_range,
    read,
    switch,
    wrong_type,
)
from distsim.workload.families.cnn import (
    Cnn,
    ConvEntry,
    DenseEntry,
    Entry,
    PoolEntry,
    ResidualEntry,
    after,
)
from distsim.workload.families.convolution import Image

_SIDE = 100_000
_CHANNELS = 1_000_000
_MOST_ENTRIES = 500

#: For each kind of entry, by the key that tells it: its class, its keys, those it must have.
_ENTRIES: Mapping[str, tuple[type[Entry], Mapping[str, Check], Mapping[str, object]]] = {
    "conv": (
        ConvEntry,
        {
            "conv": count(_CHANNELS),
            "kernel": count(_SIDE),
            "stride": count(_SIDE),
            "padding": count(_SIDE, least=0),
            "norm": switch,
            "bias": switch,
        },
        {"conv": 64, "kernel": 3},
    ),
    "pool": (
        PoolEntry,
        {
            "pool": choice("max", "average", "global"),
            "kernel": count(_SIDE),
            "stride": count(_SIDE),
            "padding": count(_SIDE, least=0),
        },
        {"pool": "max"},
    ),
    "residual": (
        ResidualEntry,
        {
            "residual": choice("basic", "bottleneck"),
            "channels": count(_CHANNELS),
            "stride": count(_SIDE),
            "repeat": count(200),
            "stride_first": switch,
        },
        {"residual": "basic", "channels": 64},
    ),
    "dense": (DenseEntry, {"dense": count(), "dropout": switch}, {"dense": 4096}),
}


def from_mapping(block: object, path: Path = (), name: str = "inline") -> Cnn:
    """Return the convolutional network that a block describes.

    Parameters
    ----------
    block : mapping
        ``family: cnn``, ``image: [channels, height, width]``, ``classes`` and ``layers`` are
        required. ``layers`` is a list of entries: ``{conv: CHANNELS, kernel: K}`` with
        ``stride``, ``padding`` (K // 2 by default), ``norm`` and ``bias`` (true without a norm);
        ``{pool: max, kernel: K}`` with ``stride`` (K by default) and ``padding``, or
        ``{pool: global}``; ``{residual: bottleneck, channels: C}`` with ``stride``, ``repeat`` and
        ``stride_first``; ``{dense: FEATURES}`` with ``dropout``.
    path : tuple of str or int, optional
        Where the block stands, for errors.
    name : str, optional
        Name of the model if the block gives none.

    Raises
    ------
    WorkloadError
        DS201 to DS205, also where a window is larger than what it moves over or a convolution
        follows a dense layer.
    """
    keys = {
        **COMMON,
        "published_macs": count(10**18),
        "family": choice("cnn"),
        "image": counts(_SIDE, lengths=range(3, 4)),
        "classes": count(),
        "layers": _list,
        "winograd": choice("none", "fused", "separate"),
    }
    required = {
        "family": "cnn",
        "image": [3, 224, 224],
        "classes": 1000,
        "layers": [{"conv": 64, "kernel": 3}],
    }
    given = read(block, path, keys, required, "a convolutional network")
    del given["family"]
    image = Image(*given["image"])
    entries: list[Entry] = []
    listed = given.pop("layers")
    for index, item in enumerate(listed):
        at = (*path, "layers", index)
        entry = _entry(item, at)
        _check_order(entry, entries, at)
        image = _check_room(entry, image, at)
        entries.append(entry)
    spec = Cnn(**{"name": name, **given, "entries": tuple(entries)})
    if not spec.layers:
        rule = "some entry is a conv, residual or dense: a network has a layer before the last"
        raise out_of_range("layers", listed, (*path, "layers"), rule)
    return spec


def _list(key: str, value: object, path: Path) -> list[object]:
    if not isinstance(value, list | tuple):
        raise wrong_type(key, value, path, "a list of entries")
    if not 1 <= len(value) <= _MOST_ENTRIES:
        raise out_of_range(key, value, path, f"1 to {_MOST_ENTRIES} entries")
    return list(value)


def _entry(item: object, path: Path) -> Entry:
    told = [kind for kind in _ENTRIES if kind in item] if isinstance(item, Mapping) else []
    if len(told) != 1:
        raise WorkloadError(
            "DS202",
            f"a layer is {show(item)}, which names {len(told)} of {', '.join(_ENTRIES)}",
            path=path,
            value=item,
            rule=f"a mapping with one of {', '.join(_ENTRIES)}",
            fix="write for example {conv: 64, kernel: 3}",
        )
    cls, keys, required = _ENTRIES[told[0]]
    given = read(item, path, keys, required, f"a {told[0]} layer")
    _fill(given, path)
    return cls(**given)


def _fill(given: dict[str, Any], path: Path) -> None:
    """Derive what an entry leaves unsaid."""
    if "conv" in given:
        given.setdefault("padding", given["kernel"] // 2)
        given.setdefault("bias", not given.get("norm", False))
    if given.get("pool") in ("max", "average"):
        if "kernel" not in given:
            read(given, path, dict.fromkeys(given, _any), {"kernel": 2}, "a window of pooling")
        given.setdefault("stride", given["kernel"])


def _any(key: str, value: object, path: Path) -> object:
    return value


def _check_order(entry: Entry, before: list[Entry], path: Path) -> None:
    if isinstance(entry, DenseEntry) or not any(isinstance(b, DenseEntry) for b in before):
        return
    raise WorkloadError(
        "DS203",
        "a convolution or pooling follows a dense layer",
        path=path,
        value=entry,
        rule="dense layers are the last: their features have no places",
        fix="move the dense layers to the end",
    )


def _check_room(entry: Entry, image: Image, path: Path) -> Image:
    result = after(image, entry)
    kernel = 0 if isinstance(entry, DenseEntry | ResidualEntry) else entry.kernel
    padding = 0 if isinstance(entry, DenseEntry | ResidualEntry) else entry.padding
    if isinstance(entry, PoolEntry) and 2 * padding > kernel:
        raise out_of_range("padding", padding, (*path, "padding"), f"2 padding <= kernel({kernel})")
    if min(result.height, result.width) >= 1:
        return result
    side = min(image.height, image.width)
    rule = f"kernel <= side + 2 padding = {side + 2 * padding}, for an image of "
    rule += f"{image.height} x {image.width} here"
    raise out_of_range("kernel", kernel, (*path, "kernel"), rule)
