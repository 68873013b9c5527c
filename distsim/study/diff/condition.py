"""Conditions on results, for continuous integration: ``mfu < 0.4 or memory.peak_bytes > 70 GiB``.

A parser by recursive descent over a small grammar; nothing is ever evaluated as code::

    any     = all {"or" all}
    all     = one {"and" one}
    one     = "not" one | sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
    sum     = product {("+" | "-") product}
    product = atom {("*" | "/") atom}
    atom    = "-" atom | number [unit] | key | "text" | "true" | "false" | "(" any ")"

Numbers have SI units inside, as results do, so that ``70 GiB`` is compared with bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from distsim.errors import CheckFailed, ValueProblem, nearest, show
from distsim.study.diff.tokens import Token, bad, tokens

Result = Mapping[str, Any]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
#: Parentheses and signs within one another.
_DEEPEST = 40
#: Endings of keys -> dimension of their values, the first that fits.
_ENDINGS = (
    ("bytes_per_s", "bytes_per_s"),
    ("flop_per_s", "flop_per_s"),
    ("flop_per_s_per_device", "flop_per_s"),
    ("_per_s", ""),
    ("_per_s_per_device", ""),
    ("bytes", "bytes"),
    ("_s", "s"),
)
_BASE = "base"


@dataclass(frozen=True, slots=True)
class Value:
    """A number, a truth or a text, and what the number measures (empty: nothing, or unknown)."""

    value: float | bool | str
    dimension: str = ""


@dataclass(slots=True)
class _Scope:
    """What keys stand for, and which of them were asked for."""

    text: str
    result: Result
    base: Result | None
    used: dict[str, Any] = field(default_factory=dict)


Node = Callable[[_Scope], Value]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read.

    Attributes
    ----------
    text : str
        As written.
    """

    text: str
    _root: Node = field(repr=False)

    def holds(self, result: Result, base: Result | None = None) -> bool:
        """Say whether it holds for a result.

        Parameters
        ----------
        result : mapping
            As ``--json`` prints it.
        base : mapping, optional
            What ``base.KEY`` is looked up in.

        Raises
        ------
        ValueProblem
            DS732 for keys that are not there and values that cannot be compared.
        """
        return self._found(result, base)[0]

    def check(self, result: Result, base: Result | None = None) -> None:
        """Fail if it holds.

        Raises
        ------
        CheckFailed
            DS730, with the values of the keys in it.
        ValueProblem
            DS732, as `holds`.
        """
        holds, used = self._found(result, base)
        if holds:
            said = ", ".join(f"{key} is {_shown(value)}" for key, value in used.items())
            raise CheckFailed(
                "DS730",
                f"{self.text} holds{f': {said}' if said else ''}",
                value=self.text,
                rule="--fail-if fails when its condition holds",
            )

    def _found(self, result: Result, base: Result | None) -> tuple[bool, dict[str, Any]]:
        scope = _Scope(self.text, result, base)
        found = self._root(scope).value
        if not isinstance(found, bool):
            raise _unfit(scope, f"it comes to {_shown(found)}", "a condition is true or false")
        return found, scope.used


def parse(text: str) -> Condition:
    """Read a condition.

    Raises
    ------
    UsageError
        DS731, with the character at which it stops making sense.
    """
    parser = _Parser(text)
    root = parser.any(0)
    parser.expect_end()
    return Condition(text.strip(), root)


