"""Results as JSON: SI units, keys in the order of the result, no NaN."""

from __future__ import annotations

import json
from typing import Any


def dumps(result: Any) -> str:
    """Return a result as indented JSON with a line end.

    Floats are written so that they read back to the same value. Text is ASCII, so that any
    terminal and any locale can carry it.

    Raises
    ------
    ValueError
        For a number that is not finite; JSON has none.
    """
    return json.dumps(result, indent=2, allow_nan=False) + "\n"
