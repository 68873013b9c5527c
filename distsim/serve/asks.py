"""Bodies of requests: read up to their limit, and checked field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distsim.errors import show
from distsim.serve.catalogue import scenario_names
from distsim.serve.limits import LIMITS
from distsim.serve.refusals import bad_form

if TYPE_CHECKING:
    from starlette.requests import Request

Check = Callable[[str, Any], Any]
#: Longest change and longest list of values.
_LONGEST = 10_000


async def body_of(request: Request) -> Any:
    """Return the JSON of a request.

    Raises
    ------
    Refused
        DS727 for more than the limit (413), and for what is no JSON (400).
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > LIMITS.body_bytes:
        raise _too_long()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMITS.body_bytes:
            raise _too_long()
    try:
        return json.loads(bytes(body), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = str(error)[:100] if isinstance(error, ValueError) else "it nests too deep"
        raise bad_form(f"the body is no JSON: {why}", "a JSON object") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _too_long() -> Exception:
    rule = f"at most {LIMITS.body_bytes:,} bytes"
    return bad_form("the body is too long", rule, status=413)


def text(name: str, value: Any) -> str:
    """Return a text."""
    if isinstance(value, str):
        return value
    raise bad_form(f"{name} is {show(value)}", "a text")


def texts(name: str, value: Any) -> list[str]:
    """Return a list of texts, not too many and not too long."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise bad_form(f"{name} is {show(value)}", "a list of texts")
    if len(value) > LIMITS.changes or any(len(one) > _LONGEST for one in value):
        rule = f"up to {LIMITS.changes} texts of up to {_LONGEST:,} characters"
        raise bad_form(f"{name} has too many", rule)
    return value


def switch(name: str, value: Any) -> bool:
    """Return true or false."""
    if isinstance(value, bool):
        return value
    raise bad_form(f"{name} is {show(value)}", "true or false")


def base(name: str, value: Any) -> str:
    """Return the name of a shipped scenario, or nothing."""
    if isinstance(value, str) and value in ("", *scenario_names()):
        return value
    raise bad_form(f"{name} is {show(value)}", "the name of a shipped scenario")


#: Fields of a scenario: what checks them. The text itself must be there.
SCENARIO: Mapping[str, Check] = {"scenario": text, "set": texts, "base": base}
SWEEP: Mapping[str, Check] = {
    **SCENARIO,
    "devices": text,
    "vary": texts,
    "along": texts,
    "weak": switch,
}


def scenario(name: str, value: Any) -> dict[str, Any]:
    """Return a scenario with its changes."""
    return fields(value, SCENARIO, ("scenario",), name)


COMPARE: Mapping[str, Check] = {"a": scenario, "b": scenario}


def fields(
    value: Any, known: Mapping[str, Check], needed: tuple[str, ...], name: str = "the body"
) -> dict[str, Any]:
    """Return the fields of an object, each checked.

    Raises
    ------
    Refused
        DS727 for what is no object, an unknown or a missing field, or a value that is not of its
        type.
    """
    if not isinstance(value, dict):
        raise bad_form(f"{name} is {show(value)}", "a JSON object")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise bad_form(f"{name} has a field {show(unknown[0])}", f"of {', '.join(known)}")
    missing = [key for key in needed if key not in value]
    if missing:
        raise bad_form(f"{name} has no {missing[0]}", f"{', '.join(needed)} must be there")
    return {key: known[key](key, given) for key, given in value.items()}
