"""Training logs of torchtitan: tokens a second and device of each logged step.

``step: 10  loss: 8.1  ...  tps: 5,762  tflops: 333.7  mfu: 33.75%``
(torchtitan/components/metrics.py; ``wps`` before 2025). `tps` counts the tokens of a device's share
of the global batch, so a step takes global_size * sequence_length / (devices * tps).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from math import prod
from typing import Any

from distsim.errors import DistsimError, Place, ValueProblem
from distsim.scenario.plain import merge
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers.document import Document
from distsim.study.calibration.readers.findings import Findings
from distsim.study.calibration.readers.numbers import NUMBER, number, why_no_time
from distsim.study.calibration.readers.ranks import OneRank
from distsim.study.calibration.readers.series import Failures, Logged, summary
from distsim.study.calibration.readers.steps import step_times
from distsim.workload.zoo import network, network_from_block

KIND = "torchtitan"

_STEP = re.compile(r"\bstep:\s*([0-9]{1,9})\b", re.ASCII)
_RATE = re.compile(rf"\b[tw]ps:\s*(?P<rate>{NUMBER}(?![\w.,])|\S*)(?P<end>.?)")
#: Characters between the two.
_BETWEEN = 400
#: Rates that are looked at before a text is none of torchtitan.
_MOST_LOOKS = 10_000
#: What the trainer says once about the batch (torchtitan/train.py).
_TRAINER = re.compile(
    r"local batch size ([0-9]{1,9}), global batch size ([0-9]{1,9}),.{0,80}?"
    r"sequence length ([0-9]{1,9})\b"
)
#: How it divides ranks: ``with ['dp_shard', 'tp'], [8, 4]``, later ``parallelism: pp=1, tp=4``.
_MESH = re.compile(r"device mesh with \[([^\]]{1,200})\], \[([0-9, ]{1,100})\]")
_DEGREES = re.compile(r"device mesh with parallelism: (.{1,300})")
_DEGREE = re.compile(r"\b(pp|dp_replicate|dp_shard|cp|tp)=([0-9]{1,7})\b")
_AXES = {"tp": "tp", "pp": "pp", "cp": "cp", "dp_replicate": "dp_replicas"}


def sniff(text: str) -> bool:
    """Say whether a text is such a log."""
    if "tps:" not in text and "wps:" not in text:
        return False
    rates = islice(re.finditer(r"\b[tw]ps:\s", text), _MOST_LOOKS)
    return any(_step(text, rate.start()) is not None for rate in rates)


def _step(text: str, end: int) -> re.Match[str] | None:
    """Return the step that is named before a rate, on its line."""
    start = max(end - _BETWEEN, text.rfind("\n", 0, end) + 1, 0)
    at = text.find("step:", start, end)
    return _STEP.match(text, at) if at >= 0 else None


def read(document: Document) -> Readings:
    """Return the step time of a log.

    Raises
    ------
    ValueProblem
        DS632; DS633 where the scenario does not give the tokens of a step.
    """
    findings = Findings(document, KIND)
    log = _Log(document, findings)
    log.read()
    said = merge(log.facts, document.base.data)
    tokens = _tokens_per_device(said, document)
    parts: list[list[Logged]] = []
    for run in log.runs:
        part = []
        for line, text in run:
            rate = number(text)
            time_s = tokens / rate if rate else rate
            wrong = why_no_time(text, time_s)
            if wrong or time_s is None:
                findings.reject(line, wrong or "no rate")
            else:
                part.append(Logged(line, time_s))
        parts.append(part)
    return step_times(findings, [(log.facts, summary(parts))])


class _Log:
    """The steps of a log as they are printed, by run, and what it says of the batch."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self.facts: dict[str, Any] = {}
        self.runs: list[list[tuple[int, str]]] = [[]]
        self._document, self._findings = document, findings
        self._ranks = OneRank(findings)

    def read(self) -> None:
        """Go through the lines."""
        failures = Failures(self._findings)
        last = self._document.text.count("\n") + 1 if self._document.is_cut else 0
        before = 0
        for at, line in self._document.lines():
            near = line.find("ps:")
            match = _RATE.search(line, max(0, near - 1)) if near >= 0 else None
            step = _step(line, match.start()) if match is not None else None
            if match is None or step is None:
                self._facts(line)
                if failures.see(line, at, len(self.runs[-1])):
                    self.runs.append([])
                    before = 0
                continue
            failures.step()
            if not self._ranks.counts(line):
                continue
            if at == last and not match["end"]:
                self._findings.reject(at, "the last line is cut off")
                continue
            if int(step[1]) <= before and self.runs[-1]:
                self._findings.note("steps go back here: the run was started again", at)
                self.runs.append([])
            before = int(step[1])
            self.runs[-1].append((at, match["rate"]))

    def _facts(self, line: str) -> None:
        trainer = _TRAINER.search(line) if "batch size" in line else None
        if trainer:
            micro, whole, length = map(int, trainer.groups())
            # With a pipeline the local batch is cut into micro batches of a size not printed here.
            known = {} if self.facts.get("plan", {}).get("pp", 1) > 1 else {"micro_size": micro}
            self.facts["batch"] = {**known, "global_size": whole, "sequence_length": length}
        mesh = _MESH.search(line) if "device mesh" in line else None
        if mesh:
            sizes = [int(size) for size in mesh[2].split(",") if size.strip()]
            names_ = [name.strip(" '\"") for name in mesh[1].split(",")]
            self._divided(dict(zip(names_, sizes, strict=False)))
        degrees = _DEGREES.search(line) if "device mesh" in line else None
        if degrees:
            self._divided({name: int(size) for name, size in _DEGREE.findall(degrees[1])})

    def _divided(self, mesh: Mapping[str, int]) -> None:
        """Take a mesh; parameters are sharded over ``dp_shard`` (ZeRO-3)."""
        plan = {_AXES[name]: size for name, size in mesh.items() if name in _AXES}
        if mesh.get("dp_shard", 1) > 1:
            plan["zero_stage"] = 3
        else:
            plan.pop("dp_replicas", None)
        self.facts["plan"] = plan
        self.facts["cluster"] = {"devices": prod(mesh.values())}


def _tokens_per_device(said: Mapping[str, Any], document: Document) -> float:
    """Return the tokens of a step for each device.

    Raises
    ------
    ValueProblem
        DS633.
    """
    batch, cluster = said.get("batch"), said.get("cluster")
    known = {
        "batch.global_size": _count(batch, "global_size"),
        "batch.sequence_length": _count(batch, "sequence_length") or _longest(said.get("model")),
        "cluster.devices": _count(cluster, "devices"),
    }
    missing = [name for name, value in known.items() if not value]
    if missing:
        raise ValueProblem(
            "DS633",
            f"nothing says {', '.join(missing)}",
            rule="tokens a second and device make a time where the tokens of a step are known",
            fix=f"write {document.stem}.yaml beside the file, or give --scenario FILE",
            place=Place(document.file),
        )
    sequences, length, devices = known.values()
    return sequences * length / devices


def _count(block: object, key: str) -> int:
    value = block.get(key) if isinstance(block, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _longest(model: object) -> int:
    """Return the tokens of a sequence where only the model is known."""
    try:
        if isinstance(model, str) and not model.endswith(".json"):
            return network(model).default_length
        return network_from_block(model).default_length if isinstance(model, Mapping) else 0
    except DistsimError:
        return 0
