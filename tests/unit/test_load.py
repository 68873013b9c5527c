"""Loading scenarios, changing them, and the schema that is shipped."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distsim import files, yamlparse
from distsim.errors import DistsimError, Place
from distsim.files import Limits, find, load_yaml, shipped, shipped_names
from distsim.scenario.jobs import load_any
from distsim.scenario.jsonschema import scenario_schema
from distsim.scenario.load import load
from distsim.scenario.overrides import apply
from distsim.scenario.schema import OptimizerBlock, PrecisionBlock, Scenario
from distsim.yamlparse import parse_yaml

ROOT = Path(__file__).parents[2]

EXAMPLE = """\
schema: 1
name: gpt3-175b-on-1024-a100
seed: 0
cluster:
  topology: dgx-a100-superpod          # a name, or a path
  devices: 1024
model: gpt3-175b
batch: {global_size: 1536, micro_size: 1, sequence_length: 2048}
plan:
  {tp: 8, pp: 8, schedule: interleaved, virtual_stages: 3, zero_stage: 1,
   sequence_parallel: true, recompute: selective, overlap_grad_reduce: true}
precision: bf16
optimizer: adam
evaluator: auto
"""
SMALL = {
    "name": "small",
    "cluster": {"topology": "dgx-a100", "devices": 8},
    "model": "gpt3-175b",
    "batch": {"global_size": 16},
}


@pytest.fixture
def example(tmp_path: Path) -> Scenario:
    (tmp_path / "example.yaml").write_text(EXAMPLE)
    return load(tmp_path / "example.yaml")


def test_the_example_says_what_it_says(example: Scenario) -> None:
    assert (example.schema_version, example.name, example.seed) == (1, "gpt3-175b-on-1024-a100", 0)
    assert (example.cluster.topology, example.cluster.devices) == ("dgx-a100-superpod", 1024)
    assert example.batch.sequence_length == 2048
    plan = example.plan
    assert (plan.tp, plan.pp, plan.cp, plan.ep, plan.dp) == (8, 8, 1, 1, None)
    assert (plan.schedule, plan.virtual_stages, plan.zero_stage) == ("interleaved", 3, 1)
    assert plan.sequence_parallel and plan.overlap_grad_reduce and plan.overlap_p2p is None
    assert (example.precision, example.optimizer, example.stack) == ("bf16", "adam", None)


def test_defaults() -> None:
    scenario = load(SMALL)
    assert (scenario.batch.micro_size, scenario.batch.sequence_length) == (1, None)
    assert (scenario.plan.tp, scenario.plan.schedule, scenario.plan.recompute) == (1, None, "none")
    assert (scenario.precision, scenario.optimizer, scenario.evaluator) == ("bf16", "adam", "auto")


def test_blocks_in_place_of_names() -> None:
    topology, model = {"kind": "node", "x": None}, {"layers": 2, "deep": [{"a": None}]}
    scenario = load(
        SMALL
        | {
            "cluster": {"topology": topology, "devices": 8},
            "model": model,
            "precision": {"compute": "fp16", "master_weights": False},
            "optimizer": {"name": "adamw", "clip_grad_norm": False},
            "stack": {"profile": "megatron-core"},
            "plan": {"bucket_size": "40 MB", "layers_per_stage": [3, 2]},
        }
    )
    assert scenario.cluster.topology == topology and scenario.model == model
    assert scenario.precision == PrecisionBlock(compute="fp16", master_weights=False)
    assert scenario.optimizer == OptimizerBlock(name="adamw", clip_grad_norm=False)
    assert scenario.plan.bucket_size == 40e6 and scenario.plan.layers_per_stage == (3, 2)
    plain = scenario.to_dict()
    assert plain["model"] == model and plain["cluster"]["topology"] == topology
    again = load(json.loads(json.dumps(plain)))
    assert again == scenario and hash(again) == hash(scenario)


def test_scenarios_are_values(example: Scenario) -> None:
    again = load(example.to_dict())
    assert again == example and len({again, example}) == 1 and again.source == ""
    assert example.with_(seed=1) != example and example != "example"
    for other in (copy.deepcopy(example), pickle.loads(pickle.dumps(example))):
        assert other == example
        assert other.place(("plan", "tp")) == example.place(("plan", "tp"))
    with pytest.raises(ValueError, match="frozen"):
        example.name = "other"


def test_a_mapping_is_copied() -> None:
    model = {"layers": 2}
    scenario = load(SMALL | {"model": model})
    model["layers"] = 3
    assert scenario.model == {"layers": 2}


def test_numbers_of_numpy_are_numbers() -> None:
    data = SMALL | {"cluster": {"topology": "dgx-a100", "devices": np.int64(16)}}
    assert load(data).cluster.devices == 16
    with pytest.raises(DistsimError, match="ndarray"):
        load(SMALL | {"model": {"layers": np.zeros(3)}})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({1: 2}, "DS202"),
        ({"model": {1: 2}}, "DS202"),
        ({"seed": float("nan")}, "DS213"),
        ({"seed": object()}, "DS202"),
        ({"seed": 10**5000}, "DS203"),
    ],
)
def test_what_is_not_plain_is_refused(data: dict[str, object], code: str) -> None:
    with pytest.raises(DistsimError) as caught:
        load({**SMALL, **data})
    assert caught.value.code == code
    assert caught.value.place is None


def test_a_mapping_that_contains_itself_is_refused() -> None:
    circle: dict[str, object] = {}
    circle["model"] = circle
    with pytest.raises(DistsimError, match="nested deeper"):
        load(circle)


# Where values stand.


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("name",), 2, 7),
        (("cluster", "devices"), 6, 12),
        (("cluster", "device"), 4, 1),
        (("batch", "micro_size"), 8, 40),
        (("plan", "sequence_parallel"), 11, 23),
        (("plan", "dp"), 9, 1),
        (("plan", "layers_per_stage", 3), 9, 1),
        (("stack",), 1, 1),
        ((), 1, 1),
    ],
)
def test_places(example: Scenario, path: tuple[str, ...], line: int, column: int) -> None:
    assert example.place(path) == Place(example.source, line, column)


def test_places_of_changes(example: Scenario) -> None:
    scenario = load(
        example.source, ["plan.tp=4", "stack.profile=x", "cluster={topology: a, devices: 2}"]
    )
    assert str(scenario.place(("plan", "tp"))) == "--set plan.tp=4"
    assert str(scenario.place(("plan", "pp"))).endswith("example.yaml:10")
    assert str(scenario.place(("stack", "fused"))) == "--set stack.profile=x"
    assert str(scenario.place(("cluster", "devices"))).startswith("--set cluster=")
    assert str(scenario.with_(plan={"pp": 2}).place(("plan", "pp"))) == "with_(plan.pp=2)"
    assert str(scenario.place(("plan", "pp"))).endswith("example.yaml:10")
    last = load(example.source, ["plan.tp=4", "plan={tp: 2}"])
    assert str(last.place(("plan", "tp"))) == "--set plan={tp: 2}"
    assert load(SMALL).place(("plan",)) is None


def test_paths_are_seen_from_the_scenario(example: Scenario, tmp_path: Path) -> None:
    assert example.beside("my/topology.yaml") == str(tmp_path / "my/topology.yaml")
    assert example.beside("/abs/config.json") == "/abs/config.json"
    assert example.beside("gpt3-175b") == "gpt3-175b"
    assert load(SMALL).beside("a.yaml") == "a.yaml"


# Changes.


def test_with_merges_mappings_and_checks(example: Scenario) -> None:
    changed = example.with_(plan={"tp": 4, "schedule": None}, cluster={"devices": 64}, stack="s")
    expected = example.to_dict()
    expected["plan"]["tp"], expected["cluster"]["devices"], expected["stack"] = 4, 64, "s"
    del expected["plan"]["schedule"]
    assert changed.to_dict() == expected
    assert example.plan.tp == 8
    with pytest.raises(DistsimError) as caught:
        example.with_(plan={"tp": 0})
    assert (caught.value.code, str(caught.value.place)) == ("DS203", "with_(plan.tp=0)")


def test_with_puts_a_name_in_place_of_a_block_and_back() -> None:
    scenario = load(SMALL | {"model": {"layers": 2}})
    assert scenario.with_(model={"hidden": 3}).model == {"layers": 2, "hidden": 3}
    assert scenario.with_(model="gpt").model == "gpt"
    assert scenario.with_(model="gpt").with_(model={"layers": 1}).model == {"layers": 1}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("b=2", {"a": {"x": 1}, "b": 2}),
        ("a.x=true", {"a": {"x": True}}),
        ("a.y.z=[1, two]", {"a": {"x": 1, "y": {"z": [1, "two"]}}}),
        ("a={k: 25 MB}", {"a": {"k": "25 MB"}}),
        ("a.x=", {"a": {"x": None}}),
        ("a.x=p=q", {"a": {"x": "p=q"}}),
        ("a.x='8'", {"a": {"x": "8"}}),
    ],
)
def test_one_change(assignment: str, expected: dict[str, object]) -> None:
    data = {"a": {"x": 1}}
    assert apply(data, [assignment]) == expected
    assert data == {"a": {"x": 1}}


def test_later_changes_win(example: Scenario) -> None:
    assert load(example.source, ["plan={tp: 2}", "plan.tp=4", "plan.tp=1"]).plan.tp == 1


# Files.


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_types_are_those_of_yaml_1_2(monkeypatch: pytest.MonkeyPatch, loader: str) -> None:
    monkeypatch.setattr(yamlparse, "_LOADER", getattr(yamlparse.yaml, loader))
    text = (
        "a: [0, -7, +8, 1.5, .5, 1e9, -1.5E-3]\nb: [true, False, null, ~]\n"
        "c: ['on', \"010\", y, n, 2024-01-01, 1.2.3, v1, 10.0.0.1:80, 3 GB]\n"
        "d: &d\n  e: |\n    two\n    lines\nf: *d\ng:\n"
    )
    value, _ = parse_yaml(text, "f")
    assert value["a"] == [0, -7, 8, 1.5, 0.5, 1e9, -0.0015]
    assert [type(v) for v in value["a"]] == [int, int, int, float, float, float, float]
    assert value["b"] == [True, False, None, None]
    assert value["c"] == ["on", "010", "y", "n", "2024-01-01", "1.2.3", "v1", "10.0.0.1:80", "3 GB"]
    assert value["d"] == value["f"] == {"e": "two\nlines\n"} and value["g"] is None


def test_limits_are_exact() -> None:
    parse_yaml("[[[]]]", "f", Limits(depth=3))
    parse_yaml("[1, 2]", "f", Limits(nodes=3))
    with pytest.raises(DistsimError, match="DS112"):
        parse_yaml("[[[]]]", "f", Limits(depth=2))
    with pytest.raises(DistsimError, match="DS113"):
        parse_yaml("[1, 2]", "f", Limits(nodes=2))


def test_a_byte_order_mark_and_crlf_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    data, positions = load_yaml(tmp_path / "a.yaml")
    assert data == {"a": 1, "b": 2}
    assert positions.place(("b",)) == Place(str(tmp_path / "a.yaml"), 2, 4)


@pytest.fixture
def shipped_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a checkout with two shipped scenarios."""
    (tmp_path / "distsim").mkdir()
    (tmp_path / "scenarios").mkdir()
    for name in ("gpt3-small", "llama-large"):
        (tmp_path / "scenarios" / f"{name}.yaml").write_text(EXAMPLE)
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "distsim")
    files.shipped_directory.cache_clear()
    yield tmp_path
    files.shipped_directory.cache_clear()


