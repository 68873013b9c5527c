"""Help pages: what ``--help`` shows and what a man page is made of."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from distsim.cli.settings import COMMON

#: What click calls the option --help.
_HELP = "_click_default_help"

Rows = list[tuple[str, str]]

#: A blank at which no line breaks.
_WHOLE = "\0"
#: Most characters of a term that stands beside what it is.
_TERM = 24
#: What exit codes mean, where a command says nothing else.
EXITS = {
    0: "done",
    2: "bad input, or a file that cannot be written; the message says how to mend it",
    130: "interrupted",
}


@dataclass(frozen=True, slots=True)
class About:
    """What a page says of a command beside its docstring and its options.

    Attributes
    ----------
    arguments : mapping of str to str
        What each argument is, by its metavar.
    sections : mapping of str to sequence of str
        Options that belong together, by name of parameter, under a title; all others are
        "Options".
    exits : mapping of int to str
        Exit codes beside 0, 2 and 130.
    files : mapping of str to str
        Files and variables of the environment that count.
    see_also : sequence of str
        Commands without ``distsim``, and pages.
    """

    arguments: Mapping[str, str] | None = None
    sections: Mapping[str, Sequence[str]] | None = None
    exits: Mapping[int, str] | None = None
    files: Mapping[str, str] | None = None
    see_also: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A help page in its parts.

    Attributes
    ----------
    name : str
        ``distsim topology draw``.
    summary : str
        One line.
    usage : str
        What follows the name.
    text : str
        Description; paragraphs apart by an empty line.
    lists : sequence of (str, list of (str, str))
        Arguments, options, commands, exit codes: title, then terms and what they are.
    examples : sequence of str
        Lines for a shell.
    see_also : sequence of str
        Names of other pages.
    """

    name: str
    summary: str
    usage: str
    text: str
    lists: Sequence[tuple[str, Rows]]
    examples: Sequence[str]
    see_also: Sequence[str]


def page_of(
    command: click.Command,
    context: click.Context,
    about: About,
    commands: Sequence[tuple[str, Rows]],
) -> Page:
    """Return the page of a command.

    Parameters
    ----------
    commands : sequence of (str, rows)
        The commands of a group, by title.
    """
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\nExamples:\n")
    summary, _, rest = text.strip().partition("\n\n")
    named = context.command_path
    exits = sorted({**EXITS, **(about.exits or {})}.items())
    lists = [
        ("Arguments", list((about.arguments or {}).items())),
        *commands,
        *_options(command, context, about),
        ("Files and environment", list((about.files or {}).items())),
        ("Exit codes", [(str(code), meaning) for code, meaning in exits]),
    ]
    return Page(
        named,
        " ".join(summary.split()),
        " ".join(command.collect_usage_pieces(context)),
        rest.strip(),
        [(title, rows) for title, rows in lists if rows],
        [line.strip() for line in examples.splitlines() if line.strip()],
        [name if name.startswith("docs/") else f"distsim {name}" for name in about.see_also],
    )


def _options(
    command: click.Command, context: click.Context, about: About
) -> list[tuple[str, Rows]]:
    """Return the options by section: those of no section first, those of all commands last."""
    titles = {name: title for title, names in (about.sections or {}).items() for name in names}
    titles |= dict.fromkeys((*COMMON, "version", _HELP), "Common options")
    rows: dict[str, Rows] = {"Options": [], **{title: [] for title in about.sections or {}}}
    rows["Common options"] = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            name = _HELP if "--help" in parameter.opts else parameter.name or ""
            title = titles.get(name, "Options")
            rows[title].append(_option(parameter, context))
    return list(rows.items())


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    """Return the names of an option, and what it does, with its default."""
    record = option.get_help_record(context)
    extra = option.get_help_extra(context)
    default = f" [default: {extra['default']}]" if "default" in extra else ""
    required = " [required]" if option.required else ""
    return record[0] if record else "", f"{option.help or ''}{default}{required}"


def page_text(page: Page, width: int) -> str:
    """Return a page as text of a width; commands of examples stay whole."""
    lines = [f"Usage: {page.name} {page.usage}".rstrip(), "", *_filled(page.summary, width, 2)]
    for paragraph in page.text.split("\n\n") if page.text else []:
        lines += ["", *_filled(paragraph, width, 2)]
    for title, rows in page.lists:
        if title == "Exit codes" and page.examples:
            lines += ["", "Examples:", *(f"  {line}" for line in page.examples)]
        lines += ["", f"{title}:", *_listed(rows, width)]
    if page.see_also:
        names = ", ".join(name.replace(" ", _WHOLE) for name in page.see_also)
        lines += ["", "See also:", *_filled(names, width, 2)]
    return "\n".join(lines).replace(_WHOLE, " ")


def _listed(rows: Rows, width: int) -> list[str]:
    """Return terms with what they are beside them, or below those that are long."""
    column = min(max(len(term) for term, _ in rows), _TERM) + 4
    lines = []
    for term, text in rows:
        filled = _filled(text, width, column)
        if len(term) + 4 > column:
            lines += [f"  {term}", *filled]
        else:
            lines += [f"  {term}".ljust(column) + filled[0].strip() if filled else f"  {term}"]
            lines += filled[1:]
    return lines


def _filled(text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
