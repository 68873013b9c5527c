"""Rules of the Trace Event Format, as viewers read it: a reader of its own, for tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

Event = Mapping[str, Any]
#: Keys of each phase beside ``name`` and ``pid``, with their types.
NUMBER = (int, float)
KEYS: dict[str, dict[str, Any]] = {
    "X": {"cat": str, "ts": NUMBER, "dur": NUMBER, "tid": int, "args": dict},
    "s": {"cat": str, "ts": NUMBER, "tid": int, "id": int},
    "f": {"cat": str, "ts": NUMBER, "tid": int, "id": int, "bp": str},
    "C": {"ts": NUMBER, "args": dict},
    "M": {"tid": int, "args": dict},
}
METADATA = {
    "process_name": "name",
    "process_sort_index": "sort_index",
    "thread_name": "name",
    "thread_sort_index": "sort_index",
}
#: A nanosecond in microseconds, which is what viewers resolve.
RESOLUTION = 1e-3


def check_form(events: Iterable[Event]) -> None:
    """Refuse events without a key of their phase, with others, or with values of another type."""
    for event in events:
        keys = KEYS[event["ph"]] | {"name": str, "pid": int, "ph": str}
        assert set(event) == set(keys), event
        assert all(isinstance(event[key], kind) for key, kind in keys.items()), event
        if event["ph"] == "M":
            assert set(event["args"]) == {METADATA[event["name"]]}
        if event["ph"] == "C":
            assert event["args"]
            assert all(isinstance(v, NUMBER) for v in event["args"].values())
        if "dur" in event:
            assert event["dur"] >= 0 and event["ts"] >= 0


def check_names(events: Iterable[Event]) -> None:
    """Refuse tracks without a name, and names of tracks before which something stands there."""
    threads: set[tuple[int, int]] = set()
    processes: set[int] = set()
    for event in events:
        if event["ph"] == "M":
            if event["name"] == "process_name":
                processes.add(event["pid"])
            elif event["name"] == "thread_name":
                threads.add((event["pid"], event["tid"]))
        elif event["ph"] == "X":
            assert (event["pid"], event["tid"]) in threads and event["pid"] in processes


def bound_flows(events: Iterable[Event]) -> dict[int, list[Event]]:
    """Bind both ends of each flow to a slice, as Perfetto's importer does.

    Events are sorted by time, stably; a slice is closed when something at or after its end comes on
    its track; an end of a flow belongs to the slice that is open then. Slices of a track nest.

    Returns
    -------
    dict
        Flow -> the slice that it leaves and the one where it arrives.
    """
    open_slices: dict[tuple[int, int], list[Event]] = defaultdict(list)
    out: dict[int, list[Event]] = defaultdict(list)
    timed = [e for e in events if e["ph"] in "Xsf"]
    for event in sorted(timed, key=lambda e: e["ts"]):
        stack = open_slices[event["pid"], event["tid"]]
        while stack and stack[-1]["ts"] + stack[-1]["dur"] <= event["ts"] + RESOLUTION / 10:
            stack.pop()
        if event["ph"] == "X":
            for outer in stack:
                end = outer["ts"] + outer["dur"]
                assert event["ts"] + event["dur"] <= end + RESOLUTION, (outer, event)
            stack.append(event)
            continue
        assert stack, f"no slice around {event}"
        assert (event["ph"] == "f") == (len(out[event["id"]]) == 1), event
        out[event["id"]].append(stack[-1])
    assert all(len(ends) == 2 for ends in out.values())
    return out
