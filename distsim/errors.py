"""The error tree: every problem a user can cause, with a stable code.

::

    DistsimError
    ├── BadInput                exit code 2
    │   ├── FileError           DS1xx  missing, unreadable, too large
    │   ├── SyntaxProblem       DS1xx  not YAML, too deep, alias bomb
    │   ├── ValueProblem        DS2xx  unknown key, type, range, unit
    │   ├── PlanError           DS3xx  a plan that cannot be
    │   ├── HardwareError       DS4xx  device or topology
    │   ├── WorkloadError       DS2xx  model
    │   └── UsageError          DS6xx  command line
    └── Failed                  exit code 1
        ├── InfeasibleError     DS5xx  does not fit
        └── CheckFailed         DS5xx  a check did not hold
"""

from __future__ import annotations

from collections.abc import Iterable
from reprlib import Repr

from distsim.codes import CODES, SECTIONS, CodeInfo
from distsim.record import record

__all__ = [
    "CODES",
    "BadInput",
    "CheckFailed",
    "CodeInfo",
    "DistsimError",
    "Failed",
    "FileError",
    "HardwareError",
    "InfeasibleError",
    "Place",
    "PlanError",
    "SyntaxProblem",
    "UsageError",
    "ValueProblem",
    "WorkloadError",
    "code_info",
    "markdown",
    "nearest",
    "show",
]


@record
class Place:
    """Where in a file a value stands (``line`` and ``column`` count from 1; 0 = unknown)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class DistsimError(Exception):
    """A problem that a person can mend, with a stable code.

    Parameters
    ----------
    code : str
        Stable code, for example ``DS301``; `distsim explain CODE` says more.
    message : str
        What is wrong, with the numbers in it.
    path : tuple of str or int, optional
        Key path in the scenario, ``("plan", "tp")``; the loader turns it into a place.
    value : object, optional
        The offending value.
    rule, fix : str, optional
        The rule that was broken and what to do.
    place : Place, optional
        File and line.
    """

    exit_code = 2

    def __init__(
        self,
        code: str,
        message: str,
        *,
        path: tuple[str | int, ...] = (),
        value: object = None,
        rule: str = "",
        fix: str = "",
        place: Place | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.value = value
        self.rule = rule
        self.fix = fix
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with the message alone; sweeps send errors between processes.
        return _restored, (type(self), self.code, self.message, self.__dict__)

    def at(self, place: Place) -> DistsimError:
        """Return this error with its place set (an earlier, more exact place is kept)."""
        if self.place is None:
            self.place = place
        return self

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        key = f" [{'.'.join(map(str, self.path))}]" if self.path else ""
        lines = [f"{where}{self.code}: {self.message}{key}"]
        if self.rule:
            lines.append(f"  rule: {self.rule}")
        if self.fix:
            lines.append(f"  fix:  {self.fix}")
        return "\n".join(lines)


def _restored(
    kind: type[DistsimError], code: str, message: str, state: dict[str, object]
) -> DistsimError:
    error = kind(code, message)
    error.__dict__.update(state)
    return error


class BadInput(DistsimError):
    """The input is wrong; exit code 2."""


class FileError(BadInput):
    """A file is missing, unreadable or too large."""


class SyntaxProblem(BadInput):
    """A file is not what its format asks for."""


class ValueProblem(BadInput):
    """A key, type, value or unit is wrong."""


class PlanError(BadInput):
    """A parallel plan that cannot be."""


class HardwareError(BadInput):
    """A device or topology that cannot be."""


class WorkloadError(BadInput):
    """A model that cannot be."""


class UsageError(BadInput):
    """The command line is wrong."""


class Failed(DistsimError):
    """The input is right but the answer is no; exit code 1."""

    exit_code = 1


class InfeasibleError(Failed):
    """The plan does not fit the hardware."""


class CheckFailed(Failed):
    """A check that the user asked for did not hold."""


_REPR = Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60
_REPR.maxlevel = 3


def show(value: object) -> str:
    """Return `value` for a message: its repr, cut where it is long."""
    try:
        return _REPR.repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the word of `known` that `word` most likely stands for, None if none is near."""
    from difflib import get_close_matches

    by_lower = {k.lower(): k for k in known}
    near = get_close_matches(word[:100].lower(), by_lower, 1, 0.6)
    return by_lower[near[0]] if near else None


def code_info(code: str) -> CodeInfo:
    """Return what an error code means.

    Parameters
    ----------
    code : str
        For example ``DS301``; upper or lower case, with or without ``DS``.

    Raises
    ------
    UsageError
        DS601, an unknown code, with the nearest known ones.
    """
    key = code.strip().upper()
    key = f"DS{key}" if key.isdecimal() else key
    if key in CODES:
        return CODES[key]
    from difflib import get_close_matches

    near = get_close_matches(key[:100], CODES, 3, 0.5)
    raise UsageError(
        "DS601",
        f"unknown error code {show(code)}",
        value=code,
        rule=f"one of the {len(CODES)} codes from {min(CODES)} to {max(CODES)}",
        fix=f"did you mean {' or '.join(near)}?" if near else "copy the code from the message",
    )


def markdown() -> str:
    """Return the reference of all codes, the text of docs/errors.md."""
    lines = [
        "# Error codes",
        "",
        "Every problem has a stable code. `distsim explain CODE` shows the same text.",
        "Exit codes: 0 done, 1 infeasible or a check failed, 2 bad input.",
    ]
    section = ""
    for code, info in sorted(CODES.items()):
        if code[:3] != section:
            section = code[:3]
            lines += ["", f"## {section}xx: {SECTIONS[section]}"]
        lines += ["", f"### {code}: {info.title}", "", info.explanation, "", f"**Fix:** {info.fix}"]
    return "\n".join(lines) + "\n"
