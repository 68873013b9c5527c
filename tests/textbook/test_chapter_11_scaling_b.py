"""Chapter 11, section 11.9 and exercises 11.5, 11.7 and 11.8: batches, lengths, several GPUs."""

from __future__ import annotations

import pytest

from tests.textbook.book import Page, anatomy, operator, run
from tests.textbook.test_chapter_11 import (
    BERT,
    HEADS,
    PARAMETERS,
    WORDS,
    bert_activation_bytes,
    largest,
    layer_flop,
    stage,
    states,
)

PAGE = Page("chapter-11-scaling")
FAST = ("precision=bf16", "stack=megatron-2022")
LONG = "model={base: bert-base, max_positions: 2048}"


def of_size(batch: int) -> tuple[str, str]:
    """Return changes that make a step one micro batch of so many sequences."""
    return f"batch.global_size={batch}", f"batch.micro_size={batch}"


@pytest.mark.example("11.9.1")
def test_section_11_9_1_throughput() -> None:
    of = "Section 11.9.1"
    book = {8: (15e3, 0.30), 32: (50e3, 0.80), 64: (70e3, 0.90), 128: (75e3, 0.95)}
    a_token = anatomy(BERT)["forward_and_backward_flop"] / 32 / 512
    rates = {}
    for batch, (tokens, _) in book.items():
        found = run(BERT, *FAST, *of_size(batch))
        rates[batch] = found.tokens_per_s
        assert found.mfu == pytest.approx(found.tokens_per_s * a_token / 312e12)
        PAGE.row(of, f"tokens/s, batch {batch}", found.tokens_per_s, tokens)
    assert list(rates.values()) == sorted(rates.values())
    PAGE.row(of, "batch 128 over batch 8", rates[128] / rates[8], 5)
    PAGE.row(of, "MFU, batch 128", run(BERT, *FAST, *of_size(128)).mfu, 0.95)
    # The MFU of the book's own rate.
    assert 75e3 * a_token / 312e12 == pytest.approx(0.171, abs=5e-4)
    tf32 = run(BERT, "precision=tf32", *of_size(128)).tokens_per_s
    PAGE.row(of, "tokens/s, batch 128, TF32", tf32, 75e3)
    short = ("batch.sequence_length=32", *FAST)
    gain = [run(BERT, *short, *of_size(b)).tokens_per_s for b in (8, 128)]
    PAGE.row(of, "the same for 32 tokens a sequence", gain[1] / gain[0])


@pytest.mark.example("11.9.2")
@pytest.mark.parametrize(
    ("batch", "book", "meant"),
    [(8, 3.5e9, 4.76e9), (16, 6.8e9, 7.76e9), (32, 13.8e9, 13.76e9), (64, 27.6e9, 25.76e9)],
)
def test_section_11_9_2_memory(batch: int, book: float, meant: float) -> None:
    ours = states(BERT) + stage(BERT, *of_size(batch)).activations_bytes
    assert ours == pytest.approx(16 * PARAMETERS + bert_activation_bytes(4, batch, 512))
    # The book's own parts, 1.76 GB and 12 GB for 32; printed is 13.8 GB in proportion.
    assert 1.76e9 + 12e9 * batch / 32 == pytest.approx(meant)
    assert 13.8e9 * batch / 32 == pytest.approx(book, rel=0.02)
    PAGE.row("Section 11.9.2", f"batch {batch}", ours, book)


@pytest.mark.example("11.9.3")
@pytest.mark.parametrize(
    ("length", "book"), [(128, 3.5e9), (256, 6.2e9), (512, 13.8e9), (1024, 42e9)]
)
def test_section_11_9_3_memory(length: int, book: float) -> None:
    of, change = "Section 11.9.3", f"batch.sequence_length={length}"
    kept = stage(BERT, change, LONG).activations_bytes
    assert kept == pytest.approx(bert_activation_bytes(4, 32, length))
    PAGE.row(of, f"{length} tokens", states(BERT, LONG) + kept, book)
    fused = stage(BERT, change, LONG, "stack=megatron-core").activations_bytes
    linear = stage(BERT, LONG, "stack=megatron-core").activations_bytes * length / 512
    assert fused == pytest.approx(linear, rel=1e-3)
    PAGE.row(of, f"{length} tokens, flash attention", states(BERT, LONG) + fused)


@pytest.mark.example("11.9.3")
@pytest.mark.parametrize(("length", "book"), [(512, 403e6), (1024, 1.6e9), (2048, 6.4e9)])
def test_section_11_9_3_scores(length: int, book: float) -> None:
    of, change = "Section 11.9.3", f"batch.sequence_length={length}"
    one = operator(BERT, "softmax", change, LONG)["saved_bytes"]
    assert one == 32 * HEADS * length**2 * 4
    PAGE.row(of, f"scores of {length} tokens, one array of one layer", one, book)
    names = ("softmax", "attention_dropout")
    kept = 12 * sum(operator(BERT, n, change, LONG)["saved_bytes"] for n in names)
    assert kept == 12 * 9 / 4 * one
    PAGE.row(of, f"scores of {length} tokens, all that is kept", kept)