class _Parser:
    """Reads words one after another."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(tokens(text))
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> str | None:
        token = self._next
        if token.kind in ("operator", "word") and token.text in texts:
            self._at += 1
            return token.text
        return None

    def expect_end(self) -> None:
        """Refuse what stands behind the condition."""
        if self._next.kind != "end":
            raise bad(self._text, self._next.at, f"{show(self._next.text)} is one word too many")

    def any(self, depth: int) -> Node:
        """Read alternatives."""
        found = self._all(depth)
        while self._take("or"):
            found = _joined(found, self._all(depth), stops_at=True)
        return found

    def _all(self, depth: int) -> Node:
        found = self._one(depth)
        while self._take("and"):
            found = _joined(found, self._one(depth), stops_at=False)
        return found

    def _one(self, depth: int) -> Node:
        if self._take("not"):
            inner = self._one(self._deeper(depth))
            return lambda scope: Value(not _truth(scope, inner(scope)))
        left = self._sum(depth)
        sign = self._take(*_COMPARE)
        return _compared(sign, left, self._sum(depth)) if sign else left

    def _sum(self, depth: int) -> Node:
        found = self._product(depth)
        while sign := self._take("+", "-"):
            found = _calculated(sign, found, self._product(depth))
        return found

    def _product(self, depth: int) -> Node:
        found = self._atom(depth)
        while sign := self._take("*", "/"):
            found = _calculated(sign, found, self._atom(depth))
        return found

    def _atom(self, depth: int) -> Node:
        depth = self._deeper(depth)
        if self._take("-"):
            return _calculated("-", lambda _: Value(0.0), self._atom(depth))
        if self._take("("):
            inner = self.any(depth)
            if not self._take(")"):
                raise bad(self._text, self._next.at, "a parenthesis is not closed")
            return inner
        if word := self._take("true", "false"):
            return lambda _: Value(word == "true")
        token = self._next
        if token.kind == "number":
            self._at += 1
            return lambda _: Value(token.value, token.dimension)
        if token.kind == "text":
            self._at += 1
            return lambda _: Value(token.text[1:-1])
        if token.kind == "name":
            self._at += 1
            return lambda scope: _looked_up(scope, token.text)
        said = show(token.text) if token.text else "the end"
        raise bad(self._text, token.at, f"a key or a number is missing before {said}")

    def _deeper(self, depth: int) -> int:
        if depth >= _DEEPEST:
            raise bad(self._text, self._next.at, "it is nested too deep")
        return depth + 1


def _joined(left: Node, right: Node, *, stops_at: bool) -> Node:
    """Return ``or`` (stops at true) or ``and``; the right side counts only if the left does not."""

    def node(scope: _Scope) -> Value:
        if _truth(scope, left(scope)) == stops_at:
            return Value(stops_at)
        return Value(_truth(scope, right(scope)))

    return node


def _truth(scope: _Scope, found: Value) -> bool:
    if isinstance(found.value, bool):
        return found.value
    raise _unfit(scope, f"{_shown(found.value)} is neither true nor false", "and, or, not join "
                 "comparisons")  # fmt: skip


def _compared(sign: str, left: Node, right: Node) -> Node:
    def node(scope: _Scope) -> Value:
        a, b = left(scope), right(scope)
        numbers = all(_is_number(v.value) for v in (a, b))
        if not numbers and (type(a.value) is not type(b.value) or sign not in ("==", "!=")):
            why = f"{_shown(a.value)} {sign} {_shown(b.value)} compares what cannot be compared"
            raise _unfit(scope, why, "numbers with numbers; texts and truths by == and !=")
        _same_dimension(scope, a, b)
        return Value(_COMPARE[sign](a.value, b.value))

    return node


def _calculated(sign: str, left: Node, right: Node) -> Node:
    def node(scope: _Scope) -> Value:
        a, b = left(scope), right(scope)
        if not (_is_number(a.value) and _is_number(b.value)):
            why = f"{_shown(a.value)} {sign} {_shown(b.value)} is no calculation with numbers"
            raise _unfit(scope, why, "numbers add up and multiply")
        x, y = float(a.value), float(b.value)
        if sign == "/" and y == 0.0:
            raise _unfit(scope, "it divides by 0", "a divisor is not 0")
        if sign in "+-":
            _same_dimension(scope, a, b)
            found = Value(x + y if sign == "+" else x - y, a.dimension or b.dimension)
        elif sign == "*":
            both = a.dimension and b.dimension
            found = Value(x * y, "" if both else a.dimension or b.dimension)
        else:
            found = Value(x / y, "" if b.dimension else a.dimension)
        if not isfinite(float(found.value)):
            raise _unfit(scope, "a number in it is too large", "numbers are finite")
        return found

    return node


def _same_dimension(scope: _Scope, a: Value, b: Value) -> None:
    if a.dimension and b.dimension and a.dimension != b.dimension:
        why = f"it compares or adds {a.dimension} and {b.dimension}"
        raise _unfit(scope, why, "both sides measure the same")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _looked_up(scope: _Scope, key: str) -> Value:
    first, _, rest = key.partition(".")
    source, path = scope.result, key
    if first == _BASE and _BASE not in scope.result:
        if scope.base is None:
            raise _unfit(scope, "there is nothing to compare with here", "base. is for diff",
                         fix="use distsim diff A B, whose base is A")  # fmt: skip
        source, path = scope.base, rest
    found: Any = source
    for part in path.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            near = nearest(path, list(_keys(source)))
            fix = f"did you mean {near}?" if near else "distsim run --json lists the keys"
            raise _unfit(scope, f"the result has no key {show(path)}", "keys of --json", fix=fix)
    if isinstance(found, bool | str) or _is_number(found):
        scope.used[key] = found
        return Value(found, _dimension(path) if _is_number(found) else "")
    what = "nothing" if found is None else "no single value"
    raise _unfit(scope, f"{key} is {what}", "a key has a number, a text, or true or false")


def _dimension(key: str) -> str:
    return next((dimension for ending, dimension in _ENDINGS if key.endswith(ending)), "")


def _keys(result: object, path: str = "") -> Iterator[str]:
    """Yield the keys of single values."""
    if isinstance(result, Mapping):
        for key, value in result.items():
            yield from _keys(value, f"{path}.{key}" if path else str(key))
    elif isinstance(result, list):
        for n, value in enumerate(result[:8]):
            yield from _keys(value, f"{path}.{n}")
    else:
        yield path


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else show(value)


def _unfit(scope: _Scope, why: str, rule: str, fix: str = "") -> ValueProblem:
    return ValueProblem(
        "DS732",
        f"the condition {show(scope.text)} cannot be checked: {why}",
        value=scope.text,
        rule=rule,
        fix=fix or "see the keys and their values with --json",
    )
