"""What is asked for: which device, which kinds, which number formats, how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distsim.errors import UsageError, nearest, show
from distsim.measure.cases import ELEMENT_BYTES, KINDS
from distsim.units import fmt_s

#: Seconds of measuring by device and whether it is quick. What comes before it (importing PyTorch,
#: starting the device) is not counted.
BUDGETS_S = {("cpu", False): 45.0, ("cpu", True): 5.0, ("cuda", False): 300.0, ("cuda", True): 30.0}
#: Number formats that are measured where nobody says: those that training on the device uses.
DEFAULT_DTYPES = {"cpu": ("fp32",), "cuda": ("bf16", "fp8")}


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    Attributes
    ----------
    device : str
        ``cuda``, ``cuda:N`` or ``cpu``; empty for a GPU if there is one.
    kinds : tuple of str
    dtypes : tuple of str
        Empty for those of `DEFAULT_DTYPES`.
    quick : bool
    budget_s : float or None
        None for that of `BUDGETS_S`.
    """

    device: str = ""
    kinds: tuple[str, ...] = KINDS
    dtypes: tuple[str, ...] = ()
    quick: bool = False
    budget_s: float | None = None

    def limit_s(self, device_kind: str) -> float:
        """Return the seconds that measuring may take on a kind of device."""
        return BUDGETS_S[device_kind, self.quick] if self.budget_s is None else self.budget_s


def read_request(
    device: str | None,
    kinds: str | None,
    dtypes: str | None,
    *,
    quick: bool = False,
    budget_s: float | None = None,
) -> Request:
    """Return a request from lists with commas between.

    Raises
    ------
    UsageError
        DS642 for a device, DS643 for a kind or a number format that does not exist, DS644 for a
        budget that is no time.
    """
    kind = (device or "").partition(":")[0]
    if device is not None and device != "cpu" and not (kind == "cuda" and _is_index(device)):
        raise UsageError(
            "DS642",
            f"there is no device {show(device)}",
            value=device,
            rule="cuda, cuda:N or cpu",
            fix="name one of them, or leave --device out for a GPU if there is one",
        )
    if budget_s is not None and not 0 < budget_s < float("inf"):
        raise UsageError(
            "DS644",
            f"{show(budget_s)} is no time to measure in",
            value=budget_s,
            rule=f"more than 0 seconds; by default {fmt_s(BUDGETS_S['cpu', False])} on a processor "
            f"and {fmt_s(BUDGETS_S['cuda', False])} on a GPU",
            fix="write for example --budget 120",
        )
    return Request(
        device or "",
        _words(kinds, KINDS, "--kinds") or KINDS,
        _words(dtypes, tuple(ELEMENT_BYTES), "--dtypes"),
        quick,
        budget_s,
    )


def _is_index(device: str) -> bool:
    _, colon, index = device.partition(":")
    return not colon or (index.isascii() and index.isdecimal() and len(index) < 5)


def _words(text: str | None, known: Sequence[str], option: str) -> tuple[str, ...]:
    """Return the words of a list, each once; none where there is no text."""
    if text is None:
        return ()
    words = [word.strip().lower() for word in text.split(",")]
    for word in words:
        if word not in known:
            near = nearest(word, known)
            raise UsageError(
                "DS643",
                f"{option} does not know {show(word)}",
                value=word,
                rule=f"one or more of {', '.join(known)}, with commas between",
                fix=f"did you mean {near}?" if near else "choose from those",
            )
    return tuple(dict.fromkeys(words))
