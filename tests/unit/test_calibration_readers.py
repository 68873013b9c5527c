"""What all readers of measurements share: formats by content, numbers, warm-up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distsim.errors import DistsimError
from distsim.study.calibration.measurements import Readings, merged
from distsim.study.calibration.readers import READERS, document, read_all, read_any
from distsim.study.calibration.readers.findings import MOST_REJECTED
from distsim.study.calibration.readers.numbers import decimal_comma, number
from distsim.study.calibration.readers.series import Logged, summary, warm_up
from tests.calibration_logs import (
    CLUSTER,
    megatron,
    megatron_line,
    nccl_run,
    settled,
    torchtitan_line,
)

SAMPLES = {
    "megatron": megatron(settled(1200.0)),
    "torchtitan": torchtitan_line(10, "5,762") + "\n",
    "deepspeed": "steps: 10 loss: 7.9 iter time (s): 3.456 samples/sec: 148.1\n",
    "step_csv": "tp,step_s\n8,1.0\n",
    "nccl": nccl_run("all_reduce", 8, 1, [(8, "5.0")]),
    "kineto": '{"traceEvents": [{"ph": "X"}]}',
    "timings": '{"format": "distsim-timings/1", "timings": []}',
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_format_is_found_by_content(kind: str) -> None:
    first = next(reader for reader in READERS if reader.sniff(SAMPLES[kind]))
    assert kind == first.KIND
    assert sorted(SAMPLES) == sorted(reader.KIND for reader in READERS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "a,b\n1,2\n",
        "{}",
        "[1]",
        "time flies\n",
        "name,step\n",
        "step: 1\ntps: 5 \n",
        "m,n,k,time_us\n1,1,1,1\n",
    ],
)
def test_other_texts_are_of_no_format(text: str) -> None:
    assert not any(reader.sniff(text) for reader in READERS)


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text(SAMPLES["nccl"])
    assert read_any(file).collectives[0].source.kind == "nccl"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1234.5", 1234.5),
        ("1,234.5", 1234.5),
        ("1.234,5", 1234.5),
        ("1234,5", 1234.5),
        ("1,234,567", 1234567.0),
        ("1.234.567", 1234567.0),
        ("5,762", 5762.0),
        ("0,762", 0.762),
        ("12,34", 12.34),
        ("1\u00a0234,5", 1234.5),
        ("1.2E+03", 1200.0),
        ("1,2e-3", 0.0012),
        ("-7", -7.0),
        ("1,2,3", None),
        ("1.2.3", None),
        ("1,23,456.7", 123456.7),
        ("", None),
        ("12x", None),
        ("1_000", None),
        ("\u0663", None),
        ("9" * 99, None),
        ("inf", float("inf")),
        ("-Infinity", float("-inf")),
    ],
)
def test_numbers(text: str, value: float | None) -> None:
    assert number(text) == value


def test_a_decimal_comma_turns_the_marks_around() -> None:
    assert number("1,234", comma=True) == 1.234
    assert number("1.234", comma=True) == 1234.0
    assert number("1234.5", comma=True) == 1234.5
    assert decimal_comma(["1,234", "12,5"]) and decimal_comma(["1.234,5"])
    assert not decimal_comma(["1,234", "1,234.5", "7", "1,234,567"])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], 0),
        ([5.0], 0),
        ([9.0, 1.0], 1),
        ([1.0, 1.0], 0),
        ([1.0] * 9, 0),
        ([1.0] * 10, 3),
        ([9.0, *[1.0] * 19], 3),
        ([9.0] * 6 + [1.0] * 14, 6),
        ([4.0, 3.0, 2.0, 1.5, 1.2, *[1.0] * 15], 5),
        # At most half.
        ([9.0] * 11 + [1.0] * 9, 10),
    ],
)
def test_warm_up(times: list[float], expected: int) -> None:
    assert warm_up(times) == expected


def test_noise_is_no_warm_up() -> None:
    noise = np.random.default_rng(7).normal(1.0, 0.1, 1000)
    assert warm_up(list(noise)) <= 10


def test_one_slow_step_moves_nothing() -> None:
    steps = [Logged(i, 1.0) for i in range(20)] + [Logged(20, 99.0)] + [Logged(21, 1.0)]
    found = summary([steps])
    assert found is not None and (found.time_s, found.samples, found.line) == (1.0, 19, 3)
    assert summary([[], []]) is None


def test_a_scenario_is_given_as_a_file_a_mapping_or_lies_beside(tmp_path: Path) -> None:
    log = tmp_path / "run.1.log"
    log.write_text(SAMPLES["megatron"])
    given = tmp_path / "other.yaml"
    given.write_text(CLUSTER)
    mapping = {"cluster": {"topology": "dgx-h100-superpod"}}
    expected = read_any(log, given).step_times
    assert read_any(log, mapping).step_times == expected
    assert read_any(log, str(given)).step_times == expected
    for name in ("run.1.yaml", "run.yaml", "run.yml"):
        (tmp_path / name).write_text(CLUSTER)
        assert read_any(log).step_times == expected
        (tmp_path / name).unlink()
    with pytest.raises(DistsimError):
        read_any(log)


def test_defaults_count_where_nothing_else_is_said(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(SAMPLES["megatron"])
    defaults = {"cluster": {"topology": "dgx-a100", "device": "a100-80gb"}}
    found = read_any(log, defaults=defaults).step_times[0].scenario["cluster"]
    assert found == {"topology": "dgx-a100", "device": "a100-80gb", "devices": 64}
    (tmp_path / "run.yaml").write_text(CLUSTER)
    found = read_any(log, defaults=defaults).step_times[0].scenario["cluster"]
    assert found["topology"] == "dgx-h100-superpod" and found["device"] == "a100-80gb"


def test_paths_in_the_scenario_are_seen_from_it(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(SAMPLES["megatron"])
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.yaml").write_text("x: 1\n")
    (tmp_path / "run.yaml").write_text("cluster: {topology: net/mine.yaml}\n")
    found = read_any(log).step_times[0].scenario["cluster"]["topology"]
    assert Path(found) == tmp_path / "net" / "mine.yaml"


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    bad = "\n".join(megatron_line(100 + i, "nan") for i in range(MOST_REJECTED + 5))
    log.write_text(SAMPLES["megatron"] + bad + "\n")
    found = read_any(log, {"cluster": {"topology": "dgx-h100-superpod"}})
    assert len(found.rejected) == MOST_REJECTED
    assert any("5 more lines are left out" in note for note in found.notes)


def test_size_is_limited_plain_and_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    from distsim.files import Limits

    monkeypatch.setattr(document, "LIMITS", Limits(size_bytes=10_000))
    plain, packed = tmp_path / "a.log", tmp_path / "b.log.gz"
    plain.write_text("x" * 10_001)
    packed.write_bytes(gzip.compress(b"x" * 10_001))
    found, errors = read_all([plain, packed])
    assert found == Readings() and [error.code for error in errors] == ["DS104", "DS104"]


def test_readings_of_several_files_keep_their_order() -> None:
    one, two = Readings(notes=("a",)), Readings(notes=("b",))
    assert merged([one, two]).notes == ("a", "b") and merged([]).count == 0
