"""What each error code means: the tables behind ``distsim explain CODE`` and docs/errors.md.

One module a hundred, one entry a code, sorted. A code keeps its meaning for good: retire it, never
reuse it.
"""

from __future__ import annotations

from distsim.codes import files, hardware, infeasible, plans, studies, usage, values
from distsim.codes.info import CodeInfo

#: Headings of the hundreds.
SECTIONS = {
    "DS1": "Files and YAML",
    "DS2": "Keys, types, values and units",
    "DS3": "Parallel plans",
    "DS4": "Hardware and topology",
    "DS5": "Infeasible, or a check failed",
    "DS6": "Usage",
    "DS7": "Plans and changes that are searched",
}

CODES: dict[str, CodeInfo] = {
    **files.CODES,
    **values.CODES,
    **plans.CODES,
    **hardware.CODES,
    **infeasible.CODES,
    **usage.CODES,
    **studies.CODES,
}

__all__ = ["CODES", "SECTIONS", "CodeInfo"]
