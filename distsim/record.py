"""Immutable records that are cheap to make.

A frozen dataclass sets each attribute through ``object.__setattr__``: one of ten fields takes five
times as long to make as the same one without, and a prediction makes hundreds
(docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform, overload

_T = TypeVar("_T")


@overload
def record(made: type[_T], /) -> type[_T]: ...
@overload
def record(*, eq: bool = True, kw_only: bool = False) -> Callable[[type[_T]], type[_T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(made: Any = None, /, *, eq: bool = True, kw_only: bool = False) -> Any:
    """Make a class a dataclass with slots that type checkers hold frozen.

    Equal records hash the same, and nothing may be set after a record is made: what is remembered
    for one is found by its hash. Type checkers enforce it (PEP 681); at run time nothing does.

    Parameters
    ----------
    eq : bool, optional
        Whether records with equal fields are equal; otherwise each is equal to itself alone.
    kw_only : bool, optional
        Whether fields are given by name only.
    """

    def of(cls: type[_T]) -> type[_T]:
        hashed = eq and "__hash__" not in vars(cls)
        return dataclass(cls, eq=eq, kw_only=kw_only, slots=True, unsafe_hash=hashed)

    return of if made is None else of(made)


__all__ = ["record"]
