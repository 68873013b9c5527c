"""One HTML file: what it shows as JSON, and the scripts and styles that show it, all inside.

The browser may load nothing: the content security policy allows the script and the style of the
file, by their hashes, and nothing else. Values reach the page as JSON and are written as text, so
that no name of a scenario can become markup.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from distsim.version import __version__

#: Scripts in the order in which they stand in the page; later ones use earlier ones.
SCRIPTS = (
    "format.js",
    "dom.js",
    "theme.js",
    "chart.js",
    "table.js",
    "bars.js",
    "timeline_data.js",
    "timeline_draw.js",
    "timeline.js",
    "memory.js",
    "topology.js",
    "choices.js",
    "code.js",
    "page.js",
    "main.js",
)
#: Names of the scripts that a page of another kind mounts views with.
EXPORTS = (
    *("codeActions", "drawSection", "factsOf", "forget", "format", "make", "numbersOf", "theme"),
    "views",
)
STYLES = ("style.css", "views.css", "print.css")
#: Letters that end a script element, open a comment, or end a line of a script where they stand in
#: a string.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

Section = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A number that matters.

    Attributes
    ----------
    label, value : str
    note : str
        What it is measured by, in small print.
    tone : str
        ``good``, ``bad`` or nothing.
    """

    label: str
    value: str
    note: str = ""
    tone: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return plain values."""
        return {"label": self.label, "value": self.value, "note": self.note, "tone": self.tone}


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows.

    Attributes
    ----------
    title : str
    kind : str
        The command that it is of.
    numbers : sequence of Number
    facts : sequence of (str, str)
    sections : sequence of dict
        Each with the ``view`` that draws it, ``id``, ``title`` and ``about``.
    warnings : sequence of str
    """

    title: str
    kind: str
    numbers: Sequence[Number]
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = ()
    warnings: Sequence[str] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "title": self.title,
            "kind": self.kind,
            "version": __version__,
            "numbers": [number.to_dict() for number in self.numbers],
            "facts": [list(pair) for pair in self.facts],
            "warnings": list(self.warnings),
            "sections": list(self.sections),
        }


def section(view: str, name: str, title: str, about: str = "", **content: Any) -> Section:
    """Return a section.

    Parameters
    ----------
    view : str
        Script that draws it.
    name : str
        Its anchor, unique on the page.
    about : str
        How to read it, in a sentence or two.
    """
    return {"view": view, "id": name, "title": title, "about": about, **content}


def html(page: Page) -> Iterator[str]:
    """Yield the file of a page in pieces.

    Raises
    ------
    ValueError
        For a number that is not finite.
    """
    script, style = _joined("js", SCRIPTS), _joined("css", STYLES)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    yield (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta name="generator" content="distsim {__version__}">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(page.title)} - distsim {escape(page.kind)}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n"
        '<div id="app"></div>\n'
        "<noscript><p>This report is drawn by its own script, which is switched off.</p>"
        "</noscript>\n"
    )
    yield f'<script type="application/json" id="data">{json_text(page.to_dict())}</script>\n'
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def script_module() -> str:
    """Return the views as one ECMAScript module, for pages that are not a file (`EXPORTS`)."""
    text = _texts(SCRIPTS[:-1], "\n\n")
    return f"{text}\n\nexport {{ {', '.join(EXPORTS)} }};\n"


def style_sheet() -> str:
    """Return the styles of the views."""
    return _joined("css", STYLES)


def json_text(values: Any) -> str:
    """Return JSON that may stand inside a script element.

    Raises
    ------
    ValueError
        For a number that is not finite.
    """
    text = json.dumps(values, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # A half of a pair of surrogates has no UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.translate(_ESCAPES)


def _hash(text: str) -> str:
    """Return the hash of an inline script or style as a content security policy writes it."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@lru_cache(maxsize=2)
def _joined(ending: str, names: tuple[str, ...]) -> str:
    """Return the content of an element: all files of a kind, one after another."""
    if ending == "js":
        return '"use strict";\n(() => {\n' + _texts(names, "\n\n") + "\n})();"
    return _texts(names, "\n")


def _texts(names: Sequence[str], between: str) -> str:
    static = files("distsim.report.html") / "static"
    return between.join((static / name).read_text("utf-8").strip() for name in names)
