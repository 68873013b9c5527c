"""The trace of a prediction: spans, waits, arrows, memory and links of a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from distsim.prediction.arrows import arrows
from distsim.prediction.link_levels import link_levels
from distsim.prediction.predict import Prediction
from distsim.prediction.waits import waits
from distsim.report.trace import SpanLike, chunks
from distsim.version import __version__


def prediction_chunks(
    prediction: Prediction,
    *,
    measured: Iterable[SpanLike] = (),
    about: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Yield the trace file of a prediction in pieces; see `distsim.report.trace.chunks`.

    Parameters
    ----------
    measured : iterable of SpanLike
        What ran in fact, to be shown beside it.
    about : mapping, optional
        More about the trace.
    """
    timeline = prediction.timeline
    program, run = timeline.program, timeline.run
    facts = {
        "distsim": __version__,
        "scenario": prediction.scenario,
        "evaluator": prediction.evaluator,
        "step_s": prediction.step_s,
        **(about or {}),
    }
    return chunks(
        chain(timeline.spans(), waits(program, run)),
        facts,
        prediction.memory_timeline.by_stage(),
        arrows=arrows(program, run),
        links=link_levels(program, run),
        measured=measured,
    )
