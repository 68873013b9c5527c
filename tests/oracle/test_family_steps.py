"""Models of every family in whole steps: bounded, alike in both evaluators, or refused."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from distsim.api import load, simulate
from distsim.errors import DistsimError
from distsim.report.text import run_text
from distsim.workload.families import FAMILIES
from distsim.workload.zoo import names, network

OTHERS = [name for name in names() if network(name).family in FAMILIES]
INLINE: list[dict[str, Any]] = [
    {"family": "linear_regression", "features": 1000},
    {"family": "perceptron", "features": 64},
    {"family": "mlp", "inputs": 784, "hidden": [1024, 1024], "outputs": 10},
    {"family": "rnn", "cell": "lstm", "inputs": 256, "hidden": 512, "steps": 64, "outputs": 10},
    {"family": "rnn", "cell": "gru", "inputs": 256, "hidden": 512, "steps": 64, "outputs": 10},
    {
        "family": "seq2seq",
        "embedding": 256,
        "hidden": 512,
        "source_vocab": 8000,
        "target_vocab": 8000,
        "steps": 32,
    },
]


def _scenario(model: object, **plan: object):
    return load(
        {
            "schema": 1,
            "name": "families",
            "cluster": {"topology": "dgx-a100", "devices": 8},
            "model": model,
            "batch": {"global_size": 128, "micro_size": 8},
            "plan": plan,
            "precision": "bf16",
        }
    )


@pytest.mark.parametrize(
    "model", [*OTHERS, *INLINE], ids=lambda m: m if isinstance(m, str) else m["family"]
)
def test_data_parallel_and_sharded_steps(model: str | dict[str, Any]) -> None:
    for plan in ({"overlap_grad_reduce": True, "bucket_size": "10 MB"}, {"zero_stage": 3}):
        p = simulate(_scenario(model, **plan))
        other = simulate(_scenario(model, **plan), evaluator="event", fold=False)
        assert p.step_s == pytest.approx(other.step_s, rel=1e-6)
        assert p.bounds.lower_s <= p.step_s <= p.bounds.upper_s
        assert 0 < p.mfu < 1
        assert p.memory.fits
    # All parameters are held once: those of the units are those of the model.
    program = p.timeline.program
    held = sum(c.parameters for c in program.inputs.chunks[0])
    assert held == pytest.approx(p.parameters, rel=1e-9)


@pytest.mark.parametrize(
    ("model", "plan", "code"),
    [
        ("resnet-50", {"tp": 2}, "DS308"),
        ("resnet-50", {"pp": 2}, "DS308"),
        ("vit-b-16", {"cp": 2}, "DS308"),
        ("bert-base", {"ep": 2}, "DS308"),
        ("bert-base", {"tp": 8}, "DS306"),
        ("t5-base", {"pp": 2}, "DS308"),
    ],
)
def test_what_a_family_cannot_do_is_refused(model: str, plan: dict[str, Any], code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        simulate(_scenario(model, **plan))
    assert caught.value.code == code
    assert model in str(caught.value) or code == "DS306"


@pytest.mark.parametrize("plan", [{"tp": 4}, {"pp": 4}, {"tp": 2, "pp": 2, "recompute": "full"}])
def test_encoders_and_vision_transformers_are_divided(plan: dict[str, Any]) -> None:
    for model in ("bert-base", "vit-b-16"):
        folded = simulate(_scenario(model, **plan))
        whole = simulate(_scenario(model, **plan), evaluator="event", fold=False)
        assert folded.step_s == pytest.approx(whole.step_s, rel=1e-6)


def test_images_are_counted_and_have_no_length() -> None:
    p = simulate(_scenario("resnet-50"))
    assert p.tokens_per_s == pytest.approx(128 / p.step_s)
    console = Console(width=100, record=True, file=StringIO())
    console.print(run_text(p))
    assert "images/s" in console.export_text()
    with pytest.raises(DistsimError) as caught:
        simulate(_scenario("resnet-50").with_(batch={"sequence_length": 7}))
    assert caught.value.code == "DS230"


def test_a_published_model_may_be_changed() -> None:
    p = simulate(_scenario({"base": "bert-base", "layers": 6}))
    whole = network("bert-base")
    per_layer = 12 * 768**2 + 13 * 768
    assert p.parameters == whole.parameters - 6 * per_layer


@pytest.mark.parametrize(("mode", "again"), [("full", "layers"), ("selective", "core")])
def test_what_an_encoder_runs_again_counts_for_hfu(mode: str, again: str) -> None:
    """Layers without the head, or core attention: as FLOP over 3 times those of a forward pass."""
    scenario = load("bert-large-64xv100").with_(plan={"recompute": mode})
    s, h, layers, ffn = 128, 1024, 24, 4096
    found = simulate(scenario)
    s = int(found.resolved["sequence_length"])
    core = layers * 4 * s * s * h
    one = {"core": core, "layers": core + layers * 2 * s * (4 * h * h + 2 * h * ffn)}
    ratio = 1 + one[again] / scenario_model_flop(s, core, layers, h, ffn)
    assert found.hfu / found.mfu == pytest.approx(ratio, rel=1e-9)


def scenario_model_flop(s: int, core: float, layers: int, h: int, ffn: int) -> float:
    """Three forward passes of BERT-large with both heads, one sequence."""
    body = core + layers * 2 * s * (4 * h * h + 2 * h * ffn)
    head = 2 * s * h * (h + 30522) + 2 * h * h + 2 * 2 * h
    return 3.0 * (body + head)
