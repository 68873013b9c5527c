"""Predicted memory as a published run reads it."""

from __future__ import annotations

from distsim.prediction.case import Case
from distsim.prediction.predict import memory
from distsim.study.validate_rows import ValidationRow


def memory_of(row: ValidationRow, case: Case) -> float:
    """Return the bytes that the reading of a row corresponds to.

    ``allocated`` is the most that tensors take, without what the runtime takes beside them;
    ``reserved`` adds what the allocator holds beyond; ``device`` is all that a process holds. Of
    the fullest stage, or of the one that the row names. An allocator that finds the device full
    gives back what is free before it asks again, so it never holds more than there is.
    """
    needs = memory(case)
    stages = needs.stages if row.memory_stage is None else (needs.stages[row.memory_stage],)
    stage = max(stages, key=lambda s: s.peak_bytes)
    allocated = stage.peak_bytes - stage.buffers.reserved_bytes
    if row.memory_kind == "allocated":
        return allocated
    room = max(needs.capacity_bytes - stage.buffers.reserved_bytes, allocated)
    held = min(allocated + stage.reserve_bytes(needs.fragmentation), room)
    return held if row.memory_kind == "reserved" else held + stage.buffers.reserved_bytes
