"""Writes what commands print now into the pages: ``python -m tests.docs.refresh [PAGE...]``.

Read the difference before you commit it. Output that still agrees stays as it is, elisions
included. In output that does not, what was left out is left out again where it is clear what that
is; where it is not, this is said.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.blocks import PAGES, ROOT
from tests.docs.compare import elided
from tests.docs.reader import Reader


def refresh(page: Path, scratch: Path) -> int:
    """Bring a page up to date and return how many outputs changed.

    Parameters
    ----------
    scratch : Path
        Where it may make directories. It stays until all is done, for processes that evaluate
        sweeps stay, too, where they began.
    """
    directory = Path(tempfile.mkdtemp(dir=scratch)) / "page"
    directory.mkdir()
    found = Reader(page, directory).run()
    lines = page.read_text(encoding="utf-8").splitlines()
    for difference in sorted(found, key=lambda d: d.lines, reverse=True):
        begin, end = difference.lines
        gap = [""] if difference.shown and not difference.shown[-1].strip() else []
        kept = elided(difference.shown, difference.printed)
        lines[begin:end] = [*(kept or difference.printed), *gap]
        if kept is None and any("..." in line for line in difference.shown):
            print(f"{difference.where}: had '...'; leave out again what nobody needs")
        else:
            print(f"{difference.where}: new output")
    if found:
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(found)


def main(names: list[str]) -> int:
    """Refresh the pages named, or all."""
    pages = [Path(name).resolve() for name in names] or list(PAGES)
    with tempfile.TemporaryDirectory() as scratch:
        for page in pages:
            number = refresh(page, Path(scratch))
            if number:
                print(f"{page.relative_to(ROOT)}: {number} outputs written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
