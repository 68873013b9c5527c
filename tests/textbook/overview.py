"""The list of examples in ``docs/textbook.md``, made from the pages.

``python -m tests.textbook.overview`` writes it anew, between the two marks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.textbook.book import PAGES, ROOT, SCENARIOS, VERDICTS

OVERVIEW = ROOT / "docs" / "textbook.md"
BEGIN, END = "<!-- examples: begin -->\n", "<!-- examples: end -->\n"
#: In the order of the book.
ORDER = (*(f"chapter-{number:02}" for number in range(1, 12)), "chapter-11-scaling", "notes")


@dataclass(frozen=True)
class Section:
    """An example, section or exercise of a page: title, scenarios and verdicts of its rows."""

    page: str
    title: str
    scenarios: tuple[str, ...]
    verdicts: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Where the page has it: as renderers of Markdown make anchors from titles."""
        kept = re.sub(r"[^\w\- ]", "", self.title.lower())
        return f"textbook/{self.page}.md#{kept.replace(' ', '-')}"


def names() -> list[str]:
    """Return the scenarios of the textbook, without ``.yaml``."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def sections(page: str) -> list[Section]:
    """Return the sections of a page.

    Scenarios that the introduction of a page gives count for sections which name none.
    """
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    introduction, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    found = []
    for part in parts:
        title, _, body = part.partition("\n")
        rows = [
            [cell.strip() for cell in line.strip("| ").split(" | ")]
            for line in body.splitlines()
            if line.startswith("| ") and not line.startswith("| quantity")
        ]
        verdicts = tuple(re.split(r"[:,]", row[3])[0].strip() for row in rows if len(row) == 4)
        scenarios = _mentioned(body) or _mentioned(introduction)
        found.append(Section(page, title.strip(), scenarios, verdicts))
    return found


def _mentioned(text: str) -> tuple[str, ...]:
    found = re.findall(r"(?<![\w-])(?:\d\d-[a-z0-9]+(?:-[a-z0-9]+)*)(?![\w-])", text)
    known = set(names())
    return tuple(dict.fromkeys(name for name in found if name in known))


def examples() -> str:
    """Return the list, a table for each page."""
    lines: list[str] = []
    for page in ORDER:
        title = (PAGES / f"{page}.md").read_text(encoding="utf-8").partition("\n")[0].strip("# ")
        lines += [f"### [{title}](textbook/{page}.md)", ""]
        lines += [f"| example | scenario | {' | '.join(VERDICTS)} |", "|---|---|--:|--:|--:|--:|"]
        for section in sections(page):
            counts = " | ".join(str(section.verdicts.count(v) or "") for v in VERDICTS)
            scenarios = ", ".join(f"`{name}`" for name in section.scenarios)
            lines.append(
                f"| [{section.title}]({section.anchor}) | {scenarios} | {counts} |".replace(
                    "|  |", "| |"
                ).replace("|  |", "| |")
            )
        lines.append("")
    return "\n".join(lines)


def totals() -> dict[str, int]:
    """Return how many sections, rows, and rows of each verdict there are."""
    every = [section for page in ORDER for section in sections(page)]
    rows = [verdict for section in every for verdict in section.verdicts]
    return {"sections": len(every), "rows": len(rows)} | {v: rows.count(v) for v in VERDICTS}


def main() -> None:
    """Write the list into ``docs/textbook.md``."""
    before, _, rest = OVERVIEW.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    OVERVIEW.write_text(f"{before}{BEGIN}{examples()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
    print(totals())
