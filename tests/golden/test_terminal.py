"""What only a terminal shows: progress, colours, and Ctrl-C, with real processes on one."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("needs pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import termios

DATA = Path(__file__).parents[1] / "data"
ROOT = Path(__file__).parents[2]
#: Runs the command line with signs of life that come at once.
_PROGRAM = (
    "import sys, distsim.cli.waiting as waiting; waiting._AFTER_S = 0.02; "
    "from distsim.cli import main; sys.exit(main(sys.argv[1:]))"
)
#: Colours and bold text, not the codes that move the cursor.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class _Process:
    """A process whose standard error, and output unless it is piped, is a terminal."""

    def __init__(self, words: list[str], folder: Path, *, piped: bool, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        dropped = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "DISTSIM_DEBUG")
        kept = {k: v for k, v in os.environ.items() if k not in dropped}
        home = {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder)}
        self.child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *words],
            cwd=folder,
            env=kept | home | environment,
            stdin=slave,
            stdout=subprocess.PIPE if piped else slave,
            stderr=slave,
            start_new_session=True,  # a group of its own: Ctrl-C reaches all of it
        )
        os.close(slave)
        self.shown = ""

    def until(self, text: str, limit_s: float = 60.0) -> None:
        """Read until a text is shown."""
        end_s = time.monotonic() + limit_s
        while text not in self.shown:
            left_s = end_s - time.monotonic()
            assert left_s > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self.master], [], [], left_s)[0] and not self._read():
                assert text in self.shown, f"it ended: {self.shown!r}"

    def _read(self) -> bool:
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux says so where the other end is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.child.pid, signal.SIGINT)

    def ends_within(self, limit_s: float) -> bool:
        """Read for so long at most, and return whether it came to an end."""
        end_s = time.monotonic() + limit_s
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([self.master], [], [], left_s)[0] and not self._read():
                return True
        return False

    def finish(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.child.wait(60)


@contextmanager
def _started(
    words: list[str], folder: Path, *, piped: bool = False, **environment: str
) -> Iterator[_Process]:
    process = _Process(words, folder, piped=piped, **environment)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.child.pid, signal.SIGKILL)
        process.child.wait(60)
        os.close(process.master)
        if process.child.stdout is not None:
            process.child.stdout.close()


SWEEP = ["sweep", "gpt2-xl-8xa100", "--set", "batch.micro_size=1:8", "--no-cache"]


def test_progress_and_colours_are_for_terminals(tmp_path: Path) -> None:
    with _started([*SWEEP, "--jobs", "1"], tmp_path) as process:
        assert process.finish() == 0
    assert "4/4" in process.shown and _STYLE.search(process.shown)
    # What is left on the screen: the bar is cleared, and no line is wider than it.
    lines = _STYLE.sub("", process.shown.rpartition("\x1b[2K")[2]).splitlines()
    assert lines[0].strip() == "" or "gpt2-xl-on-8-a100" in process.shown
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "environment", "styled", "progress"),
    [
        (["--quiet"], {}, True, False),
        (["-q"], {"NO_COLOR": "1"}, False, False),
        (["-q", "--color", "always"], {"NO_COLOR": "1"}, True, False),
        (["--color", "never"], {"TERM": "dumb"}, False, False),
        ([], {"NO_COLOR": "1"}, False, True),
    ],
)
def test_who_wants_less_gets_less(
    words: list[str], environment: dict[str, str], styled: bool, progress: bool, tmp_path: Path
) -> None:
    with _started([*SWEEP, "--jobs", "1", *words], tmp_path, **environment) as process:
        assert process.finish() == 0
    assert bool(_STYLE.search(process.shown)) == styled
    assert ("4/4" in process.shown) == progress


def test_a_pipe_gets_no_codes_while_standard_error_shows_progress(tmp_path: Path) -> None:
    with _started([*SWEEP, "--jobs", "1"], tmp_path, piped=True) as process:
        assert process.child.stdout is not None
        out = process.child.stdout.read()
        assert process.finish() == 0
    assert b"\x1b" not in out and b"gpt2-xl-on-8-a100" in out
    assert "4/4" in process.shown and "gpt2-xl-on-8-a100" not in process.shown


def test_work_without_a_count_shows_a_spinner(tmp_path: Path) -> None:
    words = ["goodput", "gpt2-xl-8xa100", "--tokens", "300B", "--runs", "20000", "--verbose"]
    with _started(words, tmp_path) as process:
        assert process.finish() == 0
    assert re.search(r"\r\x1b\[K. drawing trainings, \d+ s", process.shown)
    assert "\r\x1b[K" in process.shown.rpartition("drawing trainings, ")[2]  # it is cleared
    assert re.search(r"\x1b\[Kdrawing trainings: \d+\.\d\d s\r\n", process.shown)


#: Commands that take long -> what they say when they are in the midst of it.
LONG = {
    "run llama3-405b-16384xh100 --trace t.json.gz -o r.json --html r.html": "predicting",
    "run llama3-405b-16384xh100 --trace t.json": "writing the trace",
    "run gpt3-175b-1024xa100 --chakra traces": "Chakra traces",
    "sweep gpt3-175b-1024xa100 --devices 64:1024 --jobs 1 -o rows.csv --plot s.svg": "/5",
    "sweep llama2-7b-64xh100-zero3 --devices 8:512:+8 --jobs 2 -o rows.json": "/64",
    "plan gpt3-175b-1024xa100 --devices 512:1024 --tokens 1T -o plan.yaml": "predicted",
    "goodput llama3-405b-16384xh100 --tokens 15T --runs 100000 -o runs.csv": "drawing",
    "validate --again --html v.html": "comparing",
    "calibrate --device a100-80gb-sxm --topology dgx-a100 nccl.log -o p.yaml": "fitting",
}
#: Many sizes of a collective, so that fitting takes its time.
NCCL_LOG = "$ all_reduce_perf -g 4\n" + "".join(
    f"#  Rank  {n} Group  0 Pid  313 on host-a device  {n} [0x1{n}] NVIDIA A100-SXM4-80GB\n"
    for n in range(4)
)
NCCL_LOG += "".join(
    f"{size} {size // 4} float sum -1 {20 + size / 3e5:.2f} 1.00 1.00 0\n"
    for size in (2**n + 256 * m for n in range(10, 30) for m in range(64))
)


@pytest.mark.parametrize("command", LONG)
def test_an_interrupt_leaves_nothing_half_written(command: str, tmp_path: Path) -> None:
    (tmp_path / "nccl.log").write_text(NCCL_LOG)
    before = sorted(path.name for path in tmp_path.iterdir())
    with _started(command.split(), tmp_path) as process:
        process.until(LONG[command])
        while LONG[command] == "writing the trace" and not list(tmp_path.glob(".t.json.*")):
            time.sleep(0.01)  # until the file is begun
        process.interrupt()
        if not process.ends_within(8.0):  # a library's C code may lose one: people press again
            process.interrupt()
        assert process.finish() == 130, process.shown
    assert process.shown.rstrip().endswith("interrupted")
    assert "Traceback" not in process.shown
    left = {path.name for path in tmp_path.iterdir()} - set(before) - {"distsim"}
    assert left <= {"r.json", "t.json.gz"} and not any(".tmp" in name for name in left)


def _on(words: list[str], folder: Path, **how: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "distsim", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        check=False,
        **how,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("words", [["models"], ["schema", "plan"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str], tmp_path: Path) -> None:
    line = " ".join([sys.executable, "-m", "distsim", *words])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "" and done.stdout.strip() in ("0", "141")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["models"], ["help", "run"]])
def test_a_full_disk_is_said(words: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = _on(words, tmp_path, stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: DS630: standard output cannot be written: no space left")
    assert done.stderr.count(b"\n") == 3
