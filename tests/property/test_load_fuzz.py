"""Whatever a file holds, the answer is a scenario or one error of distsim's."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distsim.errors import CODES, DistsimError
from distsim.scenario.load import load
from distsim.scenario.schema import Scenario
from distsim.yamlparse import parse_yaml

TEXT = """\
schema: 1
name: &name fuzz
cluster: {topology: dgx-a100, devices: 8}
model: gpt3-175b
batch: {global_size: 16, micro_size: 2}
plan:
  tp: 2
  schedule: 1f1b
  bucket_size: 25 MB
  layers_per_stage: [4, 4]
precision: {compute: bf16, master_weights: true}
optimizer: adam
"""
MARKS = ("- ", ": ", "{", "}", "[", "]", "&a ", "*a", "*name", "!!int ", "<<: ", "? ", "|\n", ">\n")
WORDS = (
    "on",
    "0x1",
    "1_0",
    ".inf",
    "null",
    "true",
    "1e9",
    "zero_stage",
    "GB/s",
    "tp: 4\n",
    " dp: -1",
)
ODDITIES = ("\n", "\n---\n", "\t", "#", "'", '"', "%YAML 1.2\n", "\x00", "\ufeff", "\u2028", "\r")
PIECES = st.sampled_from(MARKS + WORDS + ODDITIES) | st.text(max_size=5)


def outcome(text: str) -> Scenario | None:
    """Load a text as a file is loaded; None for an error that is as it should be."""
    try:
        data, _ = parse_yaml(text, "fuzz.yaml")
        return load(data if isinstance(data, dict) else {"name": data})
    except DistsimError as error:
        assert error.code in CODES
        assert error.rule and error.fix and len(str(error)) < 2000
        return None


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw the text with a few pieces cut out, put in or doubled."""
    text = TEXT
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(PIECES) + text[end:]
    return text


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mutated_file_is_a_scenario_or_an_error(text: str) -> None:
    scenario = outcome(text)
    if scenario is not None:
        assert load(scenario.to_dict()) == scenario


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_any_text_is_a_scenario_or_an_error(text: str) -> None:
    outcome(text)


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return a strategy for plain values with texts of that kind."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=8,
    )


BLOCKS = {
    "": ("schema", "name", "seed", "model", "stack", "evaluator", "other", "plan", "batch"),
    "cluster": ("topology", "devices", "device", "placement"),
    "batch": ("global_size", "micro_size", "sequence_length"),
    "plan": ("tp", "dp", "schedule", "bucket_size", "layers_per_stage", "overlap_p2p", "other"),
    "precision": ("compute", "gradients", "master_weights"),
}
PATHS = st.sampled_from(
    [(block, key) if block else (key,) for block, keys in BLOCKS.items() for key in keys]
)


@settings(max_examples=300, deadline=None)
@given(PATHS, values(st.text(max_size=8)))
def test_any_value_anywhere_is_a_scenario_or_an_error(path: tuple[str, ...], value: Any) -> None:
    data = yaml.safe_load(TEXT)
    block = data
    for key in path[:-1]:
        block = block[key]
    block[path[-1]] = value
    try:
        scenario = load(data)
    except DistsimError as error:
        assert error.path[: len(path)] == path or error.path == path[: len(error.path)]
    else:
        assert load(scenario.to_dict()) == scenario


@settings(max_examples=200, deadline=None)
# 1e9 is a text in YAML 1.1 and a number in 1.2: texts here have no e.
@given(
    values(st.text(st.characters(exclude_characters="eE", exclude_categories=["Cs"]), max_size=8))
)
def test_plain_values_read_as_other_readers_read_them(value: Any) -> None:
    """What both versions of YAML agree on is read as PyYAML's own loader reads it."""
    text = yaml.safe_dump(value)
    try:
        read, _ = parse_yaml(text, "f")
    except DistsimError as error:
        # Refused on purpose: not finite, keys that are no texts, tags, disputed scalars.
        assert error.code in ("DS116", "DS117", "DS118", "DS120", "DS121", "DS213")
    else:
        assert read == yaml.safe_load(text)
