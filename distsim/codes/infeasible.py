"""DS5xx: infeasible, or a check failed."""

from __future__ import annotations

from distsim.codes.info import CodeInfo

CODES: dict[str, CodeInfo] = {
    "DS501": CodeInfo(
        "does not fit into memory",
        "The fullest pipeline stage needs more memory than a device has. The step is predicted all "
        "the same; the report says what is over by how much and what each change would free.",
        "Shard more (zero_stage, tp, pp), keep less (recompute, micro_size), or use devices with "
        "more memory.",
    ),
    "DS520": CodeInfo(
        "tasks wait for each other in a circle",
        "The program of the step has a cycle, so no task of it can begin. Scenarios cannot cause "
        "this; a hand-made graph can.",
        "Remove one dependency of the circle; if a scenario led here, report it.",
    ),
}
