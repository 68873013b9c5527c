"""The training step that benchmarks/gpu times on a GPU, here on a processor and small."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.torch.required import functional, torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.gpu import cases, train_step
from benchmarks.gpu.cases import Case
from benchmarks.gpu.kernels import summary
from benchmarks.gpu.models import Decoder, Shape, rotary_table, rotated
from benchmarks.gpu.predict import scenario_of
from distsim.prediction.predict import predict
from distsim.scenario.resolve import resolve

CPU = torch.device("cpu")
SMALL = {"layers": 2, "hidden": 32, "heads": 2, "vocab": 64}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {name: dict(model) | SMALL for name, model in cases.MODELS.items()}
    models["llama-7b"]["ffn"] = 48
    monkeypatch.setattr(cases, "MODELS", models)


def _nothing() -> None:
    return


@pytest.mark.parametrize("model", ["gpt-125m", "llama-7b"])
def test_the_scenario_has_the_parameters_of_the_model(model: str) -> None:
    case = Case(model, 2, 16)
    trainer = train_step.Trainer(case, CPU)
    assert predict(resolve(scenario_of(case))).parameters == trainer.parameters


@pytest.mark.parametrize("model", ["gpt-125m", "llama-7b"])
def test_buffers_have_the_gradient_of_the_whole_batch(model: str) -> None:
    """Two micro batches through the hooks are one batch through autograd."""
    trainer = train_step.Trainer(Case(model, 2, 16, accumulation=2), CPU)
    seen: list[torch.Tensor] = []
    trainer.optimizer.step = lambda: seen.extend(g.clone() for g in trainer.gradients)
    other = Decoder(trainer.model.shape)
    other.load_state_dict(trainer.model.state_dict())
    other = other.to(torch.bfloat16)
    inputs, outputs = (trainer.tokens[i].flatten(0, 1) for i in (0, 1))
    trainer.step(_nothing)
    other(inputs, outputs).backward()
    whole = [w.grad.float() for w in other.parameters()]
    torch.nn.utils.clip_grad_norm_(gradients := [_with_gradient(g) for g in whole], 1.0)
    for mine, theirs in zip(seen, gradients, strict=True):
        assert torch.linalg.norm(mine - theirs.grad) < 0.02 * torch.linalg.norm(theirs.grad)
    assert all(w.grad is None for w in trainer.weights)
    assert all(not g.any() for g in trainer.gradients)  # cleared for the next step


def _with_gradient(gradient: torch.Tensor) -> torch.Tensor:
    holder = torch.zeros_like(gradient, requires_grad=True)
    holder.grad = gradient
    return holder


def test_recomputation_changes_no_gradient() -> None:
    case = Case("llama-7b", 2, 16)
    losses = []
    for one in (case, replace(case, recompute=True)):
        trainer = train_step.Trainer(one, CPU)
        losses.append([float(trainer.step(_nothing)) for _ in range(3)])
    assert losses[0] == losses[1]


def test_attention_is_causal() -> None:
    model = Decoder(Shape("llama", 1, 32, 2, 48, 64, 16))
    model.start()
    tokens = torch.randint(64, (1, 16))
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 64
    outs = []
    for given in (tokens, changed):
        x = model.tokens(given)
        table = tuple(part.float() for part in rotary_table(model.shape, 16, CPU))
        outs.append(model.layers[0](x, table))
    assert torch.allclose(outs[0][0, :-1], outs[1][0, :-1])
    assert not torch.allclose(outs[0][0, -1], outs[1][0, -1])


def test_rotary_positions_keep_products_of_equal_distances() -> None:
    """Su 2021 (arXiv 2104.09864), section 3.2: a score depends on the distance alone."""
    shape = Shape("llama", 1, 32, 2, 48, 64, 16)
    cos, sin = (part.double() for part in rotary_table(shape, 16, CPU))
    q, k = torch.randn(2, 16, dtype=torch.double)
    turned = [rotated(x.expand(1, 1, 16, 16), cos, sin)[0, 0] for x in (q, k)]
    scores = turned[0] @ turned[1].T
    for distance in range(1, 8):
        diagonal = torch.diagonal(scores, distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=0.1)
    assert not torch.allclose(scores[0], scores[0, 0].expand(16), atol=0.1)


def test_the_loss_is_the_one_of_fp32_logits() -> None:
    model = Decoder(Shape("gpt", 1, 32, 2, 128, 64, 16)).to(torch.bfloat16)
    model.start()
    tokens = torch.randint(64, (2, 16))
    x = torch.randn(2, 16, 32, dtype=torch.bfloat16)
    logits = functional.linear(model.head.norm(x), model.tokens.weight).float()
    wanted = -functional.log_softmax(logits, -1).gather(-1, tokens[..., None]).mean()
    assert float(model.head(x, tokens).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_times_of_a_step_add_up() -> None:
    case = Case("gpt-125m", 1, 8, accumulation=2)
    # Gaps between marks of two steps: forward, backward, twice; optimizer; what lies between.
    gaps = [1.0, 2.0, 1.5, 2.5, 4.0, 0.5, 1.0, 2.0, 1.5, 2.5, 4.0, 0.0]
    found = train_step._step_times(case, gaps, 2)
    assert found["forward_s"] == 2.5 and found["backward_s"] == 4.5
    assert found["optimizer_s"] == 4.0 and found["step_s"] == 11.5


def test_a_trace_is_summed_by_kernel() -> None:
    events = [
        {"cat": "kernel", "name": "a", "ts": 10.0, "dur": 5.0},
        {"cat": "kernel", "name": "b", "ts": 14.0, "dur": 2.0},  # beside the first
        {"cat": "kernel", "name": "a", "ts": 20.0, "dur": 10.0},
        {"cat": "cpu_op", "name": "c", "ts": 0.0, "dur": 50.0},
    ]
    found = summary(events)
    assert found["count"] == 3
    assert found["span_s"] == pytest.approx(20e-6) and found["idle_s"] == pytest.approx(4e-6)
    assert found["by_name"][0] == {"name": "a", "count": 2, "time_s": pytest.approx(15e-6)}
