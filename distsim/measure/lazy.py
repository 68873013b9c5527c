"""PyTorch, imported when something is measured and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from distsim.errors import UsageError


def load_torch() -> Any:
    """Return the module ``torch``.

    Raises
    ------
    UsageError
        DS640 where it is not installed.
    """
    try:
        return import_module("torch")
    except ImportError as error:
        broken = getattr(error, "name", None) != "torch"
        what = f"cannot be imported ({error})" if broken else "is not installed"
        raise UsageError(
            "DS640",
            f"measuring needs PyTorch, which {what}",
            rule="PyTorch is an extra, so that distsim itself stays small",
            fix="pip install 'distsim-train[torch]'",
        ) from None
