"""What an importer tells about a file beside its result: what is missing, and what was taken."""

from __future__ import annotations

#: Subjects that a note names; the others are counted.
_NAMED = 4
#: Notes that are kept; the others are counted.
_MOST = 40
_LONGEST = 60


class Notes:
    """Notes, each once, with all that it is about."""

    def __init__(self) -> None:
        self._subjects: dict[str, dict[str, None]] = {}
        self._more = 0

    def add(self, note: str, subject: str = "") -> None:
        """Note something about a subject."""
        if note not in self._subjects and len(self._subjects) == _MOST:
            self._more += 1
            return
        subjects = self._subjects.setdefault(note, {})
        if subject:
            subjects[subject[:_LONGEST]] = None

    def sentences(self) -> tuple[str, ...]:
        """Return the notes with their subjects, in the order in which they were first made."""
        more = (f"{self._more} more of this kind",) if self._more else ()
        return (*(_sentence(*pair) for pair in self._subjects.items()), *more)


def _sentence(note: str, subjects: dict[str, None]) -> str:
    named = list(subjects)[:_NAMED]
    left = len(subjects) - len(named)
    if not named:
        return note
    return f"{note} ({', '.join(named)}{f' and {left} more' if left else ''})"
