"""Traces of PyTorch's profiler, and operator timings."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from distsim.errors import DistsimError
from distsim.study.calibration.measurements import Readings
from distsim.study.calibration.readers import read_all, read_any
from tests.calibration_logs import cpu_op, device_kernel

BF16, FP32, HALF = "c10::BFloat16", "float", "c10::Half"


def read(tmp_path: Path, data: object, name: str = "trace.json") -> Readings:
    file = tmp_path / name
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return read_any(file)


def trace(*events: dict[str, Any], **head: Any) -> dict[str, Any]:
    return {"schemaVersion": 1, **head, "traceEvents": list(events)}


def one(tmp_path: Path, *events: dict[str, Any]) -> Any:
    found = read(tmp_path, trace(*events))
    assert len(found.kernels) == 1
    return found.kernels[0]


@pytest.mark.parametrize(
    ("name", "dims", "strides", "expected"),
    [
        # torch.mm(A, B) of 8 x 32 and 32 x 16; B is a weight of 16 x 32, transposed.
        ("aten::mm", [[8, 32], [32, 16]], [[32, 1], [1, 32]], (1, 8, 16, 32, "tn")),
        ("aten::mm", [[8, 32], [32, 16]], [[32, 1], [16, 1]], (1, 8, 16, 32, "nn")),
        ("aten::mm", [[8, 32], [32, 16]], [[1, 8], [16, 1]], (1, 8, 16, 32, "nt")),
        ("aten::mm", [[8, 32], [32, 16]], None, (1, 8, 16, 32, None)),
        ("aten::addmm", [[16], [8, 32], [32, 16], [], []], None, (1, 8, 16, 32, None)),
        ("aten::bmm", [[4, 8, 32], [4, 32, 16]], None, (4, 8, 16, 32, None)),
        ("aten::baddbmm", [[4, 8, 16], [4, 8, 32], [4, 32, 16]], None, (4, 8, 16, 32, None)),
        ("aten::linear", [[2, 4, 32], [16, 32], [16]], None, (1, 8, 16, 32, "tn")),
        ("aten::matmul", [[2, 4, 32], [32, 16]], None, (1, 8, 16, 32, None)),
        ("aten::matmul", [[2, 3, 8, 32], [2, 3, 32, 16]], None, (6, 8, 16, 32, None)),
    ],
)
def test_products(
    tmp_path: Path, name: str, dims: list[Any], strides: Any, expected: tuple[Any, ...]
) -> None:
    args = {} if strides is None else {"Input Strides": strides}
    kernel = one(
        tmp_path,
        cpu_op(5, name, dims, BF16, **args),
        device_kernel(5, "sm90_gemm", 12.5),
    )
    assert kernel.kind == "gemm" and kernel.time_s == pytest.approx(12.5e-6)
    shape = kernel.shape
    found = (*(shape[key] for key in ("batch", "m", "n", "k")), shape.get("layout"))
    assert found == expected and shape["dtype"] == "bf16"


def test_all_kernels_of_a_call_count_and_the_median_of_calls(tmp_path: Path) -> None:
    """Split-K: a product and a reduction. Three calls of 10 + 2, 20 + 2 and 90 + 2 us."""
    events = []
    for key, time in enumerate((10, 20, 90)):
        events += [
            cpu_op(key, "aten::mm", [[8, 32], [32, 16]], FP32),
            device_kernel(key, "ampere_sgemm_splitk", time),
            device_kernel(key, "splitKreduce", 2),
        ]
    kernel = one(tmp_path, *events)
    assert (kernel.time_s, kernel.samples) == (pytest.approx(22e-6), 3)
    assert kernel.shape["dtype"] == "fp32"


def test_tf32_is_in_the_name_of_the_kernel(tmp_path: Path) -> None:
    op = cpu_op(5, "aten::mm", [[8, 32], [32, 16]], FP32)
    kernel = one(tmp_path, op, device_kernel(5, "cutlass_80_tensorop_s1688gemm_TF32_128", 1))
    assert kernel.shape["dtype"] == "tf32"


def test_a_kernel_finds_its_operator_by_its_launch(tmp_path: Path) -> None:
    kernel = device_kernel(5, "gemm", 3.0)
    del kernel["args"]["External id"]
    launch = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 1, "dur": 2,
              "args": {"External id": 5, "correlation": 1005}}  # fmt: skip
    op = cpu_op(5, "aten::mm", [[8, 32], [32, 16]], HALF)
    assert one(tmp_path, op, kernel, launch).shape["dtype"] == "fp16"


def sdpa(name: str, q: list[int], k: list[int], before: int, causal_at: int, causal: str) -> Any:
    """Return an operator with `before` tensors before its queries."""
    dims: list[Any] = [q] * before + [q, k, k]
    dims += [[]] * (causal_at + 1 - len(dims))
    values = [""] * causal_at + [causal]
    return cpu_op(5, name, dims, BF16, **{"Concrete Inputs": values})


@pytest.mark.parametrize(
    ("op", "causal", "direction"),
    [
        (
            sdpa("aten::_scaled_dot_product_flash_attention", [2, 16, 512, 64], [2, 4, 512, 64],
                 0, 4, "True"), True, "forward",
        ),
        (
            sdpa("aten::_scaled_dot_product_cudnn_attention_backward", [2, 16, 512, 64],
                 [2, 4, 512, 64], 1, 14, "False"), False, "backward",
        ),
        (
            sdpa("aten::_flash_attention_forward", [2, 512, 16, 64], [2, 512, 4, 64], 0, 8, "True"),
            True, "forward",
        ),
        (
            sdpa("aten::_efficient_attention_backward", [2, 512, 16, 64], [2, 512, 4, 64],
                 1, 14, "1"), True, "backward",
        ),
    ],
)  # fmt: skip
def test_attention(tmp_path: Path, op: Any, causal: bool, direction: str) -> None:
    kernel = one(tmp_path, op, device_kernel(5, "flash_fwd", 40))
    assert kernel.kind == "attention"
    assert dict(kernel.shape) == {
        "batch": 2,
        "heads": 16,
        "kv_heads": 4,
        "sequence": 512,
        "head_dim": 64,
        "causal": causal,
        "direction": direction,
        "dtype": "bf16",
        "fused": True,
    }


@pytest.mark.parametrize(
    ("k", "causal"), [([2, 16, 77, 64], "True"), ([2, 16, 512, 64], "perhaps")]
)
def test_attention_that_is_not_known_enough_is_counted(
    tmp_path: Path, k: list[int], causal: str
) -> None:
    name = "aten::_scaled_dot_product_flash_attention"
    known = cpu_op(6, "aten::mm", [[8, 32], [32, 16]], BF16)
    found = read(
        tmp_path,
        trace(
            sdpa(name, [2, 16, 512, 64], k, 0, 4, causal),
            device_kernel(5, "flash", 30),
            known,
            device_kernel(6, "gemm", 10),
        ),
    )
    assert [kernel.kind for kernel in found.kernels] == ["gemm"]
    assert any("1 kernels (75% of their time)" in n and f"{name} (1)" in n for n in found.notes)


@pytest.mark.parametrize(
    ("name", "dims", "op", "moved"),
    [
        # Elements of 2 bytes: reads and writes, each array once.
        ("aten::add", [[100, 10], [100, 10], []], "add", 3 * 2000),
        ("aten::add_", [[100, 10], [10], []], "add", 2000 + 20 + 2000),
        ("aten::copy_", [[100, 10], [100, 10], []], "copy", 2 * 2000),
        ("aten::gelu", [[100, 10]], "gelu", 2 * 2000),
        ("aten::gelu_backward", [[100, 10], [100, 10]], "gelu_backward", 3 * 2000),
        ("aten::_softmax", [[100, 10], [], []], "softmax", 2 * 2000),
        ("aten::native_dropout", [[100, 10], [], []], "dropout", 2 * 2000 + 1000),
        ("aten::native_layer_norm", [[100, 10], [], [10], [10]], "layer_norm", 4000 + 40),
        ("aten::zero_", [[100, 10]], "fill", 2000),
    ],
)
def test_what_is_bound_by_memory(
    tmp_path: Path, name: str, dims: list[Any], op: str, moved: int
) -> None:
    kernel = one(tmp_path, cpu_op(5, name, dims, HALF), device_kernel(5, "elementwise", 4))
    assert kernel.kind == "memory"
    assert dict(kernel.shape) == {"op": op, "moved_bytes": moved, "dtype": "fp16"}


def test_a_copy_between_types_moves_both(tmp_path: Path) -> None:
    op = cpu_op(5, "aten::copy_", [[100], [100]], FP32)
    op["args"]["Input type"] = [BF16, FP32]
    kernel = one(tmp_path, op, device_kernel(5, "elementwise", 4))
    assert kernel.shape["moved_bytes"] == 100 * 2 + 100 * 4


def nccl(name: str, time: float, elements: int, out: int, ranks: int = 8, **args: Any) -> Any:
    said = {"Collective name": name, "In msg nelems": elements, "Out msg nelems": out,
            "dtype": "BFloat16", "Group size": ranks, **args}  # fmt: skip
    return device_kernel(99, "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", time, **said)


@pytest.mark.parametrize(
    ("name", "elements", "out", "op", "size"),
    [
        ("allreduce", 1000, 1000, "all_reduce", 2000),
        ("_allgather_base", 1000, 8000, "all_gather", 16000),
        ("all_gather_into_tensor", 1000, 8000, "all_gather", 16000),
        ("_reduce_scatter_base", 8000, 1000, "reduce_scatter", 16000),
        ("reduce_scatter_tensor_coalesced", 8000, 1000, "reduce_scatter", 16000),
        ("broadcast", 1000, 1000, "broadcast", 2000),
        ("all_to_all", 8000, 8000, "alltoall", 16000),
    ],
)
def test_collectives_of_nccl(
    tmp_path: Path, name: str, elements: int, out: int, op: str, size: int
) -> None:
    found = read(tmp_path, trace(nccl(name, 50, elements, out)))
    (time,) = found.collectives
    assert (time.op, time.size_bytes, time.ranks, time.nodes) == (op, size, 8, None)
    assert time.time_s == pytest.approx(50e-6)


def test_collectives_that_waited_count_least(tmp_path: Path) -> None:
    events = [nccl("allreduce", 50 + 10 * i, 1000, 1000) for i in range(11)]
    found = read(tmp_path, trace(*events))
    assert found.collectives[0].time_s == pytest.approx(60e-6)  # of 50, 60, .. 150
    assert found.collectives[0].samples == 11
    assert any("wait for other ranks" in note for note in found.notes)


def test_nodes_follow_from_the_ranks_of_a_group(tmp_path: Path) -> None:
    event = nccl("allreduce", 50, 10, 10, 4, **{"Process Group Ranks": "[0, 1, 8, 9]"})
    found = read(tmp_path, trace(event, deviceProperties=[{"id": i} for i in range(8)]))
    assert found.collectives[0].nodes == 2


def test_what_is_unknown_is_counted_by_name(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        trace(
            cpu_op(1, "aten::mm", [[8, 32], [32, 16]], BF16),
            device_kernel(1, "gemm", 10),
            *[device_kernel(50 + i, "my_fused_kernel", 5) for i in range(3)],
            nccl("send", 5, 100, 100, 2),
            cpu_op(2, "aten::mm", [[8, 32], [31, 16]], BF16),
            device_kernel(2, "gemm", 10),
        ),
    )
    assert len(found.kernels) == 1
    (note,) = [note for note in found.notes if "no known operator" in note]
    assert "5 kernels" in note and "my_fused_kernel (3)" in note
    assert "send (1)" in note and "aten::mm (1)" in note


def test_without_shapes_a_note_says_how_to_get_them(tmp_path: Path) -> None:
    op = cpu_op(1, "aten::mm", [], BF16)
    del op["args"]["Input Dims"]
    found = read(tmp_path, trace(op, device_kernel(1, "gemm", 10), nccl("allreduce", 5, 100, 100)))
    assert any("record_shapes=True" in note for note in found.notes)
    with pytest.raises(DistsimError, match="record_shapes=True") as caught:
        read(tmp_path, trace(op, device_kernel(1, "gemm", 10)))
    assert caught.value.code == "DS632"


def test_a_trace_of_a_cpu_takes_its_operators(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        trace(
            cpu_op(1, "aten::linear", [[8, 32], [16, 32]], FP32),
            cpu_op(2, "aten::addmm", [[16], [8, 32], [32, 16]], FP32),
        ),
    )
    assert [k.time_s for k in found.kernels] == [pytest.approx(7e-6)]


def steps(*times: float) -> list[dict[str, Any]]:
    return [
        {"ph": "X", "cat": "user_annotation", "name": f"ProfilerStep#{i}", "ts": i, "dur": 1e6 * t}
        for i, t in enumerate(times)
    ]


SCENARIO = """\
cluster: {topology: dgx-a100}
model: gpt2-xl
batch: {global_size: 8}
plan: {zero_stage: 1}
"""


def test_step_times_where_a_scenario_is_beside(tmp_path: Path) -> None:
    events = (*steps(9.0, 2.0, 2.1, 2.2), nccl("allreduce", 5, 100, 100))
    head = {"distributedInfo": {"rank": 0, "world_size": 8}}
    found = read(tmp_path, trace(*events, **head))
    assert found.step_times == () and any("4 steps are left out" in n for n in found.notes)
    (tmp_path / "trace.yaml").write_text(SCENARIO)
    step = read(tmp_path, trace(*events, **head)).step_times[0]
    assert step.time_s == pytest.approx(2.1) and step.samples == 3
    assert step.scenario["cluster"] == {"topology": "dgx-a100", "devices": 8}
    # A scenario that is wrong takes nothing from the kernels.
    (tmp_path / "trace.yaml").write_text(SCENARIO.replace("gpt2-xl", "gpt9"))
    found = read(tmp_path, trace(*events, **head))
    assert found.step_times == () and len(found.collectives) == 1
    assert "DS222" in found.rejected[0].reason
    (tmp_path / "trace.yaml").write_text("a: [")
    assert any("DS110" in note for note in read(tmp_path, trace(*events, **head)).notes)


def test_compressed_and_as_a_list(tmp_path: Path) -> None:
    events = [cpu_op(1, "aten::mm", [[8, 32], [32, 16]], BF16), device_kernel(1, "gemm", 10)]
    assert len(read(tmp_path, trace(*events), "t.json.gz").kernels) == 1
    assert len(read(tmp_path, events).kernels) == 1


def test_a_trace_that_is_cut_off_is_one_error_and_other_files_are_read(tmp_path: Path) -> None:
    whole = json.dumps(
        trace(cpu_op(1, "aten::mm", [[8, 32], [32, 16]], BF16), device_kernel(1, "gemm", 10)),
        indent=1,
    )
    cut, good = tmp_path / "cut.json", tmp_path / "good.json"
    cut.write_text(whole[:-40])
    good.write_text(whole)
    found, errors = read_all([cut, tmp_path / "none.json", good])
    assert len(found.kernels) == 1
    assert [error.code for error in errors] == ["DS634", "DS101"]
    place = errors[0].place
    assert place is not None and place.file == str(cut)
    assert place.line == whole[:-40].rstrip().count("\n") + 1
    assert "ends before it is whole" in errors[0].message
    for end in range(len(whole) // 2, len(whole) - 1):
        with pytest.raises(DistsimError, match=r"ends before it is whole|is not JSON"):
            read(tmp_path, whole[:end].encode())
    with pytest.raises(DistsimError, match="ends before it is whole"):
        read(tmp_path, whole[: whole.rindex("]")].encode())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"traceEvents": 5}', "DS634"),
        (b'{"traceEvents": []}', "DS632"),
        (b'{"traceEvents": [1, null, {"ph": "X", "dur": "x"}]}', "DS632"),
        (b'{"traceEvents": ' + b"[" * 5000, "DS634"),
        (b'{"ph": ' + b"9" * 5000 + b"}", "DS634"),
        (b'{"format": "distsim-timings/1", "timings": {}}', "DS634"),
        (b'{"format": "distsim-timings/1", "timings": [', "DS634"),
        (b'{"other": 1}', "DS631"),
        (b"hello\n", "DS631"),
        (b"\n \n", "DS106"),
        (b"\x1f\x8b\x08\x00garbage", "DS634"),
    ],
)
def test_what_cannot_be_used_is_one_error(tmp_path: Path, raw: bytes, code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        read(tmp_path, raw)
    error = caught.value
    assert error.code == code and error.place is not None and error.rule and error.fix


def test_a_compressed_file_that_is_cut_off_is_read_so_far(tmp_path: Path) -> None:
    lines = "".join(
        f"steps: {i} loss: 7.9 iter time (s): 3.5 samples/sec: 1.0\n" for i in range(3000)
    )
    (tmp_path / "log.gz").write_bytes(gzip.compress(lines.encode())[:-200])
    (tmp_path / "log.yaml").write_text(SCENARIO + "name: x\n")
    scenario = {"cluster": {"topology": "dgx-a100", "devices": 8}, "model": "gpt2-xl",
                "batch": {"global_size": 8}}  # fmt: skip
    found = read_any(tmp_path / "log.gz", scenario)
    assert found.step_times[0].time_s == 3.5
    assert any("cut off" in note for note in found.notes)


# Operator timings

GEMM = {"kind": "gemm", "time_s": 1e-4, "low_s": 0.9e-4, "high_s": 1.2e-4, "repeats": 30,
        "batch": 1, "m": 128, "n": 256, "k": 512, "dtype": "bf16", "layout": "tn"}  # fmt: skip


def timings(*items: Any, **head: Any) -> dict[str, Any]:
    return {"format": "distsim-timings/1", "date": "2026-01-02", "device": {"name": "H100"},
            "versions": {"torch": "2.9.0"}, "timings": list(items), **head}  # fmt: skip


def test_timings_of_all_kinds(tmp_path: Path) -> None:
    collective = {"kind": "collective", "time_s": 1e-3, "op": "alltoall", "size_bytes": 1e6,
                  "ranks": 8, "nodes": 2, "dtype": "bf16", "backend": "nccl"}  # fmt: skip
    memory = {"kind": "memory", "time_s": 1e-5, "op": "gelu", "moved_bytes": 4096, "dtype": "fp16"}
    launch = {"kind": "launch", "time_s": 2e-6, "op": "empty_kernel"}
    found = read(tmp_path, timings(GEMM, memory, launch, collective))
    gemm = found.kernels[0]
    assert (gemm.kind, gemm.time_s, gemm.samples) == ("gemm", 1e-4, 30)
    assert gemm.shape == {
        "batch": 1, "m": 128, "n": 256, "k": 512, "dtype": "bf16", "layout": "tn"
    }  # fmt: skip
    assert [kernel.kind for kernel in found.kernels] == ["gemm", "memory", "launch"]
    (time,) = found.collectives
    assert (time.op, time.size_bytes, time.ranks, time.nodes) == ("alltoall", 1e6, 8, 2)
    assert any("H100, torch 2.9.0, 2026-01-02" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"time_s": 0}, "gemm in 0 s"),
        ({"time_s": float("nan")}, "gemm in nan s"),
        ({"time_s": "1e-4"}, "gemm in '1e-4' s"),
        ({"m": 0}, "gemm with m 0"),
        ({"m": True}, "gemm with m True"),
        ({"dtype": None}, "gemm with dtype None"),
        ({"kind": "sorting"}, "'sorting' is none of"),
        ({"kind": ["gemm"]}, "is none of"),
    ],
)
def test_a_bad_timing_is_left_out_by_its_number(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    found = read(tmp_path, timings(GEMM, GEMM | change))
    assert len(found.kernels) == 1
    assert found.rejected[0].reason.startswith("timings[1]: ") and why in found.rejected[0].reason


def test_another_version_is_read_as_far_as_it_is_understood(tmp_path: Path) -> None:
    found = read(tmp_path, timings(GEMM, {"kind": "new"}, format="distsim-timings/7", extra=1))
    assert len(found.kernels) == 1
    assert any("distsim-timings/7" in note for note in found.notes)
