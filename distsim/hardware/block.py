"""Reading a mapping from a file key by key, so that every problem names its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from distsim import units
from distsim.errors import HardwareError, nearest, show

Path = tuple[str | int, ...]


class Block:
    """A mapping with the key path at which it stands.

    Parameters
    ----------
    data : object
        What the file holds there.
    path : tuple of str or int

    Raises
    ------
    HardwareError
        DS404 where it is not a mapping.
    """

    __slots__ = ("_data", "path")

    def __init__(self, data: object, path: Path = ()) -> None:
        self.path = path
        if not isinstance(data, Mapping):
            raise self.error(
                "DS404",
                f"{show(data)} is not a mapping",
                value=data,
                rule="keys with a value each belong here",
                fix="write key: value, as the shipped files do",
            )
        self._data: Mapping[object, object] = data

    def error(
        self,
        code: str,
        message: str,
        *,
        key: str | int | None = None,
        value: object = None,
        rule: str = "",
        fix: str = "",
    ) -> HardwareError:
        """Return an error at a key of this block, or at the block itself."""
        path = self.path if key is None else (*self.path, key)
        return HardwareError(code, message, path=path, value=value, rule=rule, fix=fix)

    def only(self, *known: str) -> None:
        """Check that there is no key but these (DS402)."""
        for key in self._data:
            if key not in known:
                raise self.error(
                    "DS402",
                    f"{show(key)} is not a key here",
                    key=str(key),
                    value=key,
                    rule=f"keys here are {', '.join(known)}",
                    fix=offer(str(key), known) or "remove the key",
                )

    def has(self, key: str) -> bool:
        """Return whether the key is there."""
        return key in self._data

    def names(self) -> Iterator[str]:
        """Return the keys, in order."""
        return map(str, self._data)

    def raw(self, key: str) -> object:
        """Return what stands at a key (DS403 where it is missing)."""
        if key not in self._data:
            raise self.error("DS403", f"{key} is missing", key=key, fix=f"add {key}: ...")
        return self._data[key]

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty; `default` where the key is missing."""
        value = self.raw(key) if default is None else self._data.get(key, default)
        if not isinstance(value, str) or not (value.strip() or value == default):
            raise self._wrong(key, value, "a text")
        return value.strip()

    def choice(self, key: str, known: Sequence[str]) -> str:
        """Return one of some words (DS406 for another)."""
        value = self.text(key)
        if value not in known:
            raise self.error(
                "DS406",
                f"{key} {show(value)} is unknown",
                key=key,
                value=value,
                rule=f"{key} is one of {', '.join(known)}",
                fix=offer(value, known) or f"use one of {', '.join(known)}",
            )
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value; False where the key is missing."""
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number of at least 1; `default` where the key is missing."""
        value = self.raw(key) if default is None else self._data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, value, "a whole number")
        if not 1 <= value < 1 << 31:
            raise self._range(key, value, f"1 <= {key} < 2^31")
        return value

    def quantity(
        self,
        key: str,
        dimension: str,
        *,
        zero: bool = False,
        high: float | None = None,
        default: float | None = None,
    ) -> float:
        """Return a quantity in SI units.

        Parameters
        ----------
        key : str
        dimension : str
            As `units.parse` takes it; ``"1"`` is a plain number.
        zero : bool
            Whether zero is allowed. Less never is.
        high : float, optional
            The most that is allowed.
        default : float, optional
            Returned where the key is missing.

        Raises
        ------
        ValueProblem
            DS210 .. DS213 where it is no such quantity.
        HardwareError
            DS405 out of its range.
        """
        if default is not None and key not in self._data:
            return default
        raw = self.raw(key)
        value = units.parse(raw, dimension, path=(*self.path, key))
        if (value == 0 and not zero) or (high is not None and value > high):
            limit = "" if high is None else f" and <= {high:g}"
            raise self._range(key, raw, f"{key} {'>=' if zero else '>'} 0{limit}")
        return value

    def block(self, key: str) -> Block:
        """Return the mapping at a key."""
        return Block(self.raw(key), (*self.path, key))

    def blocks(self, key: str) -> list[Block]:
        """Return the mappings in the list at a key."""
        return [Block(item, (*self.path, key, i)) for i, item in enumerate(self.items(key))]

    def items(self, key: str) -> Sequence[object]:
        """Return the list at a key."""
        value = self.raw(key)
        if not isinstance(value, list | tuple):
            raise self._wrong(key, value, "a list")
        return value

    def texts(self, key: str) -> list[str]:
        """Return the list of texts at a key."""
        out = []
        for index, item in enumerate(self.items(key)):
            if not isinstance(item, str) or not item.strip():
                inside = (*self.path, key, index)
                raise HardwareError("DS404", f"{show(item)} is not a name", path=inside, value=item)
            out.append(item.strip())
        return out

    def _wrong(self, key: str, value: object, wanted: str) -> HardwareError:
        return self.error(
            "DS404",
            f"{key} is {show(value)}, not {wanted}",
            key=key,
            value=value,
            rule=f"{key} is {wanted}",
            fix=f"write {wanted}",
        )

    def _range(self, key: str, value: object, rule: str) -> HardwareError:
        return self.error(
            "DS405",
            f"{key} is {show(value)}",
            key=key,
            value=value,
            rule=rule,
            fix="write a value in that range",
        )


def offer(word: str, known: Sequence[str]) -> str:
    """Return a question that offers the name most like `word`, or nothing."""
    near = nearest(word, known)
    return f"did you mean {near}?" if near else ""
