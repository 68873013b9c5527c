"""Access to the keys of a Hugging Face configuration: types checked, defaults filled in and said.

A key that is absent has the default of its configuration class; that differs from ``null``, which
most classes take as "derive it from the others".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distsim.errors import Place, WorkloadError, show
from distsim.scenario.importers.huggingface_json import Path
from distsim.scenario.importers.notes import Notes

#: Most that a count may be; the model's own limits, which are lower, are checked with the model.
_MOST = 10**18
#: Functions of one value: a pass over the same elements, whichever it is.
_GATES = ("silu", "swish")
_GELUS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "quick_gelu")
_OTHERS = ("relu", "relu2", "relu6", "leaky_relu", "sigmoid", "tanh", "mish")


class Keys:
    """The keys of one configuration.

    Parameters
    ----------
    given : mapping
    config : str
        Class whose defaults they are, for notes.
    defaults : mapping
        Of that class; a key without one has to be given.
    other_names : mapping of str to str
        A second name for some keys (``attribute_map`` of the class).
    file : str
    prefix : tuple
        Where `given` stands in the file.
    path : tuple
        Where the file is named, for errors.
    lines : mapping
        Of the file.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        *,
        config: str,
        defaults: Mapping[str, Any],
        other_names: Mapping[str, str],
        file: str,
        prefix: Path,
        path: Path,
        lines: Mapping[Path, int],
    ) -> None:
        self.given, self.notes = given, Notes()
        self.used: set[str] = set()
        self._config, self._defaults, self._other_names = config, defaults, other_names
        self._file, self._prefix, self._path, self._lines = file, prefix, path, lines
        self._filled: dict[str, Any] = {}
        self.parts: list[Keys] = []

    def part(self, key: str, config: str, defaults: Mapping[str, Any]) -> Keys:
        """Return the keys of an object within this one; null is an empty object."""
        given = self.look(key)
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise self._wrong(key, given, "an object of keys and values")
        part = Keys(
            given,
            config=config,
            defaults=defaults,
            other_names={},
            file=self._file,
            prefix=(*self._prefix, key),
            path=self._path,
            lines=self._lines,
        )
        part.notes, part.parts = self.notes, self.parts
        self.parts.append(part)
        return part

    def count(self, key: str, least: int = 1, most: int = _MOST) -> int:
        """Return a whole number (DS254 for another type or range, DS255 if there is none)."""
        value = self._value(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            upper = f" of {least} to {most}" if most < _MOST else f", {least} or more"
            raise self._wrong(key, value, f"a whole number{upper}")
        return value

    def count_or_none(self, key: str, least: int = 1) -> int | None:
        """Return a whole number, or None for null and for a key without a default."""
        return self.count(key, least) if self.look(key) is not None else None

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self._value(key)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def share(self, key: str) -> float:
        """Return a number from 0 to 1; null is 0."""
        value = self._value(key)
        if value is None:
            return 0.0
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise self._wrong(key, value, "a number from 0 to 1")
        return float(value)

    def numbers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers; null is an empty one."""
        value = self._value(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
            raise self._wrong(key, value, "a list of whole numbers")
        return tuple(value)

    def activation(self, key: str, *, gated: bool) -> str:
        """Return the activation that `ModelSpec` has for a function of a gate, or of one value."""
        value = self._value(key)
        if not isinstance(value, str):
            raise self._wrong(key, value, "the name of a function")
        if value not in (*_GATES, *_GELUS, *_OTHERS):
            raise self.refused(key, f"the function {show(value)}")
        ours = "swiglu" if gated else "gelu"
        if value not in (_GATES if gated else _GELUS):
            self.notes.add(f"{key} {value} is counted as {ours}: as many passes over the elements")
        return ours

    def dropout(self, *keys: str) -> bool:
        """Say whether the model is trained with dropout, from the shares that are dropped."""
        shares = {key: self.share(key) for key in keys}
        on = [key for key, share in shares.items() if share > 0]
        if on and len(on) < 3:
            named = " and ".join(f"{key} {shares[key]:g}" for key in on)
            self.notes.add(
                f"{named}: dropout is counted on attention, residual branches and embedding alike"
            )
        return bool(on)

    def name_of(self, key: str) -> str:
        """Return the name by which a key is given: its own, or its other one."""
        other = self._other_names.get(key, key)
        return other if key not in self.given and other in self.given else key

    def look(self, key: str) -> Any:
        """Return a value or its default, unchecked and unsaid; None where there is neither."""
        self.used.update((key, self._other_names.get(key, key)))
        return self.given.get(self.name_of(key), self._defaults.get(key))

    def refused(self, key: str, part: str) -> WorkloadError:
        """Return the error that a part of the model is not modelled (DS253)."""
        return self.error(
            "DS253",
            f"{part} is not modelled",
            key,
            value=self.look(key),
            rule="what changes the operators or the parameters of a model is modelled or refused",
            fix="describe a model close to it as a block, or choose another one",
        )

    def error(
        self, code: str, message: str, key: str = "", *, value: object = None, rule: str, fix: str
    ) -> WorkloadError:
        """Return an error at a key, with its line in the file."""
        where = (*self._prefix, self.name_of(key)) if key else self._prefix
        line = self._lines.get(where, self._lines.get(self._prefix, 0))
        return WorkloadError(
            code,
            message,
            path=(*self._path, *where),
            value=value,
            rule=rule,
            fix=fix,
            place=Place(self._file, line),
        )

    def sentences(self) -> tuple[str, ...]:
        """Return all notes: defaults that were filled in first."""
        filled = [part.filled() for part in (self, *self.parts)]
        return (*(sentence for sentence in filled if sentence), *self.notes.sentences())

    def filled(self) -> str:
        """Return the defaults that were filled in, as a sentence; nothing if there are none."""
        named = ", ".join(f"{key} {_json(value)}" for key, value in self._filled.items())
        return f"not given, so as {self._config} has it: {named}" if named else ""

    def _value(self, key: str) -> Any:
        value = self.look(key)
        name, other = self.name_of(key), self._other_names.get(key, key)
        if name in self.given:
            second = self.given.get(other, value)
            if second != value:
                raise self.error(
                    "DS256",
                    f"{key} is {show(value)} and {other}, its other name, {show(second)}",
                    key,
                    value=value,
                    rule=f"{key} and {other} are one thing",
                    fix="remove one of them",
                )
            return value
        if key not in self._defaults:
            raise self.error(
                "DS255",
                f"the configuration has no {key}",
                value=None,
                rule=f"{self._config} has no default for {key}",
                fix=f"add {key}",
            )
        self._filled[key] = value
        return value

    def _wrong(self, key: str, value: object, wanted: str) -> WorkloadError:
        shown = _json(value) if value is None or isinstance(value, bool) else show(value)
        return self.error(
            "DS254",
            f"{self.name_of(key)} is {shown}, not {wanted}",
            key,
            value=value,
            rule=f"{self.name_of(key)} is {wanted}",
            fix=f"write {wanted}",
        )


def _json(value: object) -> str:
    """Return a default as JSON writes it."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
