"""Links that carry a scenario: in the fragment, which browsers send to nobody."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64encode

from distsim.files import find, read_text
from distsim.scenario.jobs import load_any
from distsim.serve.catalogue import scenario_names


def fragment(source: str) -> str:
    """Return the fragment of a link to a scenario: a shipped one by its name, any other whole.

    Parameters
    ----------
    source : str
        A path, or the name of a shipped scenario.

    Raises
    ------
    DistsimError
        As `distsim.load`.
    """
    load_any(source)
    if source in scenario_names():
        return f"#start={source}"
    return encoded({"a": {"scenario": read_text(find("scenarios", source)), "base": ""}})


def encoded(state: dict[str, object]) -> str:
    """Return the fragment that carries what a page shows: deflated JSON in base64.

    The same form is written and read by ``static/share.js``.
    """
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = json.dumps(state, separators=(",", ":"), ensure_ascii=False).encode()
    packed = raw.compress(text) + raw.flush()
    return "#s=" + urlsafe_b64encode(packed).decode().rstrip("=")
