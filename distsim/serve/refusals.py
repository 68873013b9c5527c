"""What a server refuses, as errors for people and as JSON."""

from __future__ import annotations

from typing import Any

from distsim.errors import DistsimError, UsageError, show

#: Code of a request that is refused, one that costs too much, and an error of distsim itself.
REFUSED, TOO_MUCH, INTERNAL = "DS727", "DS728", "DS699"


class Refused(UsageError):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        Of HTTP.
    """

    def __init__(self, status: int, code: str, message: str, *, rule: str, fix: str) -> None:
        super().__init__(code, message, rule=rule, fix=fix)
        self.status = status


def bad_form(message: str, rule: str, *, status: int = 400) -> Refused:
    """Return the error of a request that is not what its path asks for (DS727)."""
    return Refused(status, REFUSED, message, rule=rule, fix="see docs/serve.md for the form")


def too_much(message: str, rule: str, *, fix: str, status: int = 422) -> Refused:
    """Return the error of a request that costs more than the server gives (DS728)."""
    return Refused(status, TOO_MUCH, message, rule=rule, fix=fix)


def busy(why: str) -> Refused:
    """Return the error of a request that is refused for others (DS728)."""
    fix = "ask again in a moment"
    return too_much(why, "a server does so much at once", fix=fix, status=503)


def status_of(error: DistsimError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, Refused):
        return error.status
    return 500 if error.code == INTERNAL else 422


def error_dict(error: DistsimError) -> dict[str, Any]:
    """Return an error as plain values: its parts, and the text that the command line prints."""
    place = error.place
    return {
        "code": error.code,
        "message": error.message,
        "key": ".".join(map(str, error.path)),
        "value": _plain(error.value),
        "rule": error.rule,
        "fix": error.fix,
        "file": place.file if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
        "text": f"error: {error}",
        "status": status_of(error),
    }


def _plain(value: object) -> Any:
    """Return a value as JSON has it, or in words."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return value[:200] if isinstance(value, str) else show(value)
