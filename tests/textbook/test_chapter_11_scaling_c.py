"""Chapter 11, section 11.11: time and cost of training BERT, GPT-2 and GPT-3."""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, run
from tests.textbook.test_chapter_11 import WORDS, H, L, S, layer_flop

PAGE = Page("chapter-11-scaling")
BERT, GPT2, GPT3 = "11-s11-bert-base-16xv100", "11-s11-gpt2-xl-32xv100", "11-s11-gpt3-10240xv100"
DAY_S, HOUR_S = 86_400.0, 3600.0
#: Dollars a V100 and hour, FLOP/s of its tensor cores: the book's.
PRICE, V100 = 3.5, 125e12


def a_sample(name: str, *changes: str) -> float:
    """Return FLOP of one sequence, forward and backward."""
    parts = anatomy(name, *changes)
    return float(parts["forward_and_backward_flop"] / parts["samples"])


@pytest.mark.example("11.11.1")
def test_section_11_11_1_flop_of_bert() -> None:
    of, batch = "Section 11.11.1", 4096
    found = run(BERT)
    ours = found.model_flop_per_s_per_device * found.devices * found.step_s
    head = 2 * (S * H * (H + WORDS) + H * H + 2 * H)
    assert ours == pytest.approx(batch * 3 * (layer_flop(L, H, S) + head))
    # The book's 290 GFLOP are those of one sequence, of the layers alone.
    assert 3 * layer_flop(L, H, S) == pytest.approx(290e9, rel=1e-3)
    PAGE.row(of, "FLOP of a step", ours, 290e9)
    PAGE.row(of, "FLOP of 1,000,000 steps", 1e6 * ours, 2.9e17)
    assert round(290e9 / (16 * V100 * 0.7), 6) == 0.000207  # not 0.21 s, as printed
    assert pytest.approx(0.848, abs=5e-4) == 4096 * 290e9 / (16 * V100 * 0.7)
    tokens = found.tokens_per_s * found.step_s
    assert tokens == pytest.approx(batch * 512)
    PAGE.row(of, "tokens of a step", tokens, 2_097_152)
    assert 1e6 * tokens / 4.4e9 == pytest.approx(475, rel=0.005)
    PAGE.row(of, "passes over 4.4 billion tokens", 1e6 * tokens / 4.4e9, 475)


@pytest.mark.example("11.11.1")
def test_section_11_11_1_time_and_cost_of_bert() -> None:
    of, found = "Section 11.11.1", run(BERT)
    assert found.step_s > 4096 * a_sample(BERT) / (16 * V100)
    PAGE.row(of, "step", found.step_s, 0.21)
    PAGE.row(of, "MFU", found.mfu, 0.7)
    days = 1e6 * found.step_s / DAY_S
    assert pytest.approx(2.4, abs=0.05) == 1e6 * 0.21 / DAY_S
    PAGE.row(of, "1,000,000 steps", days * DAY_S, 2.4 * DAY_S)
    assert 16 * 96 * PRICE == 5376
    PAGE.row(of, "cost in $", 16 * 24 * days * PRICE, 5376)
    # Devlin 2019 (arXiv 1810.04805), appendix A.2: 256 sequences a step in all.
    paper = run(BERT, "batch.global_size=256").step_s
    assert pytest.approx(40, rel=0.01) == 1e6 * 256 * 512 / 3.3e9
    PAGE.row(of, "step, 256 sequences", paper)
    PAGE.row(of, "1,000,000 steps, 256 sequences", 1e6 * paper, 4 * DAY_S)
    PAGE.row(of, "cost in $, 256 sequences", 16 * 1e6 * paper / HOUR_S * PRICE)
    once = run(BERT, "batch.micro_size=256").memory
    assert not once.fits
    PAGE.row(of, "peak, 256 sequences a GPU at once", once.peak_bytes)


