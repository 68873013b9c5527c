"""Made-up logs, tables and traces for the tests of their readers, as the tools print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Arguments of a made-up 8B-like model on 64 devices: tp 8, pp 2, so dp 4.
ARGUMENTS: Mapping[str, object] = {
    "world_size": 64,
    "tensor_model_parallel_size": 8,
    "pipeline_model_parallel_size": 2,
    "context_parallel_size": 1,
    "num_layers_per_virtual_pipeline_stage": 4,
    "micro_batch_size": 1,
    "global_batch_size": 512,
    "seq_length": 4096,
    "max_position_embeddings": 4096,
    "num_layers": 32,
    "hidden_size": 4096,
    "ffn_hidden_size": 14336,
    "num_attention_heads": 32,
    "group_query_attention": True,
    "num_query_groups": 8,
    "kv_channels": 128,
    "swiglu": True,
    "normalization": "RMSNorm",
    "position_embedding_type": "rope",
    "padded_vocab_size": 128256,
    "add_bias_linear": False,
    "untie_embeddings_and_output_weights": True,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "bf16": True,
    "fp16": False,
    "accumulate_allreduce_grads_in_fp32": True,
    "sequence_parallel": True,
    "recompute_granularity": None,
    "use_distributed_optimizer": True,
    "overlap_grad_reduce": True,
    "optimizer": "adam",
}
CLUSTER = "cluster: {topology: dgx-h100-superpod}\n"


def megatron_line(iteration: int, time_ms: object, batch: int = 512, **also: object) -> str:
    """Return the line of an iteration."""
    fields = {
        "consumed samples": f"{iteration * batch:12d}",
        "elapsed time per iteration (ms)": time_ms,
        "throughput per GPU (TFLOP/s/GPU)": "412.3",
        "learning rate": "1.000000E-05",
        "global batch size": f"{batch:5d}",
        "lm loss": "8.123456E+00",
        "loss scale": "1.0",
        "grad norm": "1.234",
        "number of skipped iterations": "  0",
        "number of nan iterations": "  0",
        **{name.replace("_", " "): value for name, value in also.items()},
    }
    body = " | ".join(f"{name}: {value}" for name, value in fields.items())
    return f" [2025-01-02 03:04:05.678901] iteration {iteration:8d}/  100000 | {body} |"


def megatron_arguments(**changes: object) -> list[str]:
    """Return the block that rank 0 prints."""
    values = {**ARGUMENTS, **changes}
    return [
        "------------------------ arguments ------------------------",
        *(f"  {name} {'.' * (48 - len(name))} {value}" for name, value in sorted(values.items())),
        "-------------------- end of arguments ---------------------",
    ]


def megatron(times_ms: Sequence[object], first: int = 1, **changes: object) -> str:
    """Return a log of one run."""
    lines = [megatron_line(first + i, time) for i, time in enumerate(times_ms)]
    return "\n".join([*megatron_arguments(**changes), *lines]) + "\n"


def settled(middle_ms: float, n: int = 20) -> list[str]:
    """Return times of a run: three slow ones, then `middle_ms` and a little on both sides."""
    steady = [middle_ms + (-1.0, 0.0, 1.0)[i % 3] for i in range(n - 3)]
    return [f"{time:.1f}" for time in (9 * middle_ms, 2 * middle_ms, 1.5 * middle_ms, *steady)]


def torchtitan_line(step: int, tps: str) -> str:
    """Return the line of a step."""
    return (
        f"[titan] 2025-01-02 03:04:05,678 - root - INFO - step: {step:2d}  loss:  8.1234  "
        f"grad_norm:  1.2345  memory: 45.67GiB(57.68%)  tps: {tps}  tflops: 333.74  mfu: 33.75%"
    )


def nccl_run(name: str, ranks: int, hosts: int, rows: Sequence[tuple[int, str]]) -> str:
    """Return the output of a benchmark; rows are bytes and microseconds."""
    each = ranks // hosts
    lines = [f"# nThread 1 nGpus 1 minBytes 8 maxBytes 8 step: 2(factor) # {name}_perf"]
    lines += [
        f"#  Rank {r:2d} Group  0 Pid {300 + r:6d} on host-{r // each} device {r % each:2d} "
        "[0x18] NVIDIA H100 80GB HBM3"
        for r in range(ranks)
    ]
    lines.append(
        "#       size         count      type   redop    root     time   algbw   busbw #wrong"
    )
    for size, time_us in rows:
        lines.append(
            f"{size:12d} {size // 4:12d}     float     sum      -1 {time_us:>8} {1.0:7.2f} "
            f"{bus(name, ranks):7.2f}      0 {time_us:>8} {1.0:7.2f} {bus(name, ranks):7.2f}      0"
        )
    return (
        "\n".join([*lines, "# Out of bounds values : 0 OK", "# Avg bus bandwidth    : 1.0"]) + "\n"
    )


def bus(name: str, ranks: int) -> float:
    """Return bus over algorithm bandwidth (nccl-tests, doc/PERFORMANCE.md)."""
    return (
        {"all_reduce": 2.0, "broadcast": ranks / (ranks - 1), "sendrecv": ranks / (ranks - 1)}.get(
            name, 1.0
        )
        * (ranks - 1)
        / ranks
    )


def cpu_op(key: int, name: str, dims: list[Any], kind: str, **args: Any) -> dict[str, Any]:
    """Return the event of an operator whose tensors are all of one type."""
    types = [kind if dims_ else "Scalar" for dims_ in dims]
    said = {"External id": key, "Input Dims": dims, "Input type": types, **args}
    return {"ph": "X", "cat": "cpu_op", "name": name, "ts": key, "dur": 7, "pid": 1, "tid": 1,
            "args": said}  # fmt: skip


def device_kernel(key: int, name: str, dur: float, **args: Any) -> dict[str, Any]:
    """Return the event of a kernel that an operator launched."""
    said = {"External id": key, "correlation": 1000 + key, "stream": 7, **args}
    return {"ph": "X", "cat": "kernel", "name": name, "ts": key, "dur": dur, "pid": 0, "tid": 7,
            "args": said}  # fmt: skip
