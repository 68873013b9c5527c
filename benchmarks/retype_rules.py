"""How each published table becomes scenarios: one rule a source, none a row."""

from __future__ import annotations

import re
from collections.abc import Callable

from retype_common import (
    LeftOut,
    Row,
    Source,
    Values,
    basics,
    from_rate,
    megatron,
    noted,
    number,
    overlapped_tensor,
    precision_of,
)
from retype_models import recomputed_flop, step_flop

#: DeepSpeed's pipeline engine, which MT-NLG, BLOOM and GPT-NeoX ran Megatron-LM's layers with.
PIPELINE = "deepspeed-pipeline-2022"


def left_out(reason: str) -> Callable[[Row], Values]:
    """Return a rule that states nothing of a source."""

    def rule(row: Row) -> Values:
        raise LeftOut(reason)

    return rule


def mt_nlg(row: Row) -> Values:
    """Megatron and DeepSpeed of 2021: a pipeline without interleaving."""
    out = basics(row, PIPELINE)
    return noted({**out, **printed(row)}, "ZeRO stage not stated, taken as 0")


def printed(row: Row) -> Values:
    """Return the printed rate beside the printed time."""
    return {"tflops_per_device": row["tflops_gpu"]} if row["tflops_gpu"] else {}


def megascale(row: Row) -> Values:
    """Megatron-LM beside MegaScale: virtual stages as the paper's section 6.1 has them."""
    parallel_block = row["framework"].endswith("+parallel transformer block")
    if "SWA" in row["model"] or row["other"] not in ("", "baseline", "+parallel transformer block"):
        raise LeftOut("size of the attention window not stated")
    out = basics(row, "megatron-2022", "dgx-a100-superpod")
    if parallel_block:
        out["model"]["parallel_block"] = True
    out |= {
        "plan.virtual_stages": 6 if out["plan.pp"] == 8 else 3,
        "plan.sequence_parallel": True,
        "plan.recompute": "selective",
        "plan.zero_stage": 1,
    }
    notes = "recomputation not stated, taken as selective"
    if row["iter_s"]:
        return noted(out, notes)
    share = float(row["mfu_pct"])
    rate = from_rate(step_flop(row), row, f"the printed MFU of {share:g}%", share / 100 * 312)
    return noted({**out, **rate}, notes)


def llama3(row: Row) -> Values:
    """Llama 3: chunks of one layer, the first and the last without one (section 3.3.2)."""
    out = basics(row, "megatron-core", "meta-24576xh100")
    chunks = [0, *[1] * 126, 0]
    flop = step_flop(row)
    rate = from_rate(flop, row, "the printed TFLOP/s, model FLOP with whole attention")
    if out.get("plan.cp", 1) > 1:
        out["plan.cp_mode"] = "all_gather"
    return {
        **out,
        **rate,
        "cluster.of": 24576,
        "plan.virtual_stages": 8,
        "plan.layers_per_stage": chunks,
        "plan.zero_stage": 3,
        "plan.reshard_after_forward": False,
        "plan.sequence_parallel": True,
    }