@pytest.mark.example("11.11.2")
def test_section_11_11_2_gpt2_xl() -> None:
    of, found, tokens = "Section 11.11.2", run(GPT2), 1e10
    layers = layer_flop(48, 1600, 1024)
    sequence = a_sample(GPT2) / 3
    assert sequence == pytest.approx(layers + 2 * 1024 * 1600 * 50_257)
    assert layers == pytest.approx(3.34e12, rel=1e-3)  # the book's own formula: not 6e12
    PAGE.row(of, "FLOP of a token, forward", sequence / 1024, 6e12)
    PAGE.row(of, "FLOP of a sequence, forward", sequence, 6e12)
    flop = found.model_flop_per_s_per_device * 32 * found.step_s * tokens / (512 * 1024)
    assert flop == pytest.approx(3 * sequence / 1024 * tokens)
    assert pytest.approx(1.8e23) == 1e10 * 6e12 * 3
    PAGE.row(of, "FLOP of 10 billion tokens", flop, 1.8e23)
    assert pytest.approx(620_690, rel=1e-4) == 1.8e23 / 2.9e17  # not 600
    bert = run(BERT)
    steps = bert.model_flop_per_s_per_device * 16 * bert.step_s * 1e6 * 256 / 4096
    PAGE.row(of, "over BERT-base, 256 sequences a step", flop / steps, 600)
    assert pytest.approx(521, abs=1) == 1.8e23 / (32 * V100) / DAY_S
    days = tokens / found.tokens_per_s / DAY_S
    assert days * DAY_S > flop / (32 * V100)
    PAGE.row(of, "10 billion tokens", days * DAY_S)
    PAGE.row(of, "tokens in 7 days", found.tokens_per_s * 7 * DAY_S)
    assert 32 * 168 * PRICE == 18_816
    PAGE.row(of, "cost in $ of 10 billion tokens", 32 * 24 * days * PRICE, 18_816)
    PAGE.row(of, "parameters", found.parameters, 1.5e9)


@pytest.mark.example("11.11.3")
def test_section_11_11_3_gpt3() -> None:
    of, found, tokens = "Section 11.11.3", run(GPT3), 3e11
    layers = layer_flop(96, 12_288, 2048)
    assert layers == pytest.approx(7.3e14, rel=0.01)
    sequence = a_sample(GPT3) / 3
    assert sequence == pytest.approx(layers + 2 * 2048 * 12_288 * 50_257)
    PAGE.row(of, "FLOP of a token, forward", sequence / 2048, 7e14)
    PAGE.row(of, "FLOP of a sequence, forward", sequence, 7e14)
    steps = tokens / (1600 * 2048)
    flop = found.model_flop_per_s_per_device * found.devices * found.step_s * steps
    assert flop == pytest.approx(3 * sequence / 2048 * tokens, rel=1e-3)
    assert pytest.approx(6.3e26) == 3e11 * 7e14 * 3
    PAGE.row(of, "FLOP of 300 billion tokens", flop, 6.3e26)
    assert pytest.approx(3.14e23, rel=1e-3) == 6 * 174.6e9 * 3e11  # Brown 2020, table D.1
    PAGE.row(of, "the same, as the section says later", flop, 3.14e23)
    assert pytest.approx(2.17e9, rel=0.01) == 6.3e26 / 2.9e17  # not 2 million
    days = steps * found.step_s / DAY_S
    assert days * DAY_S > flop / (found.devices * V100)
    assert pytest.approx(15.6, abs=0.1) == 6.3e26 / (10_240 * V100) / DAY_S / 365
    PAGE.row(of, "300 billion tokens, 10,240 V100", days * DAY_S, 30 * DAY_S)
    cost = found.devices * 24 * days * PRICE
    assert 4e6 < cost < 12e6
    PAGE.row(of, "cost in $", cost, 12e6)
    PAGE.row(of, "MFU", found.mfu)
    PAGE.row(of, "MFU that one month needs", flop / (10_240 * V100 * 30 * DAY_S))


@pytest.mark.example("11.11.4")
def test_section_11_11_4_scaling_laws() -> None:
    of, name = "Section 11.11.4", "11-s8-pipeline"
    more = "model.layers=64"
    size = run(name, more, "plan.recompute=full").parameters / run(name).parameters
    assert size == pytest.approx(2, rel=0.01)
    flop = a_sample(name, more) / a_sample(name)
    assert flop == pytest.approx(layer_flop(64, 4096, 2048) / layer_flop(32, 4096, 2048), rel=1e-3)
    PAGE.row(of, "parameters, 64 layers over 32", size, 2)
    PAGE.row(of, "FLOP for the same tokens", flop, 4)
    PAGE.row(of, "FLOP for twice the tokens", 2 * flop, 4)
    assert pytest.approx(5.4, abs=0.05) == 10**0.73 and pytest.approx(1.9, abs=0.05) == 10**0.27


@pytest.mark.example("11.11.5")
def test_section_11_11_5_progression() -> None:
    of, large = "Section 11.11.5", "model=bert-large"
    ours = run(BERT, large).step_s / run(BERT).step_s
    flop = a_sample(BERT, large) / a_sample(BERT)
    heads = [2 * (S * h * (h + WORDS) + h * h + 2 * h) for h in (1024, 768)]
    ratio = (layer_flop(24, 1024, S) + heads[0]) / (layer_flop(12, 768, S) + heads[1])
    assert flop == pytest.approx(ratio)
    assert pytest.approx(3.57, abs=0.005) == 25_000 / 7000
    PAGE.row(of, "FLOP, BERT-large over BERT-base", flop)
    PAGE.row(of, "step, BERT-large over BERT-base", ours, 3.57)
    assert ours < flop  # larger products run faster
