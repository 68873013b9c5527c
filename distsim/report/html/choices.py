"""Plans that a reader chooses from in a chart or a list."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distsim.report.html.page import Section, section


@dataclass(slots=True)
class Choices:
    """Plans, each once: what is said of it and its scenario.

    Attributes
    ----------
    plans : list of dict
        ``title, facts, yaml, file``.
    """

    plans: list[dict[str, Any]] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def add(
        self, key: Hashable, title: str, facts: Sequence[tuple[str, str]], yaml: str, file: str
    ) -> int:
        """Return the number of a plan, new or known by its key."""
        if key not in self._numbers:
            self._numbers[key] = len(self.plans)
            found = [list(fact) for fact in facts]
            self.plans.append({"title": title, "facts": found, "yaml": yaml, "file": file})
        return self._numbers[key]

    def number(self, key: Hashable) -> int:
        """Return the number of a plan that is known by its key."""
        return self._numbers[key]

    def section(
        self,
        name: str,
        title: str,
        about: str,
        x: Mapping[str, Any],
        y: Mapping[str, Any],
        found: Sequence[Mapping[str, Any]],
        *,
        first: int,
        **more: Any,
    ) -> Section:
        """Return a section with a chart of plans and what is said of one.

        Parameters
        ----------
        found : sequence of dict
            Series, each with the numbers of its ``plans``.
        first : int
            Number of the plan that is shown first.
        """
        return section(
            "choices",
            name,
            title,
            about,
            x=x,
            y=y,
            series=list(found),
            plans=self.plans,
            first=first,
            **more,
        )
