"""What a request may ask for, and what it may cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server.

    Attributes
    ----------
    body_bytes : int
        Of a request. Shipped scenarios have up to 4 kB; a page shares a link of two.
    yaml_nodes : int
        Values of a scenario, aliases expanded; half of them are enough for a plan that names the
        layers of ten thousand stages.
    changes : int
        Changes (``set``) and varied keys of one request.
    devices : int
        Of one scenario; a drawing of more takes longer than the prediction.
    passes : int
        Passes of micro batches through model chunks of one replica: what the evaluators walk.
        DeepSeek-V3 on 2,048 devices has 7,680.
    samples : int
        Of noise.
    spans : int
        That a page draws; 40 bytes each.
    points : int
        Combinations of a sweep.
    changed_keys : int
        Keys in which two scenarios differ, each evaluated twice.
    predict_s, compare_s, sweep_s : float
        Time of one prediction, one comparison, and a whole sweep.
    memory_bytes : int
        Address space of a worker process; 131,072 devices take a fifth of it.
    waiting : int
        Requests that wait for a worker; more are refused.
    sweeps : int
        Sweeps at once.
    requests : int
        Requests at once, whatever they ask for.
    """

    body_bytes: int = 256 * 1024
    yaml_nodes: int = 20_000
    changes: int = 64
    devices: int = 131_072
    passes: int = 200_000
    samples: int = 10_000
    spans: int = 200_000
    points: int = 2_000
    changed_keys: int = 30
    predict_s: float = 30.0
    compare_s: float = 120.0
    sweep_s: float = 900.0
    memory_bytes: int = 4 * 1024**3
    waiting: int = 32
    sweeps: int = 2
    requests: int = 256

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


LIMITS = Limits()
