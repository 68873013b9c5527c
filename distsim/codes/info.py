"""What is said of an error code."""

from __future__ import annotations

from typing import NamedTuple


class CodeInfo(NamedTuple):
    """What an error code means.

    Attributes
    ----------
    title : str
        The problem in a few words.
    explanation : str
        Why it is refused, in a few sentences.
    fix : str
        What to do about it.
    """

    title: str
    explanation: str
    fix: str
