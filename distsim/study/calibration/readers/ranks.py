"""Logs in which several ranks print the same step."""

from __future__ import annotations

import re

from distsim.study.calibration.readers.findings import Findings

#: ``[rank3]:`` (torchrun), ``3: `` (srun -l), ``[1,3]<stdout>:`` (mpirun).
_PREFIX = re.compile(
    r"\[rank\s?([0-9]{1,6})\]|([0-9]{1,6}):\s|\[[0-9]{1,6},([0-9]{1,6})\]", re.IGNORECASE
)
#: As DeepSpeed itself writes it.
_INSIDE = re.compile(r"\[Rank ([0-9]{1,6})\]")


def rank_of(line: str) -> str:
    """Return the rank that a line says it is of; nothing where it says none.

    >>> rank_of("[rank3]: x"), rank_of("12: x"), rank_of("[INFO] [Rank 0] x"), rank_of("step: 3: x")
    ('3', '12', '0', '')
    """
    match = _PREFIX.match(line)
    if match is None and "[Rank " in line:
        match = _INSIDE.search(line)
    return (match[match.lastindex] if match.lastindex else "") if match else ""


class OneRank:
    """Lets the steps of one rank through: the first that prints one."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._rank: str | None = None

    def counts(self, line: str) -> bool:
        """Say whether the step of a line counts."""
        rank = rank_of(line)
        if self._rank is None:
            self._rank = rank
        if rank == self._rank:
            return True
        self._findings.note(
            f"several ranks log each step: the times of "
            f"{f'rank {self._rank}' if self._rank else 'lines without a rank'} count"
        )
        return False