@pytest.mark.example("11.9.4")
def test_section_11_9_4_dynamic_batching() -> None:
    of, name, sort = "Section 11.9.4", "11-s9-dynamic-batching", "batch.batching=bucketed"
    padded, sorted_ = run(name), run(name, sort)
    found = padded.resolved["micro_batches"]
    empty = found["computed_tokens"] - found["useful_tokens"]
    lengths = (128, 256, 512, 512)
    assert sum(512 - n for n in lengths) == 640
    assert empty == 640 * 1024 / 4
    PAGE.row(of, "padding of four sequences, tokens", empty / (1024 / 4), 640)
    PAGE.row(of, "padding, share", 1 - found["efficiency"], 0.31)
    assert sorted_.resolved["micro_batches"]["efficiency"] == 1
    faster = sorted_.tokens_per_s / padded.tokens_per_s
    assert pytest.approx(1.4) == 70 / 50 and pytest.approx(1.4545, abs=1e-4) == 2048 / (2048 - 640)
    # FLOP of the layers and the head, whose attention is of each sequence's own length.
    width, words = 768, 50_257

    def flop(length: int) -> float:
        return layer_flop(12, width, length) + 2 * length * width * words

    ideal = 4 * flop(512) / sum(flop(n) for n in lengths)
    assert 1.4 < faster < 1.02 * ideal
    PAGE.row(of, "tokens/s, sorted over padded", faster, 1.4)
    PAGE.row(of, "useful tokens/s, padded", padded.tokens_per_s, 50e3)
    PAGE.row(of, "useful tokens/s, sorted", sorted_.tokens_per_s, 70e3)


@pytest.mark.example("11.9.5")
@pytest.mark.parametrize(
    ("gib", "book", "what", "changes"),
    [
        (16, 16, "FP32", ()),
        (16, 32, "FP16", ("precision=fp16",)),
        (16, 128, "FP16, recomputed", ("precision=fp16", "plan.recompute=full")),
        (40, 32, "FP32", ()),
        (40, 64, "FP16", ("precision=fp16",)),
    ],
)
def test_section_11_9_5_guidelines(
    gib: int, book: int, what: str, changes: tuple[str, ...]
) -> None:
    ours = largest(BERT, gib * 2**30, *changes)
    kept = bert_activation_bytes(2 if "FP16" in what else 4, ours + 1, 512)
    if "recomputed" not in what:
        # 16 bytes a parameter, what the runtime takes, and logits in FP16 beside those in FP32: one
        # sequence more does not fit.
        copies = 2 * (ours + 1) * 512 * WORDS if "FP16" in what else 0
        assert 16 * PARAMETERS + 1.5e9 + kept + copies > gib * 2**30
    PAGE.row("Section 11.9.5", f"most sequences in {gib} GiB, {what}", ours, book)


@pytest.mark.example("11.5")
@pytest.mark.parametrize(
    ("n", "speedup", "ratio"), [(2, 1.78, 0.125), (4, 3.08, 0.30), (8, 4.62, 0.73)]
)
def test_exercise_11_5_data_parallelism(n: int, speedup: float, ratio: float) -> None:
    of, name = "Exercise 11.5", "11-x05-data-parallel"
    one, many = run(name, "cluster.devices=1"), run(name, f"cluster.devices={n}")
    compute, comm, rest = (
        getattr(many.breakdown, k) for k in ("compute_s", "data_s", "optimizer_s")
    )
    book = {2: (135, 120, 15), 4: (78, 60, 18), 8: (52, 30, 22)}[n]
    assert book[1] + book[2] == book[0] and 240 / book[0] == pytest.approx(speedup, abs=0.005)
    assert book[2] / book[1] == pytest.approx(ratio, abs=0.005)
    # The book's formula, and the update that does not get shorter.
    ours = one.step_s / many.step_s
    formula = one.step_s / (one.breakdown.compute_s / n + comm + rest)
    assert ours == pytest.approx(formula, rel=0.01)
    PAGE.row(of, f"speed-up, {n} GPUs", ours, speedup)
    PAGE.row(of, f"communication over compute, {n} GPUs", comm / compute, ratio)
    # No ring is faster than its links: 31.5 GB/s, or 16 GB/s where eight meet between sockets.
    ring = 2 * (n - 1) / n * 4 * PARAMETERS / (16e9 if n == 8 else 31.5e9 * 0.9)
    assert ring < comm < 1.4 * ring


