"""Reading the XML of an NCCL topology: bounded, without entities, and every element with its line.

The elements and attributes are those that NCCL writes to ``NCCL_TOPO_DUMP_FILE`` and reads from
``NCCL_TOPO_FILE`` (src/graph/xml.cc, versions 1 and 2), and RCCL's ``xgmi``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from math import isfinite
from os import PathLike, fspath
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, InputSource

from defusedxml.common import DefusedXmlException
from defusedxml.sax import make_parser

from distsim.errors import FileError, HardwareError, Place, SyntaxProblem, show
from distsim.files import read_bytes

#: What each element may hold.
KNOWN: Mapping[str, frozenset[str]] = {
    tag: frozenset(attributes.split())
    for tag, attributes in {
        "system": "version",
        "cpu": "host_hash numaid affinity arch vendor familyid modelid",
        "pci": "busid class vendor device subsystem_vendor subsystem_device link_speed link_width",
        "gpu": "dev sm gcn arch rank gdr",
        "nvlink": "target count tclass",
        "xgmi": "target count tclass",
        "c2c": "bw count",
        "nic": "",
        "net": "name dev speed port guid gdr latency maxconn coll keep",
    }.items()
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(slots=True, eq=False)
class Element:
    """An element with its line in the file.

    Attributes
    ----------
    file : str
    line : int
    tag : str
    attributes : dict of str to str
        Without blanks around the values.
    children : list of Element
    """

    file: str
    line: int
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)

    def all(self, *tags: str) -> Iterator[Element]:
        """Return the children of some tags."""
        return (child for child in self.children if child.tag in tags)

    def text(self, key: str) -> str:
        """Return an attribute; empty where it is missing."""
        return self.attributes.get(key, "")

    def number(self, key: str, unit: str, high: float, low: float = 0.0) -> float | None:
        """Return an attribute that is a number in (low, high]; None where it is missing or empty.

        Raises
        ------
        HardwareError
            DS425 for what is no number, or out of that range.
        """
        text = self.text(key)
        return None if not text else self.within(key, text, unit, high, low)

    def within(self, key: str, number: str, unit: str, high: float, low: float = 0.0) -> float:
        """Return a number that is part of an attribute and lies in (low, high] (DS425)."""
        value = float(number) if _NUMBER.fullmatch(number) else float("nan")
        if not (isfinite(value) and low < value <= high):
            of = f" {unit}" if unit else ""
            raise self.error(
                "DS425",
                f"{key} of <{self.tag}> is {show(self.text(key))}",
                value=self.text(key),
                rule=f"a number: {low:g} < {key} <= {high:g}{of}",
                fix=f"write the {key}{of and f' in{of}'}, or leave it out for a default",
            )
        return value

    def error(
        self, code: str, message: str, *, value: object = None, rule: str, fix: str
    ) -> HardwareError:
        """Return an error at this element."""
        place = Place(self.file, self.line)
        return HardwareError(code, message, value=value, rule=rule, fix=fix, place=place)


def read_xml(path: str | PathLike[str]) -> Element:
    """Return the ``<system>`` of a file.

    Raises
    ------
    FileError
        DS101 to DS104, DS106.
    SyntaxProblem
        DS122 not XML, DS123 a document type or entities, DS124 another document.
    """
    raw = read_bytes(path)
    name = "".join(c if c.isprintable() else "?" for c in fspath(path))
    if not raw.strip():
        raise FileError(
            "DS106",
            "the file is empty",
            rule="the XML of an NCCL topology",
            fix="set NCCL_TOPO_DUMP_FILE and run a job",
            place=Place(name),
        )
    handler = _Handler(name)
    _parse(raw, handler, name)
    root = handler.root
    if root is None or root.tag != "system":
        raise SyntaxProblem(
            "DS124",
            f"the document is a <{show(root.tag if root else '')[1:-1]}>, not an NCCL topology",
            value=root.tag if root else None,
            rule="NCCL writes <system version=...> with <cpu>, <pci>, <gpu> and <net> in it",
            fix="give the file that NCCL_TOPO_DUMP_FILE named",
            place=Place(name, root.line if root else 1),
        )
    return root


def _parse(raw: bytes, handler: _Handler, name: str) -> None:
    parser = make_parser()
    parser.forbid_dtd = True
    parser.setContentHandler(handler)
    source = InputSource()
    source.setByteStream(BytesIO(raw))
    try:
        parser.parse(source)
    except DefusedXmlException:
        raise SyntaxProblem(
            "DS123",
            "the file has a document type",
            rule="no DOCTYPE and no entities: they make readers open files or fill memory",
            fix="remove the DOCTYPE; NCCL writes none",
            place=Place(name, handler.line),
        ) from None
    # An encoding that does not exist is a LookupError, or a ValueError, of the decoder.
    except (SAXException, ValueError, LookupError) as error:
        reason = error.getMessage() if isinstance(error, SAXException) else error
        raise SyntaxProblem(
            "DS122",
            f"not XML: {reason}",
            rule="one element with all that is in it, in the encoding that the file states",
            fix="look at this line and the one above; dump the topology again if it was cut off",
            place=Place(name, handler.line),
        ) from None


class _Handler(ContentHandler):
    """Builds elements; no recursion, so that any depth will do."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.root: Element | None = None
        self._file = file
        self._open: list[Element] = []

    @property
    def line(self) -> int:
        """Where the parser is."""
        locator = getattr(self, "_locator", None)
        return (locator.getLineNumber() or 0) if locator is not None else 0

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802
        """Note an element below the one that is open."""
        attributes = {key: value.strip() for key, value in attrs.items()}
        element = Element(self._file, self.line, name, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def endElement(self, name: str) -> None:  # noqa: N802
        """Close the element that is open."""
        self._open.pop()
