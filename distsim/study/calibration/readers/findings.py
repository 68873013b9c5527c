"""What a reader collects beside its measurements: lines left out, and notes."""

from __future__ import annotations

from collections.abc import Iterable

from distsim.errors import Place, ValueProblem
from distsim.study.calibration.measurements import (
    CollectiveTime,
    KernelTime,
    Readings,
    Rejected,
    Source,
    StepTime,
)
from distsim.study.calibration.readers.document import Document

#: Lines of one file that are named one by one; the others are counted.
MOST_REJECTED = 1000
#: Notes of one file.
MOST_NOTES = 100


class Findings:
    """Lines that are left out of one file, and notes about it.

    Parameters
    ----------
    document : Document
    kind : str
        Name of the format.
    """

    def __init__(self, document: Document, kind: str) -> None:
        self.document, self.kind = document, kind
        self._rejected: list[Rejected] = []
        self._notes: dict[str, None] = dict.fromkeys(document.notes)
        self._more_rejected = self._more_notes = 0

    @property
    def file(self) -> str:
        """Name of the file for messages."""
        return self.document.file

    def source(self, line: int | None) -> Source:
        """Return where something stands."""
        return Source(self.file, line, self.kind)

    def reject(self, line: int | None, reason: str) -> None:
        """Leave a line out."""
        if len(self._rejected) < MOST_REJECTED:
            self._rejected.append(Rejected(self.source(line), reason))
        else:
            self._more_rejected += 1

    def note(self, text: str, line: int | None = None) -> None:
        """Note something, once."""
        note = f"{Place(self.file, line or 0)}: {text}"
        if len(self._notes) < MOST_NOTES or note in self._notes:
            self._notes[note] = None
        else:
            self._more_notes += 1

    def readings(
        self,
        step_times: Iterable[StepTime] = (),
        kernels: Iterable[KernelTime] = (),
        collectives: Iterable[CollectiveTime] = (),
    ) -> Readings:
        """Return everything.

        Raises
        ------
        ValueProblem
            DS632 where there is not one measurement.
        """
        if self._more_rejected:
            self.note(f"{self._more_rejected} more lines are left out, for reasons as those before")
        if self._more_notes:
            self._notes[f"{self.file}: {self._more_notes} more notes"] = None
        found = Readings(
            tuple(step_times),
            tuple(kernels),
            tuple(collectives),
            tuple(sorted(self._rejected, key=lambda rejected: rejected.source.line or 0)),
            tuple(self._notes),
        )
        if not found.count:
            raise self._nothing()
        return found

    def _nothing(self) -> ValueProblem:
        left = len(self._rejected) + self._more_rejected
        first = self._rejected[0] if self._rejected else None
        said = [note.removeprefix(f"{self.file}: ") for note in self._notes]
        why = f"; {'; '.join(said[:2])}" if said else ""
        if first:
            why = f"; {left} left out, the first: {first.reason}"
        return ValueProblem(
            "DS632",
            f"the file ({self.kind}) holds no measurement that can be used{why}",
            rule="at least one time",
            fix="mend the line, or leave the file out",
            place=Place(self.file, (first.source.line or 0) if first else 0),
        )
