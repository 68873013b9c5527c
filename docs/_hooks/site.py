"""What MkDocs asks while it builds the site: pages made from the code, and links in the others.

Pages of the reference are made from the commands and models themselves at every build, so that
they cannot say anything else. Plain mentions such as ``docs/accuracy.md``, which also serve readers
of the files, become links.
"""

from __future__ import annotations

import importlib.util
import logging
import posixpath
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.structure.files import File, Files

import distsim

HERE = Path(__file__).parent
DOCS, ROOT = HERE.parent, HERE.parents[1]
_LOG = logging.getLogger("mkdocs.hooks.distsim")  # a warning ends a strict build
_MENTION = re.compile(
    r"(?<![\w/.(\[`])(`?)docs/((?:[\w-]+/)*[\w-]+\.md|decisions/\d{4})\1(?![\w`])"
)
_FENCE = re.compile(r"^(```+)(.*)$")
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Give headings the anchors that they have where the files are shown as they are."""
    config["mdx_configs"]["toc"]["slugify"] = _slug
    return config


def _slug(title: str, separator: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", separator)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from code, and those that lie outside of the directory."""
    made = {
        "reference/cli.md": _beside("commands").page(),
        "reference/scenario.md": _beside("scenario_keys").page(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Take out remarks for the tests, name languages that highlighters know, link mentions."""
    lines: list[str] = []
    fence = ""
    for line in _named(_COMMENT.sub("", markdown)).split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
            line = re.sub(r"^(```+)(usage|text)\b", r"\1text", line)
        elif found and line.strip() == fence:
            fence = ""
        elif not fence:
            line = _MENTION.sub(lambda m: _link(m, page.file.src_uri), line)
        lines.append(line)
    return "\n".join(lines)


def _named(markdown: str) -> str:
    """Put in what the package offers, where a page asks for all its functions or classes."""
    offered = {name: getattr(distsim, name) for name in distsim.__all__ if name[0] != "_"}
    for word, kind in (("functions", False), ("classes", True)):
        directives = [
            f"::: {found.__module__}.{name}\n    options:\n"
            f"      heading: distsim.{name}\n      toc_label: {name}\n"
            for name, found in offered.items()
            if isinstance(found, type) is kind
        ]
        markdown = markdown.replace(f"{{{{ {word} }}}}", "\n".join(directives))
    return markdown


def _link(mention: re.Match[str], source: str) -> str:
    """Return a link from `source` to the page that is mentioned, by its title."""
    target = mention[2]
    if not target.endswith(".md"):
        target = next(DOCS.glob(f"{target}*.md")).relative_to(DOCS).as_posix()
    if not (DOCS / target).is_file():
        _LOG.warning("%s mentions docs/%s, which does not exist", source, target)
    if not (DOCS / target).is_file() or target == source:
        return mention[0]
    title = (DOCS / target).read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
    return f"[{title}]({posixpath.relpath(target, posixpath.dirname(source))})"


def _beside(name: str) -> ModuleType:
    """Return a module beside this one; the directory is no package."""
    spec = importlib.util.spec_from_file_location(f"distsim_site_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
