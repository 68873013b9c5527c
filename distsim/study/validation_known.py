"""Predictions of the published runs that ship, as long as nothing has changed since they were made.

``validation/predictions.json`` names the hash of all that a prediction depends on. Where it is that
of this installation, predicting hundreds of runs anew would give the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from distsim.files import read_text, shipped_directory
from distsim.study.validation_run import Predicted
from distsim.version import __version__

NAME = "predictions.json"
#: Key of the hash in the file, beside the names of sources.
OF = "made of"
#: Parts of the package that no prediction of a published run passes through.
_BESIDE = (
    *("cli/", "codes/", "report/", "measure/", "study/", "api.py"),
    *("data/accuracy/", "data/prices/", "data/scenarios/", "data/topologies/", "data/validation/"),
)
_ENDINGS = (".py", ".yaml")


@lru_cache(maxsize=1)
def made_of() -> str:
    """Return the hash of the source and data that predictions of published runs depend on."""
    package = Path(__file__).resolve().parents[1]
    found = hashlib.sha256(__version__.encode())
    files = [(package, p) for p in package.rglob("*") if p.suffix in _ENDINGS]
    files += [(package.parent, p) for p in Path(__file__).parent.glob("validat*.py")]
    for kind in ("topologies", "validation"):
        root = shipped_directory(kind)
        files += [(root, p) for p in root.rglob("*") if p.suffix in (".yaml", ".csv")]
    names = {}
    for root, path in files:
        name = path.relative_to(root).as_posix()
        if root != package or not name.startswith(_BESIDE):
            names[name] = path
    for name in sorted(names):
        found.update(name.encode() + b"\0" + hashlib.sha256(names[name].read_bytes()).digest())
    return found.hexdigest()


@lru_cache(maxsize=1)
def _content() -> Mapping[str, Any]:
    text = read_text(shipped_directory("validation") / NAME)
    content: Mapping[str, Any] = json.loads(text)
    return content


def stored() -> dict[str, dict[str, Predicted]]:
    """Return the shipped predictions by source and id."""
    return {
        source: {id_: Predicted(**{**v, "kinds": tuple(v["kinds"])}) for id_, v in cases.items()}
        for source, cases in _content().items()
        if source != OF
    }


def unchanged() -> bool:
    """Say whether the shipped predictions are those of this installation."""
    return bool(_content().get(OF) == made_of())


__all__ = ["NAME", "OF", "made_of", "stored", "unchanged"]
