"""Linear layers in fp8 against the papers, real arrays of bytes, and the ratio of peaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distsim.cost.gemm import gemm_s
from distsim.cost.kernel import kernel_s, price
from distsim.errors import ValueProblem
from distsim.hardware.catalogue import device
from distsim.workload import transformer
from distsim.workload.catalogue import model
from distsim.workload.linear import linear, scale_updates, weight_casts
from distsim.workload.op import Axis, Fusion, Numerics, Op, WorkKind, gemm
from distsim.workload.optimizer import Matrix
from distsim.workload.precision import RECIPES, Fp8, check_dimensions, fp8_recipe
from distsim.workload.shape import Shape

H100, A100, B200 = device("h100-80gb-sxm"), device("a100-80gb-sxm"), device("b200-180gb-sxm")
UNFUSED = Fusion(flash_attention=False)
GPT = model("megatron-22b")
TOKENS = 2048


def _recipe(name: str, on=H100, **options) -> Fp8:
    peaks = tuple(on.peak_flop_per_s)
    return fp8_recipe(
        name, device=on.name, architecture=on.architecture, peaks=peaks, compute="bf16", **options
    )


def _shape(recipe: Fp8 | None = None, fusion: Fusion = UNFUSED) -> Shape:
    return Shape(1, TOKENS, Numerics("bf16", fp8=recipe), fusion)


def _linear(
    recipe: Fp8 | None, inputs: int = 1024, outputs: int = 4096, fusion: Fusion = UNFUSED, **options
) -> Op:
    return linear("x", Axis.FFN, _shape(recipe, fusion), inputs, outputs, bias=False, **options)


def _products(op: Op):
    works = (*op.forward, *op.backward_data, *op.backward_weight)
    return [w for w in works if w.kind is WorkKind.GEMM]


def _streams(works) -> float:
    return sum(w.stream_bytes for w in works if w.kind is WorkKind.STREAM)


def _layer(recipe: Fp8 | None, fusion: Fusion = UNFUSED) -> dict[str, Op]:
    shape = _shape(recipe, fusion)
    return {op.name: op for op in (*transformer.layer(GPT, shape), *transformer.head(GPT, shape))}


LINEAR = {"qkv", "attention_out", "mlp_up", "mlp_down"}


@pytest.mark.parametrize("t", [1, 8])
@pytest.mark.parametrize("sequence", [False, True])
def test_what_weight_gradients_wait_with_is_the_published_sum(t, sequence):
    """32 s b h at 16 bit (Qi 2023, table 1); without sequence parallelism 8 + 24/t of them."""
    ops = [op for name, op in _layer(None).items() if name in LINEAR]
    tokens = t if sequence else 1
    kept = sum(op.weight_bytes / t + op.weight_token_bytes / tokens for op in ops)
    sbh = TOKENS * GPT.hidden
    assert kept == pytest.approx(sbh * (32 / t if sequence else 8 + 24 / t), rel=1e-12)


def test_half_of_that_in_fp8():
    ops = [op for name, op in _layer(_recipe("delayed")).items() if name in LINEAR]
    kept = sum(op.weight_bytes + op.weight_token_bytes for op in ops)
    assert kept == 16 * TOKENS * GPT.hidden


@pytest.mark.parametrize("fusion", [UNFUSED, Fusion()])
def test_saved_inputs_of_a_layer(fusion):
    """Of 34 s b h (Korthikanti 2022), 14 are inputs of projections: 7 of them go.

    With fused attention its output stays in 16 bits for its own backward pass: with delayed
    scaling beside the cast one, otherwise in place of it.
    """
    sbh = TOKENS * GPT.hidden
    for name, gone in (("delayed", 5 if fusion.flash_attention else 7), ("current", 7)):
        gone = 6 if name == "current" and fusion.flash_attention else gone
        saved = {
            recipe: sum(
                op.saved_bytes + op.saved_token_bytes for op in _layer(recipe, fusion).values()
            )
            for recipe in (None, _recipe(name))
        }
        assert saved[None] - saved[_recipe(name)] == pytest.approx(gone * sbh, rel=1e-12)


@pytest.mark.parametrize("name", ["delayed", "current", "blockwise"])
def test_only_products_of_projections_are_in_fp8(name):
    wide, narrow = _layer(None), _layer(_recipe(name))
    for op in narrow:
        types = {w.dtype for w in _products(narrow[op])}
        assert types <= ({"fp8"} if op in LINEAR else {""}), op
        if op not in LINEAR:
            assert narrow[op] == wide[op]
        assert sum(w.flop for w in _products(narrow[op])) == sum(
            w.flop for w in _products(wide[op])
        )


def test_operands_are_half_as_many_bytes_and_results_as_many():
    narrow, wide = _products(_linear(_recipe("delayed"))), _products(_linear(None))
    assert [w.operand_bytes for w in narrow] == [1, 1, 1]
    for a, b in zip(narrow, wide, strict=True):
        assert 2 * a.operand_bytes == b.operand_bytes and a.result_bytes == b.result_bytes
        assert (a.m, a.n, a.k, a.split) == (b.m, b.n, b.k, b.split)


def _arrays(rows: int, columns: int, scales: tuple[int, int] | None, scale_type: type) -> int:
    """Bytes of an fp8 array, and of its scales for tiles of (rows, columns)."""
    data = np.zeros((rows, columns), np.uint8)
    if scales is None:
        return data.nbytes
    tiles = np.zeros((rows // scales[0], columns // scales[1]), scale_type)
    return data.nbytes + tiles.nbytes


@pytest.mark.parametrize(
    ("name", "on", "tile", "scale", "arrays", "passes"),
    [
        ("delayed", H100, None, np.float32, 2, 0),
        ("current", H100, None, np.float32, 2, 1),
        ("blockwise", H100, (1, 128), np.float32, 2, 0),
        ("delayed", B200, None, np.float32, 1, 0),
        ("current", B200, None, np.float32, 1, 1),
        ("mxfp8", B200, (1, 32), np.uint8, 2, 0),
    ],
)
def test_casts_move_the_bytes_of_their_arrays(name, on, tile, scale, arrays, passes):
    """A 16-bit array is read once for each pass; one product layout takes a transposed array."""
    inputs, outputs = 1024, 4096
    op = _linear(_recipe(name, on), inputs, outputs)
    for works, features in ((op.forward, inputs), (op.backward_data, outputs)):
        source = np.zeros((TOKENS, features), np.uint16).nbytes
        along = arrays * _arrays(TOKENS, features, tile, scale)
        small = 8 * passes  # a kernel that makes the scale
        assert _streams(works) == (1 + passes) * source + along + small
    assert _streams(op.backward_weight) == 0
    kept = _arrays(TOKENS, inputs, tile, scale)
    assert op.saved_bytes + op.saved_token_bytes == kept


def test_casts_are_divided_as_their_arrays_are():
    """Outside a divided region an array is divided with the tokens, if at all."""
    for row, forward, backward in ((False, "tokens", "bytes"), (True, "bytes", "tokens")):
        op = _linear(_recipe("current"), row=row)
        assert {w.split for w in op.forward if w.stream_bytes} == {forward}
        assert {w.split for w in op.backward_data if w.stream_bytes} == {backward}


def test_the_output_of_fused_attention_is_cast_again_where_its_scale_is_its_own():
    for name, late in (("delayed", False), ("current", True), ("blockwise", True)):
        recipe = _recipe(name)
        op = _linear(recipe, row=True, shared_input=True)
        x = TOKENS * 1024
        assert (_streams(op.backward_weight) > 0) is late
        kept = 2.0 if late else 2.0 + recipe.element_bytes
        assert op.saved_bytes == kept * x
        assert op.weight_bytes == (2.0 if late else 1.0) * x
        # Each use writes one array, where a cast for both writes two.
        other = _linear(recipe, row=True)
        again = _streams(op.forward) + _streams(op.backward_weight)
        passes = 2 if recipe.amax_pass else 1
        small = 8 * recipe.amax_pass
        assert again == _streams(other.forward) + (2 * passes * x + small if late else 0)


def test_the_bias_gradient_is_summed_while_the_gradient_is_there():
    """Before the weight gradient only its cast copy is left."""
    plain, biased = (
        linear("x", Axis.FFN, _shape(_recipe("delayed"), UNFUSED), 1024, 4096, bias=bias)
        for bias in (False, True)
    )
    assert _streams(biased.backward_weight) == 0
    assert _streams(biased.backward_data) - _streams(plain.backward_data) == 2 * TOKENS * 4096


@pytest.mark.parametrize(("on", "copies"), [(H100, 2), (B200, 1)])
def test_weights_are_cast_once_a_step_or_in_every_forward_pass(on, copies):
    elements = 1024 * 4096
    kept = _recipe("delayed", on)
    once = weight_casts(kept, Numerics("bf16"), [Matrix(1024, 4096, 3), Matrix(8, 8, 1, True)])
    assert [w.stream_bytes for w in once] == [(2 + copies) * elements] * 3
    assert kept.copy_bytes == copies
    each = _recipe("delayed", on, cached_weights=False)
    assert weight_casts(each, Numerics("bf16"), [Matrix(1024, 4096)]) == ()
    more, less = _linear(each), _linear(kept)
    assert _streams(more.forward) - _streams(less.forward) == (2 + copies) * elements
    assert more.saved_bytes - less.saved_bytes == copies * elements
    assert each.copy_bytes == 0


def test_scales_of_blocks_of_weights():
    """128 x 128 weights share an fp32 scale (DeepSeek-V3, section 3.3.2), 32 one byte (MX)."""
    blocks = _arrays(1024, 4096, (128, 128), np.float32)
    assert _recipe("blockwise").copy_bytes * 1024 * 4096 == 2 * blocks
    assert _recipe("mxfp8", B200).copy_bytes * 1024 * 4096 == 2 * _arrays(
        1024, 4096, (1, 32), np.uint8
    )


def test_histories_are_read_and_written_with_delayed_scaling_alone():
    inputs, weights, gradients = (np.zeros((96, 1024), np.float32) for _ in range(3))
    forward, backward = scale_updates(_recipe("delayed"), 96)
    assert forward.stream_bytes == 2 * (inputs.nbytes + weights.nbytes)
    assert backward.stream_bytes == 2 * gradients.nbytes
    assert scale_updates(_recipe("current"), 96) == () == scale_updates(None, 96)
    assert weight_casts(None, Numerics("bf16"), [Matrix(8, 8)]) == ()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_at_16_bit_nothing_is_cast(fused, bias):
    """Three products, the bias gradient and the sum into the buffer."""
    fusion = dataclasses.replace(UNFUSED, weight_gradient_accumulation=fused)
    op = linear("x", Axis.FFN, _shape(None, fusion), 1024, 4096, bias=bias)
    assert _streams((*op.forward, *op.backward_data)) == 0
    expected = (0 if fused else 10 * 1024 * 4096) + (2 * TOKENS * 4096 if bias else 0)
    assert _streams(op.backward_weight) == expected
    # Added to an fp32 buffer, a result is read and written there.
    assert [w.result_bytes for w in _products(op)] == [2, 2, 8 if fused else 2]
    assert {w.dtype for w in _products(op)} == {""}


dims = st.integers(1, 400)


@given(dims, dims, dims)
def test_no_product_is_faster_than_by_the_ratio_of_the_peaks(m, n, k):
    """1,978.9 over 989.4 TFLOP/s, and no slower than in 16 bit."""
    wide = gemm(64 * m, 64 * n, 64 * k)
    narrow = dataclasses.replace(wide, operand_bytes=1, dtype="fp8")
    ratio = gemm_s(wide, H100, "bf16") / gemm_s(narrow, H100, "bf16")
    assert 1 - 1e-12 <= ratio <= 1978.9 / 989.4 + 1e-9


def test_large_products_come_close_to_it_and_thin_ones_to_the_ratio_of_bytes():
    wide = gemm(128 * 132, 256 * 33, 65_536)
    narrow = dataclasses.replace(wide, operand_bytes=1, dtype="fp8")
    assert gemm_s(wide, H100, "bf16") / gemm_s(narrow, H100, "bf16") == pytest.approx(2, rel=0.01)
    wide = gemm(1, 16_384, 16_384)
    narrow = dataclasses.replace(wide, operand_bytes=1, dtype="fp8")
    assert gemm_s(wide, H100, "bf16") / gemm_s(narrow, H100, "bf16") == pytest.approx(2, rel=0.01)


def test_a_kernel_runs_in_its_own_type_and_others_in_that_of_the_step():
    work = gemm(8192, 8192, 8192)
    own = dataclasses.replace(work, dtype="tf32")
    assert (
        kernel_s(own, A100, "bf16") == kernel_s(work, A100, "tf32") > kernel_s(work, A100, "bf16")
    )


@pytest.mark.parametrize(("compute", "rate"), [("tf32", 156e12), ("fp32", 19.5e12)])
def test_products_in_32_bit_run_at_their_own_peak(compute, rate):
    """A100: 156 TFLOP/s in tf32, 19.5 in fp32 (NVIDIA A100 whitepaper, table 1)."""
    numerics = Numerics(compute, activation_bytes=4, weight_bytes=4, master_bytes=0)
    op = linear("x", Axis.FFN, Shape(1, 8192, numerics, Fusion()), 8192, 8192, bias=False)
    took = price(op.forward, A100, compute).device_s
    least = 2.0 * 8192**3 / (rate * A100.gemm_efficiency)
    assert least < took < 1.1 * least
    assert op.saved_token_bytes == 4 * 8192 * 8192


@pytest.mark.parametrize("name", ["delayed", "current", "blockwise"])
def test_a_layer_gains_less_than_its_products_do(name):
    """Amdahl: what is not a projection stays as it is, and casts come on top."""

    def seconds(recipe: Fp8 | None) -> tuple[float, float]:
        ops = [op for n, op in _layer(recipe, Fusion()).items() if n in LINEAR]
        works = [w for o in ops for w in (*o.forward, *o.backward_data, *o.backward_weight)]
        products = [w for w in works if w.kind is WorkKind.GEMM]
        return price(works, H100, "bf16").device_s, price(products, H100, "bf16").device_s

    (all_wide, products_wide), (all_narrow, products_narrow) = (
        seconds(None),
        seconds(_recipe(name)),
    )
    assert 1.0 < all_wide / all_narrow < products_wide / products_narrow < 2.0


def test_extra_passes_cost_time():
    def seconds(name: str, on) -> float:
        op = _linear(_recipe(name, on), 8192, 8192)
        works = (*op.forward, *op.backward_data, *op.backward_weight)
        return price(works, on, "bf16").device_s

    assert seconds("delayed", H100) < seconds("blockwise", H100) < seconds("current", H100)
    assert seconds("delayed", B200) < seconds("mxfp8", B200)


@pytest.mark.parametrize(
    ("name", "on", "compute", "code", "text"),
    [
        ("delayed", A100, "bf16", "DS232", "a100-80gb-sxm has no fp8 rate"),
        ("mxfp8", H100, "bf16", "DS232", "h100-80gb-sxm does not scale the blocks of mxfp8"),
        ("mxfp9", H100, "bf16", "DS233", "did you mean 'mxfp8'"),
        ("current", H100, "tf32", "DS234", "fp8 beside tf32"),
    ],
)
def test_recipes_that_cannot_be(name, on, compute, code, text):
    with pytest.raises(ValueProblem, match=text) as caught:
        fp8_recipe(
            name,
            device=on.name,
            architecture=on.architecture,
            peaks=tuple(on.peak_flop_per_s),
            compute=compute,
        )
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "tokens", "features", "fits"),
    [
        ("delayed", 8, 16, True),
        ("delayed", 4, 16, False),
        ("current", 8, 24, False),
        ("blockwise", 128, 128, True),
        ("blockwise", 128, 192, False),
        ("mxfp8", 32, 96, True),
        ("mxfp8", 16, 96, False),
    ],
)
def test_sizes_of_products_in_fp8(name, tokens, features, fits):
    """Tokens by 8 and features by 16 for one scale a tensor, else whole blocks."""
    if fits:
        check_dimensions(RECIPES[name], tokens, [("ffn", features)])
        return
    with pytest.raises(ValueProblem, match=r"DS235.*do not divide by") as caught:
        check_dimensions(RECIPES[name], tokens, [("ffn", features)])
    assert str(caught.value.value) in str(caught.value)
