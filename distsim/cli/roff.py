"""Help pages as man pages."""

from __future__ import annotations

from distsim.cli.page import Page


def page_roff(page: Page, version: str) -> str:
    """Return a page in the macros of man(7)."""
    title = page.name.replace(" ", "-")
    lines = [
        f'.TH "{title.upper()}" "1" "" "distsim {version}" "distsim"',
        *(".SH NAME", f"{_plain(title)} \\- {_plain(_lower(page.summary))}"),
        *(".SH SYNOPSIS", f"\\fB{_plain(page.name)}\\fR {_plain(page.usage)}"),
    ]
    if page.text:
        lines += [".SH DESCRIPTION"]
        for paragraph in page.text.split("\n\n"):
            lines += [".PP", _plain(" ".join(paragraph.split()))]
    for heading, rows in page.lists:
        if heading == "Exit codes" and page.examples:
            lines += [".SH EXAMPLES", ".nf", *map(_plain, page.examples), ".fi"]
        lines.append(f".SH {_plain(heading.upper())}")
        for term, text in rows:
            lines += [".TP", f"\\fB{_plain(term)}\\fR", _plain(text) or "\\&"]
    if page.see_also:
        names = ", ".join(f"\\fB{_plain(name.replace(' ', '-'))}\\fR(1)" for name in page.see_also)
        lines += [".SH SEE ALSO", names]
    return "\n".join(lines) + "\n"


def _lower(summary: str) -> str:
    first = summary[:1].lower() + summary[1:]
    return first.rstrip(".")


def _plain(text: str) -> str:
    """Return a text whose hyphens and dots mean themselves."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
