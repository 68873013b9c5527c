"""Models of every family with their counterparts in PyTorch; sizes as their papers print them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.torch import modules
from tests.torch.attention_kinds import KernelAttention, LowRankAttention, with_attention
from tests.torch.counting import Case
from tests.torch.decoders import Llama, Sizes, gpt_with_experts
from tests.torch.required import nn, torch
from tests.torch.transformers import Bart, Bert, EncoderDecoder, Gpt, Vit

#: Sequences, images or rows of a batch.
SAMPLES = 2


def _rows(*shape: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: (torch.zeros(SAMPLES, *shape),)


def _tokens(*lengths: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: tuple(torch.zeros(SAMPLES, s, dtype=torch.long) for s in lengths)


def _random_tokens(vocab: int, length: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: (torch.randint(vocab, (SAMPLES, length), generator=torch.manual_seed(7)),)


def _linear() -> dict[str, Case]:
    out = {}
    for family, features, outputs, bias in (
        ("linear_regression", 1024, 1, True),
        ("linear_regression", 64, 8, False),
        ("softmax_regression", 784, 10, True),
        ("perceptron", 784, 1, True),
    ):
        block = {"family": family, "features": features, "outputs": outputs, "bias": bias}
        out[f"{family}-{features}-{outputs}"] = Case(
            ours=block,
            build=lambda f=features, q=outputs, b=bias: modules.Affine(f, q, bias=b),
            inputs=_rows(features),
        )
    return out


def _mlp() -> dict[str, Case]:
    block = {"family": "mlp", "inputs": 784, "hidden": [512, 256], "outputs": 10}
    deep = {"inputs": 30, "hidden": [64, 64, 64, 16], "outputs": 3, "activation": "tanh"}
    return {
        "mlp-784-512-256-10": Case(
            ours=block, build=lambda: modules.Mlp(784, 512, 256, 10), inputs=_rows(784)
        ),
        "mlp-tanh-no-bias": Case(
            ours={"family": "mlp", **deep, "bias": False},
            build=lambda: modules.Mlp(30, 64, 64, 64, 16, 3, activation=nn.Tanh, bias=False),
            inputs=_rows(30),
        ),
    }


def _cnn() -> dict[str, Case]:
    def image(name: str | dict[str, Any], build: Callable[[], nn.Module]) -> Case:
        return Case(ours=name, build=build, inputs=_rows(3, 224, 224))

    def resnet(*repeats: int, **kinds: bool) -> Callable[[], nn.Module]:
        return lambda: modules.resnet(repeats, **kinds)

    first = {"residual": "bottleneck", "stride_first": True}
    block = {
        "base": "resnet-50",
        "layers": [
            {"conv": 64, "kernel": 7, "stride": 2, "norm": True},
            {"pool": "max", "kernel": 3, "stride": 2, "padding": 1},
            {**first, "channels": 64, "repeat": 3},
            {**first, "channels": 128, "stride": 2, "repeat": 4},
            {**first, "channels": 256, "stride": 2, "repeat": 6},
            {**first, "channels": 512, "stride": 2, "repeat": 3},
            {"pool": "global"},
        ],
    }
    return {
        "alexnet": image("alexnet", modules.alexnet),
        "vgg-16": image("vgg-16", modules.vgg16),
        "resnet-18": image("resnet-18", resnet(2, 2, 2, 2, bottleneck=False)),
        "resnet-34": image("resnet-34", resnet(3, 4, 6, 3, bottleneck=False)),
        "resnet-50": image("resnet-50", resnet(3, 4, 6, 3, bottleneck=True)),
        "resnet-152": image("resnet-152", resnet(3, 8, 36, 3, bottleneck=True)),
        "resnet-50-stride-first": image(
            block, resnet(3, 4, 6, 3, bottleneck=True, stride_first=True)
        ),
    }


def _rnn() -> dict[str, Case]:
    out = {}
    for name, cell, gates, inputs, hidden, layers, vocab, both, steps in (
        ("lstm-zaremba-medium", "lstm", 4, 650, 650, 2, 10_000, False, 35),
        ("gru", "gru", 3, 300, 512, 1, 0, False, 50),
        ("rnn", "rnn", 1, 128, 256, 3, 0, False, 50),
        ("lstm-bidirectional", "lstm", 4, 128, 256, 2, 5_000, True, 40),
        ("gru-bidirectional", "gru", 3, 40, 96, 2, 0, True, 30),
    ):
        outputs, last = vocab or 12, not vocab
        block = {"cell": cell, "inputs": inputs, "hidden": hidden, "layers": layers}
        block |= {"vocab": vocab, "bidirectional": both, "steps": steps, "outputs": outputs}
        block |= {"output_at": "last" if last else "every"}
        sizes = {"layers": layers, "vocab": vocab, "both": both, "last": last}
        out[name] = Case(
            ours={"family": "rnn", **block},
            build=lambda c=cell, d=inputs, h=hidden, q=outputs, s=sizes: modules.Recurrent(
                c, d, h, q, **s
            ),
            inputs=_tokens(steps) if vocab else _rows(steps, inputs),
            length=steps,
            unmade_flop=layers * (1 + both) * 2.0 * SAMPLES * gates * hidden * hidden,
        )
    return out


def _seq2seq() -> dict[str, Case]:
    words = {"source_vocab": 30_000, "target_vocab": 30_000}
    search = {"embedding": 620, "hidden": 1000, "attention": 1000, "maxout": 500, "steps": 50}
    fixed = {"embedding": 500, "hidden": 500, "depth": 3, "attention": 0, "steps": 40}
    fixed |= {"cell": "lstm", "bidirectional": False}
    return {
        "rnnsearch-50": Case(
            ours={"family": "seq2seq", **search, **words},
            build=lambda: modules.Seq2Seq(620, 1000, (30_000, 30_000), 1000, 500),
            inputs=_tokens(50, 50),
            length=50,
            unmade_flop=2 * 2.0 * SAMPLES * 3 * 1000 * 1000,  # both directions of the encoder
        ),
        "lstm-fixed-context": Case(
            ours={"family": "seq2seq", **fixed, **words},
            build=lambda: modules.FixedContext(500, 500, 3, (30_000, 30_000)),
            inputs=_tokens(40, 40),
            length=40,
            unmade_flop=5 * 2.0 * SAMPLES * 4 * 500 * 500,  # all layers but the decoder's first
        ),
    }


def _encoder() -> dict[str, Case]:
    roberta = {"positions": 514, "segments": 1, "sentences": False}
    small = {"family": "encoder", "layers": 3, "hidden": 64, "heads": 4, "vocab": 300}
    small |= {"max_positions": 96}

    def kind(name: str, size: int, attention: Callable[[], nn.Module]) -> Case:
        return Case(
            ours={**small, "attention": name, "attention_size": size},
            build=lambda: with_attention(Bert(3, 64, 4, 300, positions=96), attention),
            inputs=_tokens(80),
            length=80,
        )

    return {
        "encoder-linear": kind("linear", 24, lambda: KernelAttention(64, 4, 24)),
        "encoder-low-rank": kind("low_rank", 12, lambda: LowRankAttention(64, 4, 12, 96)),
        "bert-base": Case(
            ours="bert-base",
            build=lambda: Bert(12, 768, 12, 30_522),
            inputs=_tokens(128),
            length=128,
        ),
        "bert-large": Case(
            ours="bert-large",
            build=lambda: Bert(24, 1024, 16, 30_522),
            inputs=_tokens(512),
            length=512,
        ),
        "roberta-base": Case(
            ours="roberta-base",
            build=lambda: Bert(12, 768, 12, 50_265, **roberta),
            inputs=_tokens(512),
            length=512,
        ),
    }


def _decoder_case(
    ours: str | dict[str, Any], length: int, sizes: Sizes, device: str = "meta"
) -> Case:
    inputs = _tokens(length) if device == "meta" else _random_tokens(sizes.vocab, length)
    return Case(ours=ours, build=lambda: Llama(sizes), inputs=inputs, length=length, device=device)


#: Run with numbers: experts get what the router says.
_SMALL = {"layers": 2, "hidden": 64, "heads": 8, "kv_heads": 2, "vocab": 500}
_SMALL_BLOCK = {"family": "llama", **_SMALL, "max_positions": 64}


def _decoder() -> dict[str, Case]:
    llama3 = {"hidden": 4096, "heads": 32, "kv_heads": 8, "vocab": 128_256}
    return {
        "gpt2": Case(
            ours="gpt2",
            build=lambda: Gpt(12, 768, 12, 50_257, 1024),
            inputs=_tokens(1024),
            length=1024,
        ),
        "llama-small": _decoder_case(
            {**_SMALL_BLOCK, "ffn": 172}, 48, Sizes(**_SMALL, ffn=172), "cpu"
        ),
        "llama3-8b": _decoder_case("llama3-8b", 8192, Sizes(**llama3, layers=32, ffn=14_336)),
    }


def _mixtures() -> dict[str, Case]:
    small = {"experts": 8, "experts_per_token": 2, "expert_ffn": 96, "shared_ffn": 80}
    small |= {"shared_gate": True, "qkv_bias": True, "qk_norm": True, "ffn": 128, "dense_layers": 1}
    gpt = {"layers": 4, "hidden": 64, "heads": 4, "vocab": 500}
    gpt |= {"experts": 6, "experts_per_token": 1}
    sizes = Sizes(**gpt, kv_heads=4, ffn=256, expert_ffn=256, gated=False)
    mixtral = {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "vocab": 32_000}
    mixtral |= {"ffn": 0, "experts": 8, "experts_per_token": 2, "expert_ffn": 14_336}
    qwen3 = {"hidden": 2048, "heads": 32, "kv_heads": 4, "head_dim": 128, "vocab": 151_936}
    qwen3 |= {"experts": 128, "experts_per_token": 8, "expert_ffn": 768, "qk_norm": True}
    return {
        "moe-small": _decoder_case({**_SMALL_BLOCK, **small}, 48, Sizes(**_SMALL, **small), "cpu"),
        "gpt-moe-small": Case(
            ours={"family": "gpt", **gpt, "moe_every": 2, "max_positions": 64},
            build=lambda: gpt_with_experts(sizes, 64, every=2),
            inputs=_random_tokens(500, 48),
            length=48,
            device="cpu",
        ),
        "mixtral-8x7b": _decoder_case("mixtral-8x7b", 4096, Sizes(**mixtral)),
        # Two layers of each kind say as much as all of them, and take less time.
        "qwen3-30b-a3b-2-layers": _decoder_case(
            {"base": "qwen3-30b-a3b", "layers": 2}, 4096, Sizes(**qwen3, layers=2, ffn=0)
        ),
        **_deepseek(),
    }


def _deepseek() -> dict[str, Case]:
    """Fine-grained and shared experts, and latent attention in the later two."""
    moe = {"hidden": 2048, "heads": 16, "kv_heads": 16, "vocab": 102_400, "ffn": 10_944}
    moe |= {"experts": 64, "experts_per_token": 6, "expert_ffn": 1408, "shared_ffn": 2 * 1408}
    moe |= {"layers": 2, "dense_layers": 1}
    latent = {"head_dim": 128, "kv_lora_rank": 512, "rope_head_dim": 64, "v_head_dim": 128}
    v3 = {"hidden": 7168, "heads": 128, "kv_heads": 128, "vocab": 129_280, "ffn": 18_432}
    v3 |= {"experts": 256, "experts_per_token": 8, "expert_ffn": 2048, "shared_ffn": 2048}
    v3 |= {**latent, "q_lora_rank": 1536, "layers": 4, "dense_layers": 3}
    return {
        "deepseek-moe-16b-2-layers": _decoder_case(
            {"base": "deepseek-moe-16b", "layers": 2}, 4096, Sizes(**moe)
        ),
        "deepseek-v2-lite-2-layers": _decoder_case(
            {"base": "deepseek-v2-lite", "layers": 2}, 4096, Sizes(**moe, **latent)
        ),
        "deepseek-v3-4-layers": _decoder_case(
            {"base": "deepseek-v3", "layers": 4}, 4096, Sizes(**v3)
        ),
    }


def _encoder_decoder() -> dict[str, Case]:
    v1_1 = {"family": "encoder_decoder", "encoder_layers": 8, "decoder_layers": 8, "hidden": 512}
    v1_1 |= {"heads": 6, "head_dim": 64, "ffn": 1024, "vocab": 32_128, "norm": "rmsnorm"}
    v1_1 |= {"norm_first": True, "positions": "relative", "ffn_bias": False}
    v1_1 |= {"activation": "geglu", "tied_embeddings": False}
    return {
        "transformer-base": Case(
            ours="transformer-base",
            build=lambda: EncoderDecoder(6, 512, 8, 2048, 37_000),
            inputs=_tokens(256, 256),
            length=256,
        ),
        "t5-base": Case(
            ours="t5-base",
            build=lambda: EncoderDecoder(12, 768, 12, 3072, 32_128, head_dim=64, relative=True),
            inputs=_tokens(512, 114),
            length=512,
        ),
        "t5-v1.1-small": Case(
            ours=v1_1,
            build=lambda: EncoderDecoder(
                8, 512, 6, 1024, 32_128, head_dim=64, relative=True, gated=True, tied=False
            ),
            inputs=_tokens(128, 128),
            length=128,
        ),
        "bart-base": Case(
            ours="bart-base",
            build=lambda: Bart(6, 768, 12, 50_265, 1026),
            inputs=_tokens(1024, 1024),
            length=1024,
        ),
    }


def _vit() -> dict[str, Case]:
    return {
        "vit-b-16": Case(
            ours="vit-b-16", build=lambda: Vit(12, 768, 12, 16), inputs=_rows(3, 224, 224)
        ),
        "vit-h-14": Case(
            ours="vit-h-14", build=lambda: Vit(32, 1280, 16, 14), inputs=_rows(3, 224, 224)
        ),
    }


CASES: dict[str, Case] = {
    **_linear(),
    **_mlp(),
    **_cnn(),
    **_rnn(),
    **_seq2seq(),
    **_encoder(),
    **_decoder(),
    **_mixtures(),
    **_encoder_decoder(),
    **_vit(),
}
