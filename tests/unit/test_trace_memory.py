"""Writing a trace takes memory for a piece of it, not for the whole, and leaves no half of one."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distsim.cli import main
from distsim.cli.output import write_file
from distsim.prediction.timeline import Span
from distsim.report.trace import chunks

MB = 2**20
#: Peak of one process from `distsim run` to its trace, in MiB: a step with a million spans.
ALLOWED_MB = 300
RUN = """
import sys
from distsim.cli import main
code = main(["run", "gpt3-175b-1024xa100", "--set", "cluster.devices=64",
    "--set", "plan={tp: 1, pp: 64, schedule: 1f1b}", "--set", "model=palm-62b",
    "--set", "batch={global_size: %d, micro_size: 1, sequence_length: 256}",
    "--json", "--trace", sys.argv[1]])
status = open("/proc/self/status")
print(next(l for l in status if l.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def _peak_mb(code: str, *args: str) -> float:
    """Return the most memory of a process since it began to run this code (Linux).

    `resource.getrusage` would count what the process that started it held, too.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *args], check=True, capture_output=True, text=True
    )
    return float(done.stderr.split()[-1]) / 1024


WRITER = """
import sys
from distsim.cli.output import write_file
from distsim.prediction.timeline import Span
from distsim.report.trace import chunks
def spans(count):
    for n in range(count):
        args = {"stage": n % 64}
        yield Span(f"layer {n % 50}", "compute", n % 64, "compute", n * 1e-6, 1e-6, args)
write_file(sys.argv[1], chunks(spans(int(sys.argv[2])), {}))
status = open("/proc/self/status")
print(next(l for l in status if l.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def test_the_writer_takes_the_same_memory_for_any_number_of_spans(tmp_path: Path) -> None:
    few = _peak_mb(WRITER, str(tmp_path / "few.json"), "1000")
    many = _peak_mb(WRITER, str(tmp_path / "many.json"), "300000")
    assert (tmp_path / "many.json").stat().st_size > 30 * MB
    assert many - few < 8


def test_a_run_with_its_trace_stays_small_by_the_span(tmp_path: Path) -> None:
    # 195,000 spans more, so that the test is short; at their slope a million stay under the limit.
    small = _peak_mb(RUN % 320, str(tmp_path / "small.json.gz"))
    large = _peak_mb(RUN % 832, str(tmp_path / "large.json.gz"))
    spans = _spans(tmp_path / "large.json.gz") - _spans(tmp_path / "small.json.gz")
    assert spans > 190_000
    each_mb = (large - small) / spans
    assert small + each_mb * (1e6 - _spans(tmp_path / "small.json.gz")) < ALLOWED_MB


def _spans(path: Path) -> int:
    with gzip.open(path, "rt") as file:
        return sum(line.count('"ph":"X"') for line in file)


def test_a_name_that_ends_in_gz_is_compressed_to_the_same_bytes_each_time(tmp_path: Path) -> None:
    span = Span("layer", "compute", 0, "compute", 0.0, 1.0, {})
    for name in ("plain.json", "a.json.gz", "b.json.gz"):
        write_file(str(tmp_path / name), chunks([span], {}))
    content = (tmp_path / "a.json.gz").read_bytes()
    assert content == (tmp_path / "b.json.gz").read_bytes().replace(b"b.json", b"a.json")
    assert gzip.decompress(content) == (tmp_path / "plain.json").read_bytes()


INTERRUPTED = """
import sys
from distsim.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_an_interrupt_leaves_nothing(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "run", "gpt3-175b-1024xa100", "--no-fold"]
    command += ["--set", "cluster.devices=128", "--trace", name, "--json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        begun = [p for p in _files(tmp_path) if p.stat().st_size > 100_000]
        if begun:
            break
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode().strip().endswith("interrupted")
    assert not list(tmp_path.iterdir())


def _files(directory: Path) -> Iterator[Path]:
    for name in os.listdir(directory):
        yield directory / name


def test_a_number_that_json_lacks_leaves_nothing(tmp_path: Path) -> None:
    span = Span("layer", "compute", 0, "compute", 0.0, 1.0, {"bytes": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_file(str(tmp_path / "trace.json"), chunks([span], {}))
    assert not list(tmp_path.iterdir())


def test_names_with_quotes_stay_json() -> None:
    span = Span('a "b" \\ \n\u00fc', "compute", 0, "compute", 0.0, 1.0, {'k"': 'v"'})
    event = json.loads("".join(chunks([span], {})))["traceEvents"][-1]
    assert event["name"] == span.name and event["args"] == span.args


def test_run_writes_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "gpt3-175b-1024xa100", "--json", "--trace", "t.json.gz"]) == 0
    with gzip.open("t.json.gz", "rt") as file:
        trace = json.load(file)
    assert trace["otherData"]["scenario"] == "gpt3-175b-on-1024-a100"


def test_traces_of_several_jobs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = {"name": "a", "devices": 8, "model": "gpt2", "batch": {"global_size": 8,
           "micro_size": 1, "sequence_length": 512}}  # fmt: skip
    scenario = {"schema": 1, "name": "two", "cluster": {"topology": "dgx-a100-superpod",
                "devices": 16}, "jobs": [job, job | {"name": "b"}]}  # fmt: skip
    (tmp_path / "two.yaml").write_text(json.dumps(scenario))
    out = tmp_path / "out"
    for option in ("--trace", "--chakra"):
        assert main(["run", str(tmp_path / "two.yaml"), option, str(out)]) == 2
        assert "several" in capsys.readouterr().err
    assert not out.exists()