@pytest.mark.example("11.5")
def test_exercise_11_5_size_of_the_batch() -> None:
    of, name = "Exercise 11.5", "11-x05-data-parallel"
    book = {8: (30, 18, 0.6), 16: (45, 18, 0.4), 32: (60, 18, 0.3), 64: (90, 18, 0.2)}
    comm = set()
    for batch, (compute, sent, ratio) in book.items():
        assert sent / compute == pytest.approx(ratio)
        assert pytest.approx(stage(name).gradients_bytes) == PARAMETERS * 4
        found = run(name, f"batch.micro_size={batch}", f"batch.global_size={4 * batch}").breakdown
        comm.add(round(found.data_s, 9))
        PAGE.row(
            of, f"communication over compute, {batch} each", found.data_s / found.compute_s, ratio
        )
    assert len(comm) == 1  # gradients are as large for any batch
    nvlink = ("cluster.topology=dgx-a100", "batch.micro_size=32", "batch.global_size=128")
    found = run(name, *nvlink).breakdown
    PAGE.row(of, "communication over compute, 32 each, NVLink", found.data_s / found.compute_s)


@pytest.mark.example("11.7")
def test_exercise_11_7_gpt2_medium() -> None:
    of, name, eight = "Exercise 11.7", "11-x07-gpt2-medium", "cluster.devices=8"
    one, many = run(name), run(name, eight)
    tokens, h, words = 512 * 1024, 1024, 50_257
    assert 6 * tokens * 345e6 == pytest.approx(1.085e15, rel=1e-3)
    flop = anatomy(name)["forward_and_backward_flop"] * 512 / 8
    assert flop == pytest.approx(512 * 3 * (layer_flop(24, h, 1024) + 2 * 1024 * h * words))
    PAGE.row(of, "parameters", one.parameters, 345e6)
    PAGE.row(of, "FLOP of a step", flop, 1.08e15)
    PAGE.row(of, "tokens of a step", one.tokens_per_s * one.step_s, 524_288)
    assert pytest.approx(3.46, abs=0.005) == 1.08e15 / 312e12
    PAGE.row(of, "step, one A100", one.step_s, 5.77)
    PAGE.row(of, "tokens/s, one A100", one.tokens_per_s, 90_900)
    assert one.mfu == pytest.approx(flop / one.step_s / 312e12)
    PAGE.row(of, "MFU, one A100", one.mfu, 0.6)
    steps = 10e9 / tokens
    assert round(steps) == 19_073
    PAGE.row(of, "training, one A100", steps * one.step_s, 30.6 * 3600)
    scaling = one.step_s / (8 * many.step_s)
    PAGE.row(of, "efficiency on 8", scaling, 0.85)
    hours = steps * many.step_s / 3600
    assert pytest.approx(4.5) == 30.6 / (8 * 0.85)
    PAGE.row(of, "training, 8 A100", hours * 3600, 4.5 * 3600)
    for cloud, price, book in (
        ("AWS", 32.77, 147.47),
        ("Google", 29.39, 132.26),
        ("Azure", 27.20, 122.40),
    ):
        assert 4.5 * price == pytest.approx(book, abs=0.01)
        PAGE.row(of, f"cost in $, {cloud}", hours * price, book)


def _mean_square(low: int, high: int) -> float:
    return sum(n * n for n in range(low, high + 1)) / (high - low + 1)


@pytest.mark.example("11.8")
def test_exercise_11_8_dynamic_batching() -> None:
    of, name = "Exercise 11.8", "11-x08-dynamic-batching"
    static, dynamic = run(name), run(name, "batch.batching=bucketed")
    before, after = (r.resolved["micro_batches"]["efficiency"] for r in (static, dynamic))
    mean = 0.72 * (50 + 179) / 2 + 0.28 * (180 + 512) / 2
    assert before == pytest.approx(mean / 512) and pytest.approx(0.648, abs=5e-4) == 1 - 180 / 512
    PAGE.row(of, "padding, static", 1 - before, 0.648)
    PAGE.row(of, "padding, dynamic", 1 - after, 0.082)
    faster = dynamic.tokens_per_s / static.tokens_per_s
    assert pytest.approx(2.33, abs=0.005) == 28_900 / 12_400
    PAGE.row(of, "speed-up", faster, 2.33)
    most = 1 / (1 - 0.648)
    assert most == pytest.approx(2.84, abs=0.005) and pytest.approx(0.82, abs=0.005) == 2.33 / 2.84
    PAGE.row(of, "computed tokens, static over useful", 1 / before, 2.84)
    # FLOP fall by more than tokens, as attention goes by the square of each length; but 32 short
    # rows are small products.
    squares = 0.72 * _mean_square(50, 179) + 0.28 * _mean_square(180, 512)
    a_token, a_pair = 12 * 24 * 768**2 + 2 * 768 * 50_257, 12 * 4 * 768
    flop = a_token * 512 + a_pair * 512**2
    fewest = a_token * mean + a_pair * squares
    assert 0.9 * after / before < faster < flop / fewest
    PAGE.row(of, "computed tokens, static over dynamic", after / before)
    packed = run(name, "batch.batching=packed")
    PAGE.row(of, "speed-up of packed rows", packed.tokens_per_s / static.tokens_per_s)
