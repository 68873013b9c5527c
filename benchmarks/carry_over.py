"""Carry numbers over to topology files that take them from other ones.

The source of a link class may say `efficiency and latency: as pcie and rail of NAME together`, `as
spine of NAME` or `as NAME`, which is the class of its own name; or that its efficiency is `as the
rails` or `as the leaves` of its own file. After a fit has changed some numbers, this prints what
has to follow, and writes it:

    python benchmarks/carry_over.py [--write]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distsim.files import load_yaml, shipped
from distsim.hardware.catalogue import topology_names
from distsim.units import parse

TAKEN = re.compile(
    r"(?:^|[:;,] )(?:(?P<what>efficiency|latency|efficiency and latency): )?"
    r"as (?:(?P<parts>\w+(?: and \w+)?) of )?(?P<name>[a-z0-9]+(?:-[a-z0-9]+)+)"
)
#: Words for another class of the same file.
OWN = re.compile(r"\bas the (rails|leaves)\b")
CLASS = {"rails": "rail", "leaves": "leaf"}


class Taken(NamedTuple):
    """A number that a link class takes from another file."""

    topology: str
    link_class: str
    key: str
    own: object
    theirs: object

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        if self.key == "efficiency":
            return self.own != self.theirs
        return abs(parse(self.own, "s") - parse(self.theirs, "s")) > 1e-12


def classes(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return the link classes of a topology by name, those inside its nodes first."""
    if "node" in data:
        yield from classes(data["node"])
    links = data.get("link_classes", data.get("links", {}))
    if isinstance(links, Mapping):
        yield from links.items()


def taken() -> Iterator[Taken]:
    """Return all numbers that are taken over.

    Along several links the last one, the narrowest, gives the efficiency; latencies add.
    """
    every = {name: load_yaml(shipped("topologies", name))[0] for name in topology_names()}
    for name, data in every.items():
        for link_class, entry in classes(data):
            for match in OWN.finditer(entry["source"]):
                number = data["links"][CLASS[match[1]]]["efficiency"]
                yield Taken(name, link_class, "efficiency", entry["efficiency"], number)
            for match in TAKEN.finditer(entry["source"]):
                if match["name"] not in every:
                    continue
                theirs = dict(classes(every[match["name"]]))
                parts = (match["parts"] or link_class).split(" and ")
                what = match["what"] or "efficiency and latency"
                if "efficiency" in what:
                    number = theirs[parts[-1]]["efficiency"]
                    yield Taken(name, link_class, "efficiency", entry["efficiency"], number)
                if "latency" in what:
                    total_s = sum(parse(theirs[part]["latency"], "s") for part in parts)
                    text = f"{total_s * 1e6:.6g} us" if total_s else "0 s"
                    yield Taken(name, link_class, "latency", entry["latency"], text)


def write(number: Taken) -> None:
    """Rewrite the number where it stands: after its class, at the first line of its key."""
    file = Path(shipped("topologies", number.topology))
    head, mark, rest = file.read_text(encoding="utf-8").partition(f"{number.link_class}:\n")
    line = re.compile(rf"^( +{number.key}: ).*$", flags=re.M)
    file.write_text(head + mark + line.sub(rf"\g<1>{number.theirs}", rest, count=1), "utf-8")


def main() -> int:
    """Print what differs, and write it if asked to; 1 where something differs and stays."""
    wrong = [number for number in taken() if number.differs]
    for number in wrong:
        print(
            f"{number.topology} {number.link_class}.{number.key}: {number.own} -> {number.theirs}"
        )
        if "--write" in sys.argv[1:]:
            write(number)
    return 1 if wrong and "--write" not in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