def bloom(row: Row) -> Values:
    """Megatron-DeepSpeed of BLOOM on Jean Zay; its partition of layers as DeepSpeed makes it."""
    if row["heads"] == "":
        raise LeftOut("attention heads not stated")
    if "slow node" in row["notes"]:
        raise LeftOut("with a slow node of unknown speed")
    out = basics(row, PIPELINE, "jean-zay-a100")
    if row["model"] != "BLOOM-176B":
        block = {"base": "bloom-176b"}
        block |= {key: number(row, key) for key in ("layers", "hidden", "heads", "vocab")}
        out["model"] = block
    pp, layers = out["plan.pp"], number(row, "layers")
    if "own pipeline slots" in row["notes"]:
        out["plan.first_stage_layers"] = out["plan.last_stage_layers"] = (layers + 2) // pp - 1
    elif layers % pp:
        each = -(-layers // pp)
        counts = [each] * (layers // each) + [layers % each]
        out["plan.layers_per_stage"] = counts + [0] * (pp - len(counts))
    out["plan.zero_stage"] = 1
    if row["iter_s"]:
        return noted({**out, **printed(row)}, section(row["notes"]))
    flop = recomputed_flop(row, number(row, "gbs"))
    what = "the printed TFLOP/s, equation 3 of Narayanan 2021"
    return {**out, **from_rate(flop, row, what)}


def section(notes: str) -> str:
    """Return where in a long page a row stands."""
    found = re.search(r'section "([^"]+)"', notes)
    return f"section {found[1]}" if found else notes.split(";")[0]


def palm(row: Row) -> Values:
    """One of PaLM's two pods, with its half of the batch.

    Each tensor-parallel rank holds the one head of keys and values, so the work of a rank is that
    of a model with as many of them as ranks.
    """
    out = basics({**row, "mbs": "4", "gbs": "1024", "gpus": "3072"}, "xla-tpu", "tpu-v4-3072")
    return {
        **out,
        **decomposed(out),
        "model": {"base": "palm-540b", "kv_heads": 12},
        "plan.zero_stage": 3,
        "plan.recompute": "full",
        "optimizer": "adafactor",
        "measured_s": float(f"{1024 * 2048 / (238300 / 1.95):.6g}"),
        "derived": True,
        "notes": "one of two pods: printed 238,300 tokens/s of both, 1.95 times those of one",
    }


def decomposed(out: Values) -> Values:
    """Return what XLA does with divided products on TPU: parts of them beside their exchanges."""
    tp, both = out["plan.tp"], ("plan.sequence_parallel", "plan.async_tensor")
    # PaLM's 12 ranks divide features, not tokens, between products, which a plan cannot say.
    whole = out["batch.sequence_length"] % tp == 0
    return dict.fromkeys(both, True) if tp > 1 and whole else {}


def opt(row: Row) -> Values:
    """metaseq: FSDP over groups of 8; 124 replicas of 8 sequences are the printed 2M tokens."""
    out = basics({**row, "mbs": "8", "gbs": "992"}, "megatron-2021", "dgx-a100-superpod")
    flop = recomputed_flop(row, 992)
    what = "the printed rate (the most that was reached), equation 3 of Narayanan 2021"
    return {
        **out,
        **from_rate(flop, row, what),
        "plan.zero_stage": 3,
        "plan.recompute": "full",
    }


def gpt_neox(row: Row) -> Values:
    """GPT-NeoX: 3.15M tokens a step, 1,536 sequences in whole micro batches."""
    out = basics({**row, "gbs": "1536"}, PIPELINE, "a100-40gb-4xhdr")
    flop = recomputed_flop(row, 1536)
    what = "the printed TFLOP/s, equation 3 of Narayanan 2021"
    return {
        **out,
        **from_rate(flop, row, what),
        "plan.zero_stage": 1,
        "plan.recompute": "full",
    }


def nemo(row: Row) -> Values:
    """NeMo on Megatron-Core: overlapped tensor parallelism in dense models."""
    if row["workload"] != "pretrain":
        raise LeftOut("fine-tuning: packed samples of unknown lengths, or frozen weights")
    if "version B" in row["source"]:
        raise LeftOut("a second version of the page, whose address is not known")
    out = overlapped_tensor(row, megatron(row))
    notes = ["recomputation not stated, taken as none"] if not row["recompute"] else []
    if row["model"].startswith("Nemotron-3-"):
        out["model"] |= {"positions": "rotary", "bias": False, "tied_embeddings": False}
    return noted(out, *notes)


def nemo_2024(row: Row) -> Values:
    """NeMo of mid 2024: FlashAttention 2."""
    return nemo(row) | {"stack": "nemo-2024"}


def dgxc(row: Row) -> Values:
    """NVIDIA's benchmark recipes: NeMo; JAX frameworks do not say what they recompute."""
    if "JAX" in row["framework"]:
        raise LeftOut("recomputation not stated, and there must be some")
    again = re.search(r"same number as (\S+) \(re-published\)", row["notes"])
    if again and again[1] in REPEATED:
        raise LeftOut("the same number in another release of this table")
    if "yaml say VP 12" in row["notes"]:
        row = {**row, "vp": "12"}
    out = nemo(row)
    if row["moe_experts"]:
        out["plan.etp"] = out["plan.tp"]
    return noted(out, "layers reduced" if "proxy" in row["notes"] else "")


#: Rows of a release that another release prints again.
REPEATED: set[str] = set()


def bridge(row: Row) -> Values:
    """Megatron-Bridge: experts are reached through DeepEP, except where tokens are dropped."""
    name = row["model"]
    if row["layers"] == "":
        raise LeftOut("dimensions of the model not published, or layers that are no attention")
    if name.startswith("DeepSeek") and "w/o MTP" not in row["other"]:
        raise LeftOut("predicts further tokens, which a model cannot say")
    out = nemo(row)
    out["precision"] = precision_of(row, fp8="current")
    release = re.search(r"container (\d\d)\.(\d\d)", row["url_or_path"])
    if release and (int(release[1]), int(release[2])) >= (26, 6):
        out["stack"] = "megatron-core-2026"
    if row["moe_experts"]:
        out["plan.expert_dispatch"] = "alltoall" if "tokendrop" in row["other"] else "deepep"
        if out["plan.tp"] > 1:
            out["plan.etp"] = 1
    return out


def megatron_lm(row: Row) -> Values:
    """Examples of Megatron-LM's own pages."""
    return noted(overlapped_tensor(row, megatron(row)), "recomputation not stated, taken as none")


def golden(row: Row) -> Values:
    """Megatron-LM's own tests: options as their configuration has them."""
    if row["vocab"] == "":
        raise LeftOut("size of the vocabulary not stated")
    fused = {
        "weight_gradient_accumulation": "no-gradient-accumulation-fusion" not in row["other"],
        "cross_entropy": "cross-entropy-loss-fusion" in row["other"],
    }
    stack = {"profile": "megatron-core", "fused": fused}
    out = megatron({**row, "ffn": str(4 * int(row["hidden"]))}, stack)
    out["model"]["tied_embeddings"] = False
    return noted(out, "deterministic kernels")


def mlperf(row: Row) -> Values:
    """State the GPT-3 entry of MLPerf: layout of NeMo's table of the same system."""
    return noted(overlapped_tensor(row, megatron(row)), "layout from NeMo's table of 24.07")


def internevo(row: Row) -> Values:
    """InternEvo: sequences from micro batches and accumulation; states sharded inside groups."""
    steps = 1 if "micro_num 1" in row["notes"] or row["notes"] == "smaller batch variant" else 4
    size = number(row, "mbs") * steps * number(row, "dp")
    if steps == 4 and row["gbs"] == "" and size * 2048 > 2**22:
        raise LeftOut("global batch at that scale not stated")
    out = basics({**row, "gbs": row["gbs"] or str(size)}, "internevo-2023", "a100-4x100g-roce")
    if number(row, "layers") % out["plan.pp"]:
        raise LeftOut("division of layers not stated")
    out["model"] |= {"qkv_bias": True, "out_bias": True}
    out["plan.zero_stage"] = 3 if row["zero_fsdp"] == "FSDP" else 1
    group = re.search(r"within (\d+)", row["zero_fsdp"])
    if group:
        out["plan.dp_replicas"] = max(number(row, "dp") // int(group[1]), 1)
    if out["plan.tp"] > 1:
        out["plan.sequence_parallel"] = True
    time = number(row, "mbs") * steps * 2048 / out["plan.tp"] / float(row["tokens_s_gpu"])
    note = f"time from the printed {row['tokens_s_gpu']} tokens/s a device"
    return {**out, "measured_s": float(f"{time:.6g}"), "derived": True, "notes": note}


def torchtitan(row: Row) -> Values:
    """torchtitan: FSDP2, tensor parallelism beside its exchanges where the row says async.

    Its report of 2024 says that runs are eager unless a row says torch.compile; the loss was not
    compiled before 2025. That is not printed: only with the copies of its logits in fp32 does the
    memory of the calibration rows come out, the longest of which have 17 GB each.
    """
    apart = [] if row["date"] >= "2025" else ["cross_entropy"]
    if "torch.compile" not in row["other"]:
        apart = ["cross_entropy", "rms_norm", "rotary", "gated_activation"]
    stack = {"profile": "torchtitan", "fused": dict.fromkeys(apart, False)}
    out = basics(row, stack if apart else "torchtitan", "dgx-h100-superpod")
    out["cluster.device"] = "h100-96gb-hbm2e"
    if row["recompute"].startswith("selective ("):  # by operator, of which every other one
        out["plan.recompute"] = "alternate"
    out["plan.zero_stage"] = 3
    if out["plan.tp"] > 1:
        out["plan.sequence_parallel"] = True
        if "async TP" in row["other"]:
            out["plan.async_tensor"] = True
    return noted(out, row["other"])


def maxtext(row: Row) -> Values:
    """MaxText on one slice: batch of a device times devices, FSDP beside tensor parallelism."""
    if row["gpu"].startswith("H100"):
        raise LeftOut("batch and sequence not stated")
    slices = re.search(r"(\d+) slice", row["notes"])
    if slices is None or slices[1] != "1":
        raise LeftOut("slices joined by a network of the data centre, which no topology says")
    topology = MAXTEXT_SLICES[row["gpu"], number(row, "gpus")]
    micro = number(row, "gbs") // number(row, "dp")
    out = basics({**row, "mbs": str(micro)}, "xla-tpu", topology)
    saved = {"minimal": "selective", "full": "full", "qkv_proj_offloaded": "full"}
    share, peak = float(row["mfu_pct"]), PEAKS[row["gpu"]]
    rate = from_rate(step_flop(row), row, f"the printed MFU of {share:g}%", share / 100 * peak)
    out |= {"plan.zero_stage": 3, "plan.recompute": saved[row["recompute"]], **rate}
    out |= decomposed(out)
    return noted(out, f"rematerialization policy {row['recompute']}")


#: 10^12 FLOP/s of bf16, as MaxText's tables take them.
PEAKS = {"TPU v4": 275.0, "TPU v5e": 197.0, "TPU v5p": 459.0}
MAXTEXT_SLICES = {
    ("TPU v5e", 256): "tpu-v5e-pod",
    ("TPU v5p", 64): "tpu-v5p-64",
    ("TPU v5p", 256): "tpu-v5p-256",
    ("TPU v5p", 512): "tpu-v5p-512",
}


def upgrade(row: Row) -> Values:
    """Llama 3.1 8B by DeepSpeed on one node: model FLOP, half of the scores."""
    out = basics(row, "pytorch-fsdp")
    kernel = "flash-4" if row["gpu"].startswith("B200") else "flash-3"
    out["stack"] = {"profile": "pytorch-fsdp", "attention_kernel": kernel}
    flop = step_flop(row, causal=True)
    rate = from_rate(flop, row, "the printed TFLOP/s, model FLOP with half of the scores")
    out["plan.zero_stage"] = 2 if row["zero_fsdp"].startswith("ZeRO-2") else 3
    if "offloaded" in row["zero_fsdp"]:
        out["plan.offload"] = {"optimizer": "cpu"}
    return {**out, **rate}


NO_LAYOUT = left_out("layout not stated")
SOURCES = (
    Source("mt-nlg", "mt-nlg-2022", mt_nlg),
    Source("megascale-t2", "megascale-2024-table2", megascale),
    Source("megascale-t3", "megascale-2024-table3", megascale),
    Source("megascale-f9", "", left_out("global batch not stated"), "MegaScale 2024, figure 9"),
    Source("llama3-herd", "llama3-2024", llama3),
    Source("bloom-176b", "bloom-2022", bloom),
    Source("bloom-prequel", "bloom-2022-search", bloom),
    Source("gpt-neox-20b", "gpt-neox-2022", gpt_neox),
    Source("opt-175b", "opt-2022", opt),
    Source("palm-540b", "palm-2022", palm),
    Source("nemo-longseq", "nemo-2024-long", nemo_2024),
    Source("nemo-24.07", "nemo-2024", nemo_2024),
    Source("mlperf-gpt3", "mlperf-2024", mlperf),
    Source("dgxc-v24.11.1", "dgxc-24.11", dgxc),
    Source("dgxc-v25.02.02", "dgxc-25.02", dgxc),
    Source("dgxc-v25.04.02", "dgxc-25.04", dgxc),
    Source("dgxc-logs", "dgxc-logs", bridge),
    Source("megatron-bridge", "megatron-bridge", bridge),
    Source("mlm-llama-readme", "megatron-lm-llama", megatron_lm),
    Source("mlm-golden", "megatron-lm-tests", golden),
    Source("internevo", "internevo-2024", internevo),
    Source("torchtitan", "torchtitan-2024", torchtitan),
    Source("maxtext", "maxtext", maxtext),
    Source("stas00-upgrade", "gpu-upgrade-2026", upgrade),
    Source("maxtext-tiering", "", NO_LAYOUT, "MaxText, table of models by tier"),
    Source("mlm-jan2021", "", left_out("micro batch not stated"), "Megatron-LM, January 2021"),
    Source("mlm-readme-gpt3", "", left_out("micro batch not stated"), "Megatron-LM, example"),
    Source("mcore-h100-strong", "", NO_LAYOUT, "Megatron-Core, strong scaling"),
    Source("megatron-llama", "", NO_LAYOUT, "Megatron-LLaMA"),
    Source("fsdp-paper", "", left_out("lower bounds of a rate"), "Zhao 2023, section 5.4"),
    Source("bloomberggpt", "", left_out("micro batch not stated"), "BloombergGPT"),
    Source("glm-130b", "", left_out("micro batch not stated"), "GLM-130B"),
    Source("pythia", "", NO_LAYOUT, "Pythia"),
    Source("llama-65b", "", NO_LAYOUT, "LLaMA 65B"),
    Source("llama2-gpuh", "", NO_LAYOUT, "Llama 2, hours of devices"),
    Source("deepseek-v3", "", left_out("mean over a whole training"), "DeepSeek-V3"),
    Source("gopher-280b", "", left_out("no device profile of TPU v3"), "Gopher"),
    Source("aws-trn1", "", left_out("no device profile of Trainium 1"), "AWS Neuron, Trn1"),
    Source("simumax-a100pcie-chart", "", left_out("read from a chart"), "SimuMax, A100 PCIe"),
)
