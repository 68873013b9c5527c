"""docs/models.md says of every Hugging Face type whether it is modelled, and of its keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distsim.scenario.importers import huggingface
from distsim.scenario.importers.huggingface_registry import NOT_MODELLED, REGISTRY

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Models from a `config.json`")[2].partition("\n## ")[0]
MODELLED, _, REFUSED = SECTION.partition("### What is refused")
#: Types in the first column of a table.
ROW = re.compile(r"^\|((?: `[^`]+`,?)+) \|", re.MULTILINE)


def _types(text: str) -> list[str]:
    found = [name for row in ROW.findall(text) for name in re.findall(r"`([^`]+)`", row)]
    return [name for name in found if name != "model_type"]


@pytest.mark.parametrize("kind", REGISTRY)
def test_each_type_that_is_modelled_is_in_a_table(kind: str) -> None:
    assert f"`{kind}`" in MODELLED
    assert _types(MODELLED.partition("### Windows")[0]).count(kind) == 1


@pytest.mark.parametrize("kind", NOT_MODELLED)
def test_each_type_that_is_refused_is_in_the_table_of_those(kind: str) -> None:
    assert f"`{kind}`" in REFUSED
    assert _types(REFUSED).count(kind) == 1


def test_the_tables_have_no_other_types() -> None:
    assert set(_types(MODELLED.partition("### Windows")[0])) == set(REGISTRY)
    assert set(_types(REFUSED)) == set(NOT_MODELLED)


def test_each_key_with_a_default_is_named() -> None:
    keys = {key for family in REGISTRY.values() for key in family.defaults}
    # Said in other words: what is read to be told apart from unknown keys.
    silent = {"no_rope_layer_interval", "rotary_dim"}
    assert {key for key in keys if f"`{key}`" not in SECTION} == silent


def test_each_key_that_is_refused_everywhere_is_named() -> None:
    assert [key for key in huggingface._PARTS if f"`{key}`" not in REFUSED] == []
