"""Checking the block that describes a model of a family: keys, types, ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distsim.errors import WorkloadError, nearest, show
from distsim.workload.vocabulary import SOFTMAXES, Softmax

Path = tuple[str | int, ...]
#: Refuses a value by raising; otherwise returns it as a spec stores it.
Check = Callable[[str, object, Path], Any]

_LONGEST_TEXT, _MOST_SHARES = 1000, 100
#: Beyond any network; products of a few of them stay exact as floats.
MOST = 10_000_000


def count(most: int = MOST, least: int = 1) -> Check:
    """Return a check for a whole number from `least` to `most`."""

    def check(key: str, value: object, path: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(key, value, path, "a whole number")
        if not least <= value <= most:
            raise out_of_range(key, value, path, f"{least} <= {key} <= {most}")
        return value

    return check


def counts(most: int = MOST, *, lengths: range) -> Check:
    """Return a check for a list of whole numbers, as many as `lengths` has."""
    one = count(most)
    least, largest = lengths[0], lengths[-1]
    wanted = f"a list of {least}" + (f" to {largest}" if largest > least else "")
    wanted += " whole numbers"

    def check(key: str, value: object, path: Path) -> tuple[int, ...]:
        if not isinstance(value, list | tuple):
            raise wrong_type(key, value, path, wanted)
        if len(value) not in lengths:
            raise out_of_range(key, value, path, f"{key} is {wanted}")
        return tuple(one(key, item, (*path, i)) for i, item in enumerate(value))

    return check


def choice(*names: str) -> Check:
    """Return a check for one of `names`."""

    def check(key: str, value: object, path: Path) -> str:
        if not isinstance(value, str):
            raise wrong_type(key, value, path, f"one of {', '.join(names)}")
        if value not in names:
            near = nearest(value, names)
            raise WorkloadError(
                "DS204",
                f"{key} {show(value)} is unknown",
                path=path,
                value=value,
                rule=f"{key} is one of {', '.join(names)}",
                fix=f"did you mean {near}?" if near else f"use {' or '.join(names)}",
            )
        return value

    return check


def share_list(key: str, value: object, path: Path) -> tuple[float, ...]:
    """Refuse what is not a list of shares from 0 to 1."""
    wanted = "a list of shares from 0 to 1"
    if not isinstance(value, list | tuple) or len(value) > _MOST_SHARES:
        raise wrong_type(key, value, path, wanted)
    for index, one in enumerate(value):
        if not isinstance(one, int | float) or isinstance(one, bool):
            raise wrong_type(key, one, (*path, index), wanted)
        if not 0 <= one <= 1:
            raise out_of_range(key, one, (*path, index), f"0 <= {key} <= 1")
    return tuple(value)


def switch(key: str, value: object, path: Path) -> bool:
    """Refuse what is not true or false."""
    if not isinstance(value, bool):
        raise wrong_type(key, value, path, "true or false")
    return value


def text(key: str, value: object, path: Path) -> str:
    """Refuse what is not a text of a sensible length."""
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= _LONGEST_TEXT:
        raise wrong_type(key, value, path, f"a text of 1 to {_LONGEST_TEXT} characters")
    return value


#: Keys that a model of any family may state.
COMMON: Mapping[str, Check] = {
    "name": text,
    "source": text,
    "published_parameters": count(10**18),
}


#: Keys that say how the loss deals with a vocabulary (`distsim.workload.vocabulary`).
SOFTMAX: Mapping[str, Check] = {
    "softmax": choice(*SOFTMAXES),
    "softmax_samples": count(least=0),
    "softmax_cutoffs": counts(lengths=range(_MOST_SHARES)),
    "softmax_shares": share_list,
}


def take_softmax(values: dict[str, Any], vocab: int, path: Path) -> Softmax:
    """Remove the keys of `SOFTMAX` from checked values and return what they say.

    Raises
    ------
    WorkloadError
        DS220 for numbers that do not go with the kind.
    """
    given = {key: values.pop(key) for key in SOFTMAX if key in values}
    chosen = Softmax(*(given.get(k, d) for k, d in zip(SOFTMAX, ("full", 0, (), ()), strict=True)))
    check_softmax(chosen, vocab, path, tied=False)
    return chosen


def check_softmax(chosen: Softmax, vocab: int, path: Path, *, tied: bool) -> None:
    """Refuse numbers of a softmax that do not go with its kind or with the vocabulary.

    Raises
    ------
    WorkloadError
        DS220.
    """
    problem = chosen.problem(vocab, tied=tied)
    if problem is None:
        return
    key, rule = problem
    value = getattr(chosen, key.removeprefix("softmax_"), chosen.kind)
    raise WorkloadError(
        "DS220",
        f"{key} is {show(value)}",
        path=(*path, key),
        value=value,
        rule=rule,
        fix="change it, or leave softmax out for the full one",
    )


def read(
    block: object,
    path: Path,
    keys: Mapping[str, Check],
    required: Mapping[str, object],
    what: str,
) -> dict[str, Any]:
    """Return the values of a block whose keys are known and whose values are checked.

    Parameters
    ----------
    keys : mapping of str to Check
    required : mapping of str to object
        Keys that must be there, with an example of each.
    what : str
        What the block describes, with its article, for messages.

    Raises
    ------
    WorkloadError
        DS201 unknown key, DS202 wrong type, DS203 out of range, DS204 no such choice, DS205 keys
        missing.
    """
    if not isinstance(block, Mapping):
        raise WorkloadError(
            "DS202",
            f"{what} is {show(block)}, not a mapping",
            path=path,
            value=block,
            rule=f"a mapping with the keys {', '.join(required)}",
            fix="write key: value lines",
        )
    values = {}
    for key, value in block.items():
        if key not in keys:
            near = nearest(str(key), keys)
            raise WorkloadError(
                "DS201",
                f"{show(key)} is not a key of {what}",
                path=(*path, str(key)),
                value=key,
                rule=f"one of {', '.join(keys)}",
                fix=f"did you mean {near}?" if near else "remove the key",
            )
        values[key] = keys[key](key, value, (*path, key))
    missing = [key for key in required if key not in values]
    if missing:
        raise WorkloadError(
            "DS205",
            f"{what} has no {', '.join(missing)}",
            path=path,
            rule=f"{what} states {', '.join(required)}",
            fix=f"add {', '.join(f'{key}: {required[key]}' for key in missing)}",
        )
    return values


def out_of_range(key: str, value: object, path: Path, rule: str) -> WorkloadError:
    """Return the error for a value beyond its limits."""
    return WorkloadError(
        "DS203",
        f"{key} is {show(value)}",
        path=path,
        value=value,
        rule=rule,
        fix="write a value in that range",
    )


def wrong_type(key: str, value: object, path: Path, wanted: str) -> WorkloadError:
    """Return the error for a value of another type than the key takes."""
    return WorkloadError(
        "DS202",
        f"{key} is {show(value)}, not {wanted}",
        path=path,
        value=value,
        rule=f"{key} is {wanted}",
        fix=f"write {wanted}",
    )