def test_shipped_files_of_a_checkout_and_of_a_wheel(shipped_tree: Path) -> None:
    assert shipped_names("scenarios") == ("gpt3-small", "llama-large")
    assert find("scenarios", "gpt3-small") == shipped_tree / "scenarios" / "gpt3-small.yaml"
    assert load("gpt3-small").name == "gpt3-175b-on-1024-a100"
    (shipped_tree / "distsim" / "data").mkdir()
    (shipped_tree / "scenarios").rename(shipped_tree / "distsim" / "data" / "scenarios")
    files.shipped_directory.cache_clear()
    assert shipped("scenarios", "gpt3-small").parent.parent.name == "data"
    assert shipped_names("topologies") == ()


def test_a_misspelt_name_gets_the_nearest(shipped_tree: Path) -> None:
    for source in ("gpt3-smal", "there/gpt3-smal.yaml"):
        with pytest.raises(DistsimError) as caught:
            load(source)
        assert caught.value.code == "DS101"
        assert "'gpt3-small'" in caught.value.fix


def test_a_word_is_a_shipped_name_first_and_a_file_second(
    shipped_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped_tree)
    (shipped_tree / "gpt3-small").write_text("no scenario")
    (shipped_tree / "mine").write_text(EXAMPLE.replace("name: gpt3", "name: my-gpt3"))
    assert load("gpt3-small").name.startswith("gpt3")
    assert load("mine").name.startswith("my-gpt3")


