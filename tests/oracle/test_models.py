"""The catalogue against published counts, the papers' formulas and the operators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distsim.files import load_yaml, shipped, shipped_names
from distsim.hardware.catalogue import topology_names
from distsim.scenario.jobs import Jobs, load_any
from distsim.scenario.schema import Scenario
from distsim.study.validate_rows import ValidationRow, rows, sources
from distsim.workload import transformer
from distsim.workload.catalogue import model, model_from_block, model_names
from distsim.workload.model import ModelSpec
from distsim.workload.op import Fusion, Numerics, Op
from distsim.workload.zoo import names, network

#: Elements of the released checkpoints.
CHECKPOINTS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama2-70b": 68_976_648_192,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3-405b": 405_853_388_800,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    "dbrx": 131_596_523_520,
    "deepseek-moe-16b": 16_375_728_128,
    "qwen1.5-moe-a2.7b": 14_315_784_192,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v2": 235_741_434_880,
    # The checkpoint has 58 x 256 corrections of its routers beside, which get no gradient.
    "deepseek-v3": 671_026_419_200 - 58 * 256,
    "gpt-j-6b": 6_050_882_784,
    "gpt-neox-20b": 20_554_567_680,
    "bloom-176b": 176_247_271_424,
    "phi-2": 2_779_683_840,
    "mpt-7b": 6_649_286_656,
    "olmo-7b": 6_888_095_744,
    "olmo-2-7b": 7_298_617_344,
    "command-r-35b": 34_980_831_232,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
}
#: Tied, with biases everywhere and learned positions, as the equation has them.
GPTS = [n for n in model_names() if n.startswith(("gpt2", "gpt3", "megatron"))]
ROWS = {f"{name}:{row.id}": row for name, path in sources().items() for row in rows(path)}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_count_is_that_of_the_checkpoint(name: str) -> None:
    assert model(name).parameters == model(name).published_parameters == CHECKPOINTS[name]


@pytest.mark.parametrize("name", model_names())
def test_count_rounds_to_the_published_one(name: str) -> None:
    spec = model(name)
    published = spec.published_parameters
    assert published is not None
    digits = str(published)
    unit = 10 ** (len(digits) - len(digits.rstrip("0")))
    assert abs(spec.parameters - published) <= unit / 2


@pytest.mark.parametrize("name", GPTS)
def test_gpt_count_is_narayanan_2021_equation_2(name: str) -> None:
    spec = model(name)
    l, h = spec.layers, spec.hidden  # noqa: E741
    tables = (spec.vocab + spec.max_positions) / (12 * l * h)
    expected = 12 * l * h**2 * (1 + 13 / (12 * h) + tables)
    # The equation leaves out scale and bias of the final norm.
    assert spec.parameters == pytest.approx(expected + 2 * h, abs=0.5, rel=1e-15)


@pytest.mark.parametrize("name", model_names())
def test_operators_own_all_parameters(name: str) -> None:
    spec = model(name)
    shape = transformer.Shape(1, 1, Numerics("bf16"), Fusion())

    def owned(part: tuple[Op, ...]) -> int:
        return sum(op.parameters + op.replicated_parameters for op in part)

    blocks = spec.blocks(shape)
    layers = {kind: owned(ops) for kind, ops in blocks.kinds.items()}
    ends = owned(blocks.embedding) + owned(blocks.head)
    assert sum(layers[kind] for kind in blocks.layers) + ends == spec.parameters


def test_every_part_is_counted_alone() -> None:
    spec = model("llama3-8b")
    parts = spec.parameters_by_part()
    assert parts["token_embedding"] == parts["lm_head"] == 128_256 * 4096
    assert parts["position_embedding"] == 0
    assert parts["norms"] == 65 * 4096
    # Eight of 32 heads: keys and values have a quarter of the queries' features.
    assert parts["attention"] == 32 * (2 * 4096**2 + 2 * 4096 * 1024)
    assert parts["mlp"] == 32 * 3 * 4096 * 14_336


def test_switches_change_what_they_say() -> None:
    spec = model("gpt2")
    untied = replace(spec, tied_embeddings=False)
    assert untied.parameters - spec.parameters == 50_257 * 768
    unbiased = replace(spec, bias=False)
    assert spec.parameters - unbiased.parameters == 12 * (3 + 1 + 4 + 1) * 768
    assert spec.parameters - replace(spec, norm="rmsnorm").parameters == 25 * 768
    assert spec.parameters - replace(spec, positions="rotary").parameters == 1024 * 768


def test_catalogue_states_names_sources_and_shapes() -> None:
    assert len(set(model_names())) == len(model_names()) >= 25
    for name in model_names():
        spec = model(name)
        assert spec.name == name and spec.source
        assert spec.heads % spec.kv_heads == 0
        own = ("qwen3-", "deepseek-v", "palm-", "gemma-", "gpt-oss-")
        assert spec.heads * spec.head_dim == spec.hidden or name.startswith(own)


def test_no_name_stands_in_two_files() -> None:
    files = [load_yaml(shipped("models", file))[0] for file in shipped_names("models")]
    assert sorted(name for data in files for name in data["models"]) == sorted(model_names())


@pytest.mark.parametrize("name", shipped_names("scenarios"))
def test_scenario_names_what_exists_and_divides(name: str) -> None:
    found = load_any(name)
    for scenario in found.scenarios if isinstance(found, Jobs) else [found]:
        _check_scenario(scenario)
    first_line = shipped("scenarios", name).read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith("# ")


def _check_scenario(scenario: Scenario) -> None:
    plan, cluster, batch = scenario.plan, scenario.cluster, scenario.batch
    inline = isinstance(scenario.model, dict)
    assert inline or scenario.model in names()
    assert cluster.topology in topology_names()
    dp, rest = divmod(cluster.devices, plan.tp * plan.pp * plan.cp)
    assert rest == 0 and batch.global_size % (dp * batch.micro_size) == 0
    spec = model_from_block(scenario.model) if inline else network(str(scenario.model))
    assert sum(plan.layers_per_stage or [spec.layers]) == spec.layers


def _flop(spec: ModelSpec, sequences: int, length: int) -> float:
    """FLOP of a step with full recomputation, product by product."""
    tokens, h = sequences * length, spec.hidden
    weights = 3 * h * h + h * h + 2 * h * spec.ffn  # qkv, output, feed-forward
    scores_and_context = 2 * length * h
    forward_of_layers = 2 * tokens * spec.layers * (weights + scores_and_context)
    # Layers run forward twice and backward once, at twice the cost; the LM head forward once.
    return 4 * forward_of_layers + 3 * (2 * tokens * h * spec.vocab)


#: Sources whose times follow from rates that count recomputation: equation 3 of Narayanan 2021.
RECOMPUTED = ("narayanan-2021:", "gpt-neox-2022:", "opt-2022:")


@pytest.mark.parametrize("key", [key for key in ROWS if key.startswith(RECOMPUTED)])
def test_derived_time_follows_from_the_printed_rate(key: str) -> None:
    row = ROWS[key]
    scenario = row.scenario
    batch = scenario["batch"]
    flop = _flop(model(scenario["model"]), batch["global_size"], batch["sequence_length"])
    assert row.derived and row.tflops_per_device is not None
    rate = row.tflops_per_device * 1e12 * scenario["cluster"]["devices"]
    assert row.measured_s == pytest.approx(flop / rate, rel=1e-5)


@pytest.mark.parametrize(
    ("key", "printed_mfu"),
    [("gpt-175b-256xa100", 0.477), ("gpt-175b-256xa100-2", 0.523)],
)
def test_time_from_mfu_follows_from_flop_of_the_model(key: str, printed_mfu: float) -> None:
    """72 B s l h^2 (1 + s/6h + V/12lh): equation 3 of Narayanan 2021 without recomputation."""
    row = ROWS[f"megascale-2024-table3:{key}"]
    layers, hidden, vocab, batch = 96, 12288, 64000, 256
    inner = 1 + 2048 / (6 * hidden) + vocab / (12 * layers * hidden)
    flop = 72 * batch * 2048 * layers * hidden**2 * inner
    assert row.measured_s == pytest.approx(flop / (256 * 312e12 * printed_mfu), rel=1e-5)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_is_a_scenario_that_loads(row: ValidationRow) -> None:
    scenario = row.load()
    plan, batch = scenario.plan, scenario.batch
    assert scenario.cluster.topology in topology_names()
    replicas, rest = divmod(scenario.cluster.devices, plan.tp * plan.pp * plan.cp)
    assert rest == 0 and batch.global_size % (replicas * batch.micro_size) == 0
    microbatches = batch.global_size // (replicas * batch.micro_size)
    assert plan.virtual_stages == 1 or microbatches % plan.pp == 0


def test_published_figures_stand_as_printed() -> None:
    korthikanti = rows(sources()["korthikanti-2022"])
    seconds = [1.42, 1.10, 18.13, 13.75, 49.05, 37.83, 94.42, 71.49]
    assert [row.measured_s for row in korthikanti] == seconds
    assert [row.scenario["cluster"]["devices"] for row in korthikanti[::2]] == [8, 64, 280, 512]
    narayanan = rows(sources()["narayanan-2021"])
    rates = [137, 138, 142, 135, 138, 140, 148, 155, 163, 163]
    assert [row.tflops_per_device for row in narayanan] == rates
    devices = [32, 64, 128, 256, 512, 1024, 1536, 1920, 2520, 3072]
    assert [row.scenario["cluster"]["devices"] for row in narayanan] == devices


@pytest.mark.parametrize(
    ("row", "printed_mfu"),
    [("22b", 0.415), ("175b", 0.514), ("530b", 0.560), ("1t", 0.563)],
)
def test_published_mfu_agrees_with_the_published_time(row: str, printed_mfu: float) -> None:
    run = ROWS[f"korthikanti-2022:{row}-sp-selective"]
    spec, batch = model(run.scenario["model"]), run.scenario["batch"]
    length = batch["sequence_length"]
    flop = batch["global_size"] * transformer.model_flop_per_sequence(spec, length)
    mfu = flop / run.measured_s / run.scenario["cluster"]["devices"] / 312e12
    assert mfu == pytest.approx(printed_mfu, abs=0.002)
