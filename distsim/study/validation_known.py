"""Predictions of the published runs that ship, as long as nothing has changed since they were made.

``validation/predictions.json`` names the hash of all that a prediction depends on. Where it is that
of this installation, predicting hundreds of runs anew would give the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from distsim.files import read_text, shipped_directory
from distsim.study.digest import digest_of_source
from distsim.study.validation_run import Predicted

NAME = "predictions.json"
#: Key of the hash in the file, beside the names of sources.
OF = "made of"
#: Parts of the package that no prediction of a published run passes through.
_BESIDE = (
    *("cli/", "codes/", "report/", "measure/", "study/", "api/", "serve/"),
    *("data/accuracy/", "data/prices/", "data/scenarios/"),
)


@lru_cache(maxsize=1)
def made_of() -> str:
    """Return the hash of the source and data that predictions of published runs depend on."""
    return digest_of_source(("topologies", "validation"), without=_beside)


def _beside(name: str) -> bool:
    if name.startswith("study/validat"):
        return False
    return name.startswith(_BESIDE) or name == f"validation/{NAME}"


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
