"""Records: equal, hashed and pickled as frozen dataclasses are, and cheaper to make."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields, is_dataclass, replace

import pytest

from distsim.record import record


@record
class Point:
    x: float
    y: float = 0.0
    tags: tuple[str, ...] = ()


@record(eq=False)
class Node:
    name: str


@record(kw_only=True)
class Named:
    first: int
    second: int = 2


@record
class Own:
    of: list[int] = field(default_factory=list)

    def __hash__(self) -> int:
        return 7


def test_equal_records_hash_the_same():
    one, other = Point(1.0, 2.0, ("a",)), Point(1.0, 2.0, ("a",))
    assert one == other
    assert hash(one) == hash(other)
    assert {one: "found"}[other] == "found"
    assert one != Point(1.0, 2.5, ("a",))


def test_without_eq_each_is_equal_to_itself_alone():
    one, other = Node("n"), Node("n")
    assert one != other
    assert len({one, other, one}) == 2


def test_a_hash_of_ones_own_is_kept():
    assert hash(Own([1])) == 7


def test_fields_by_name_only():
    assert Named(first=1) == Named(first=1, second=2)
    with pytest.raises(TypeError):
        Named(*(1, 2))


def test_it_is_a_dataclass_with_slots():
    assert is_dataclass(Point)
    assert [f.name for f in fields(Point)] == ["x", "y", "tags"]
    assert not hasattr(Point(1.0), "__dict__")
    assert replace(Point(1.0), y=3.0) == Point(1.0, 3.0)
    assert pickle.loads(pickle.dumps(Point(1.0, tags=("b",)))) == Point(1.0, tags=("b",))


def test_it_costs_less_to_make_than_a_frozen_dataclass():
    """No times: each attribute of a frozen one is set by a call, which shows in its code."""

    @dataclass(frozen=True, slots=True)
    class Frozen:
        x: float
        y: float = 0.0

    assert "__setattr__" in Frozen.__init__.__code__.co_names
    assert "__setattr__" not in Point.__init__.__code__.co_names
