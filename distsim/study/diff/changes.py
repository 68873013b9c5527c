"""What differs between two scenarios or two results: keys with their values on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distsim.scenario.plain import plain

Keys = tuple[str, ...]

#: Keys of a scenario that change nothing.
_IDLE = (("name",), ("schema",))


class Missing:
    """Stands for a value that is not there."""

    def __repr__(self) -> str:
        return "-"


MISSING = Missing()


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value differs.

    Attributes
    ----------
    keys : tuple of str
        Path of the value.
    before, after : object
        Plain values; `MISSING` where there is none.
    """

    keys: Keys
    before: Any
    after: Any

    @property
    def key(self) -> str:
        """Dotted key."""
        return ".".join(self.keys)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None where there is none."""
        sides = {"before": self.before, "after": self.after}
        return {"key": self.key} | {
            name: None if value is MISSING else value for name, value in sides.items()
        }


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], path: Keys = ()
) -> Iterator[Change]:
    """Yield what differs, key by key, in the order of the keys; lists differ as a whole.

    Examples
    --------
    >>> [c.key for c in differences({"plan": {"tp": 4, "pp": 2}}, {"plan": {"tp": 8, "pp": 2}})]
    ['plan.tp']
    """
    for key in [*one, *(key for key in other if key not in one)]:
        here = (*path, str(key))
        if here in _IDLE:
            continue
        before, after = one.get(key, MISSING), other.get(key, MISSING)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, here)
        elif type(before) is not type(after) or before != after:
            yield Change(here, before, after)


def applied(data: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """Return a copy of `data` with changes made; `data` stays as it is."""
    copy: dict[str, Any] = plain(data)
    for change in changes:
        block: Any = copy
        for key in change.keys[:-1]:
            block = block.setdefault(key, {})
        if change.after is MISSING:
            block.pop(change.keys[-1], None)
        else:
            block[change.keys[-1]] = plain(change.after)
    return copy
