"""Numbers of kernels in a device file: what may be left out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from distsim.errors import DistsimError
from distsim.hardware.catalogue import device

OPTIONAL = (
    "gemm_tile",
    "sustained_efficiency",
    "sustained_after",
    "attention_backward",
    "attention_wide",
    "attention_score",
    "attention_fill",
    "attention_kernel",
    "attention_kernels",
)
DATA = Path(__file__).parents[2] / "distsim" / "data" / "devices" / "h100-80gb-sxm.yaml"


def load(tmp_path: Path, change) -> object:
    data = yaml.safe_load(DATA.read_text())
    change(data)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    return device(path)


def test_a_file_of_before_these_keys_has_none_of_their_effects(tmp_path):
    def without(data):
        for key in OPTIONAL:
            del data[key]

    unit = load(tmp_path, without)
    assert (unit.gemm_tile, unit.sustained_efficiency, unit.sustained_after_flop) == (0, 1, 0)
    assert (unit.attention_backward, unit.attention_wide) == (1, 1)
    assert (unit.attention_score, unit.attention_fill) == (0, 0)
    assert (unit.attention_kernel, unit.attention_kernels) == ("", {})


def test_numbers_of_kernels_have_their_sources():
    unit = device("h100-80gb-sxm")
    assert unit.sustained_after_flop == pytest.approx(0.54e12)
    assert set(unit.attention_kernels) == {"flash-1", "flash-2", "flash-3", "triton"}
    for name, numbers in unit.attention_kernels.items():
        for key in numbers:
            assert unit.sources[f"attention_kernels.{name}.{key}"]


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (("sustained_efficiency", "value"), 1.2, "DS405"),
        (("sustained_after", "value"), "0.54 TFLOP/s", "DS211"),
        (("attention_wide", "value"), 0, "DS405"),
        (("gemm_tile", "value"), -1, "DS213"),
        (("attention_kernels", "flash-2", "efficiency", "value"), 3, "DS405"),
        (("attention_kernels", "flash-2", "speed"), {"value": 1, "source": "x"}, "DS402"),
        (("attention_kernels", "flash-2"), 3, "DS404"),
        (("attention_kernel",), 3, "DS404"),
    ],
)
def test_a_bad_number_is_refused(path, value, code, tmp_path):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    with pytest.raises(DistsimError) as caught:
        load(tmp_path, change)
    assert caught.value.code == code
    assert str(path[-1] if path[-1] != "value" else path[-2]) in str(caught.value)
