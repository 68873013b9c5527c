"""Models of published runs: names of the catalogue, or blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, str]

#: What sources call models that the catalogue has.
CATALOGUE = {
    "Llama-2-7B": "llama2-7b",
    "Llama-2-13B": "llama2-13b",
    "Llama-2-70B": "llama2-70b",
    "Llama-3-8B": "llama3-8b",
    "Llama-3-70B": "llama3-70b",
    "Llama-3.1-405B": "llama3-405b",
    "GPT-OSS-120B": "gpt-oss-120b",
    "Qwen3-30B-A3B": "qwen3-30b-a3b",
    "Qwen3-235B-A22B": "qwen3-235b-a22b",
    "DeepSeek-V3-671B": "deepseek-v3",
    "GPT-3-175B": "megatron-175b",
    "GPT-NeoX-20B": "gpt-neox-20b",
    "OPT-175B": "opt-175b",
    "PaLM-540B": "palm-540b",
    "BLOOM-176B": "bloom-176b",
    "MT-NLG 530B": "megatron-530b",
    "Nemotron-4-15B": "nemotron-4-15b",
    "Nemotron-4-340B": "nemotron-4-340b",
}
#: Tokens of a sequence beyond which a model of the catalogue is stated with more positions.
POSITIONS = {"llama2": 4096, "llama3-8b": 8192, "llama3-70b": 8192, "nemotron": 4096}
#: Matrices and shapes are those of these activations; the functions differ by a few operations.
ACTIVATIONS = {"squared_relu": "gelu", "relu": "gelu", "geglu": "swiglu"}


#: Kimi Team 2025, arXiv 2507.20534, Table 2: DeepSeek-V3 with more experts and fewer heads.
_KIMI = {
    "base": "deepseek-v3",
    "heads": 64,
    "kv_heads": 64,
    "dense_layers": 1,
    "experts": 384,
    "routing_groups": 0,
    "routing_groups_per_token": 0,
    "vocab": 163840,
}


def model_of(row: Row) -> str | dict[str, Any]:
    """Return the model of a run; reduced and changed ones by their base."""
    name = row["model"]
    if name.startswith("Grok-1"):
        return _grok(row)
    if name == "Kimi-K2":
        return dict(_KIMI)
    if name not in CATALOGUE:
        return _inline(row)
    base = CATALOGUE[name]
    changes: dict[str, Any] = {}
    if name == "Llama-3.1-405B":
        for key, stated, usual in (("layers", "layers", 126), ("kv_heads", "kv_heads", 8)):
            if int(row[stated]) != usual:
                changes[key] = int(row[stated])
        if int(row["vocab"]) != 128256:
            changes["vocab"] = int(row["vocab"])
    most = next((n for start, n in POSITIONS.items() if base.startswith(start)), 0)
    if most and int(row["seq"]) > most:
        changes["max_positions"] = int(row["seq"])
    return {"base": base, **changes} if changes else base


def _grok(row: Row) -> dict[str, Any]:
    """Grok-1 with fewer layers and another vocabulary; every expert takes its even share."""
    return {
        "family": "llama",
        "layers": int(row["layers"]),
        "hidden": 6144,
        "heads": 48,
        "kv_heads": 8,
        "ffn": 32768,
        "experts": 8,
        "experts_per_token": 2,
        "capacity_factor": 1,
        "vocab": int(row["vocab"]),
        "max_positions": 8192,
    }


def _inline(row: Row) -> dict[str, Any]:
    """Return a block with the dimensions that a source states."""
    gated = row["act"] in ("swiglu", "geglu")
    hidden, heads = int(row["hidden"]), int(row["heads"])
    block: dict[str, Any] = {
        "family": "llama" if gated else "gpt",
        "layers": int(row["layers"]),
        "hidden": hidden,
        "heads": heads,
        "vocab": int(row["vocab"]),
        "max_positions": max(int(row["seq"]), 2048),
    }
    if row["kv_heads"] and int(row["kv_heads"]) != heads:
        block["kv_heads"] = int(row["kv_heads"])
    if row["head_dim"] and int(row["head_dim"]) * heads != hidden:
        block["head_dim"] = int(row["head_dim"])
    if row["ffn"] and (gated or int(row["ffn"]) != 4 * hidden):
        block["ffn"] = int(row["ffn"])
    return block


def matrix_parameters(row: Row) -> float:
    """Return parameters of a dense model that a token is multiplied with, head included."""
    hidden, heads = int(row["hidden"]), int(row["heads"])
    dim = int(row["head_dim"] or hidden // heads)
    kv_heads = int(row["kv_heads"] or heads)
    gated = row["act"] in ("swiglu", "geglu")
    attention = hidden * dim * (2 * heads + 2 * kv_heads)
    layer = attention + (3 if gated else 2) * hidden * int(row["ffn"])
    return float(int(row["layers"]) * layer + hidden * int(row["vocab"]))


def token_flop(row: Row, causal: bool = False) -> float:
    """Return FLOP of the model for one token: 6 a parameter, and attention.

    12 L s h (Chowdhery 2022, arXiv 2204.02311, appendix B) where all scores count, half of it where
    those above the diagonal do not.
    """
    width = int(row["heads"]) * int(row["head_dim"] or int(row["hidden"]) // int(row["heads"]))
    attention = 12.0 * int(row["layers"]) * int(row["seq"]) * width
    return 6.0 * matrix_parameters(row) + attention * (0.5 if causal else 1.0)


def step_flop(row: Row, causal: bool = False) -> float:
    """Return FLOP of the model in a step."""
    return token_flop(row, causal) * int(row["gbs"]) * int(row["seq"])


def recomputed_flop(row: Row, sequences: int) -> float:
    """Return FLOP of a step with full recomputation: equation 3 of Narayanan 2021."""
    layers, hidden, length = int(row["layers"]), int(row["hidden"]), int(row["seq"])
    inner = 1 + length / (6 * hidden) + int(row["vocab"]) / (16 * layers * hidden)
    return 96.0 * sequences * length * layers * hidden**2 * inner