# The schema.


def test_the_shipped_json_schema_is_current() -> None:
    file = ROOT / "docs" / "schema" / "scenario.schema.json"
    code = "import json; from distsim.scenario.jsonschema import scenario_schema as s"
    update = f"python -c '{code}; print(json.dumps(s(), indent=2))' > {file.relative_to(ROOT)}"
    assert json.loads(file.read_text(encoding="utf-8")) == scenario_schema(), f"run: {update}"


def test_the_json_schema_accepts_what_the_loader_accepts(example: Scenario) -> None:
    import jsonschema

    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(parse_yaml(EXAMPLE, "example")[0])
    validator.validate(example.with_(plan={"bucket_size": "25 MiB"}).to_dict())
    validator.validate(example.with_(precision={"compute": "fp16"}, model={"a": 1}).to_dict())
    for bad in ({"plan": {"tpp": 1}}, {"plan": {"tp": 0}}, {"plan": {"tp": "8"}}, {"seed": True},
                {"plan": {"bucket_size": 25}}, {"precision": "int8"}, {"model": 3}):  # fmt: skip
        assert not validator.is_valid({**SMALL, **bad}), bad
        with pytest.raises(DistsimError):
            load({**SMALL, **bad})


def test_every_key_is_described() -> None:
    schema = scenario_schema()
    blocks = schema["$defs"]
    for block in blocks.values():
        for key, value in block["properties"].items():
            # pydantic leaves out a description that is the block's own.
            described = blocks[value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            assert described.get("description"), key


def test_shipped_scenarios_load() -> None:
    for name in shipped_names("scenarios"):
        scenario = load_any(name)
        again = load_any(scenario.model_dump(mode="json", by_alias=True, exclude_none=True))
        assert again == scenario
