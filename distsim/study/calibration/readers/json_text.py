"""Reading JSON of any size that `document` lets through, with the place of what is wrong."""

from __future__ import annotations

import json
from typing import Any

from distsim.errors import Place, SyntaxProblem
from distsim.study.calibration.readers.document import Document


def parsed(document: Document, what: str) -> Any:
    """Return the value of a JSON document; control characters in texts are let through.

    Parameters
    ----------
    what : str
        What it should be, for the error.

    Raises
    ------
    SyntaxProblem
        DS634, with line and column.
    """
    text = document.text
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        why = "ends before it is whole" if cut else f"is not JSON: {error.msg}"
        place = Place(document.file, error.lineno, error.colno)
        why = f"{why} (character {error.pos:,} of {len(text):,})"
    except RecursionError:
        why, place = "is nested too deep", Place(document.file)
    except ValueError as error:  # a number of thousands of digits
        why, place = f"is not JSON: {str(error)[:100]}", Place(document.file)
    raise SyntaxProblem(
        "DS634",
        f"the file {why}",
        rule=f"one JSON document (RFC 8259): {what}",
        fix="write or copy the file again; other files are read all the same",
        place=place,
    )
