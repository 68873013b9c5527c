"""Numbers of parameters against those of the real modules, in all and by part."""

from __future__ import annotations

import pytest

from distsim.workload.families import FAMILIES
from tests.torch.cases import CASES
from tests.torch.counting import parameters, parameters_by_part


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_those_of_the_module(name) -> None:
    case = CASES[name]
    assert case.model.parameters == parameters(case.module())


@pytest.mark.parametrize("name", CASES)
def test_each_part_has_the_parameters_that_it_has_in_the_module(name) -> None:
    case = CASES[name]
    ours = case.model.parameters_by_part()
    assert {part: count for part, count in ours.items() if count} == parameters_by_part(
        case.module(), ours
    )


def test_every_family_is_compared() -> None:
    assert {case.model.family for case in CASES.values()} == {*FAMILIES, "gpt", "llama"}
