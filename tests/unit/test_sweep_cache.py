"""The cache of outcomes: bit for bit, keyed by all that matters, and never in the way."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import distsim as ds
from distsim.errors import FileError
from distsim.files import shipped
from distsim.study import cache as module
from distsim.study.cache import APPLICATION_ID, FORM, Cache, Cached, default_path, open_cache
from distsim.study.digest import Keys
from distsim.study.evaluate import INTERNAL, Outcome, evaluate
from distsim.study.pool import DIED
from tests.sweeping import SMALL, Counting, made_up


def _scenarios(count: int = 4) -> list[ds.Scenario]:
    base = ds.load(SMALL)
    return [base.with_(seed=n) for n in range(count)]


def _runner() -> Counting:
    return Counting(lambda s: made_up(step_s=0.1 + s.seed))


def test_an_outcome_comes_back_bit_for_bit(tmp_path: Path) -> None:
    outcome = evaluate(ds.load(SMALL))
    odd = made_up(step_s=0.1 + 0.2, lower_s=5e-324, upper_s=1.7976931348623157e308)
    refused = Outcome(8, code="DS301", message="tp(3) \u2028 \u00b5", key="plan.tp")
    with Cache(tmp_path / "c.sqlite") as cache:
        for n, kept in enumerate((outcome, odd, refused)):
            assert cache.put(f"key{n}", kept)
    with Cache(tmp_path / "c.sqlite") as cache:
        for n, kept in enumerate((outcome, odd, refused)):
            found = cache.get(f"key{n}")
            assert found == kept
            assert found is not None and found.to_dict() == kept.to_dict()
        assert cache.get("another") is None
        assert len(cache) == 3


def test_what_is_known_is_not_evaluated_again(tmp_path: Path) -> None:
    scenarios = _scenarios()
    with Cache(tmp_path / "c.sqlite") as cache:
        first = dict(Cached(_runner(), cache).run(scenarios[:3]))
        again = _runner()
        cached = Cached(again, cache)
        second = dict(cached.run(scenarios))
    assert [s.seed for s in again.asked] == [3]
    assert (cached.evaluated, cached.found) == (1, 3)
    assert {n: second[n] for n in first} == first


def test_a_result_is_on_disk_before_it_is_told(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(_: int, __: Outcome) -> None:
        with sqlite3.connect(tmp_path / "c.sqlite") as other:
            seen.append(other.execute("SELECT count(*) FROM outcomes").fetchone()[0])
        other.close()

    with Cache(tmp_path / "c.sqlite") as cache:
        for _ in Cached(_runner(), cache).run(_scenarios(), look):
            pass
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("code", [INTERNAL, DIED])
def test_what_says_something_of_the_moment_is_not_kept(tmp_path: Path, code: str) -> None:
    with Cache(tmp_path / "c.sqlite") as cache:
        assert not cache.put("key", Outcome(8, code=code, message="once"))
        assert cache.get("key") is None


def test_keys_differ_where_outcomes_may() -> None:
    keys, base = Keys(), ds.load(SMALL)
    others = [
        base.with_(plan={"tp": 1}),
        base.with_(cluster={"devices": 8}),
        base.with_(batch={"sequence_length": 255}),
        base.with_(seed=1),
        base.with_(evaluator="event"),
        base.with_(precision="fp16"),
    ]
    assert len({keys(s) for s in (base, *others)}) == 7
    assert keys(base.with_(name="another")) == keys(base)
    assert keys(ds.load(SMALL)) == keys(base) == Keys()(base)


def test_keys_follow_the_files_that_are_named(tmp_path: Path) -> None:
    topology, device = tmp_path / "net.yaml", tmp_path / "chip.yaml"
    device.write_text(shipped("devices", "a100-80gb-sxm").read_text())
    topology.write_text(shipped("topologies", "dgx-a100").read_text())
    (tmp_path / "s.yaml").write_text(
        json.dumps(
            SMALL | {"cluster": {"topology": "net.yaml", "device": "chip.yaml", "devices": 8}}
        )
    )
    scenario = ds.load(tmp_path / "s.yaml")
    before = Keys()(scenario)
    assert Keys()(ds.load(tmp_path / "s.yaml")) == before
    device.write_text(device.read_text() + "\n# another\n")
    between = Keys()(scenario)
    # A file that only the topology names counts too.
    topology.write_text(f"{topology.read_text()}\n# see 'chip two.yaml'\n")
    topology.write_text(topology.read_text().replace("device: ", "device: chip two.yaml # "))
    (tmp_path / "chip two.yaml").write_text("a: 1")
    named = Keys()(scenario)
    (tmp_path / "chip two.yaml").write_text("a: 2")
    assert len({before, between, named, Keys()(scenario)}) == 4


def test_another_version_of_distsim_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = ds.load(SMALL)
    before = Keys()(scenario)
    monkeypatch.setattr("distsim.study.digest.own_digest", lambda: "another")
    assert Keys()(scenario) != before


def _refused(path: str | Path) -> FileError:
    with pytest.raises(FileError) as caught:
        Cache(path)
    assert caught.value.exit_code == 2
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("content", [b"not a database at all, but text", b"SQLite format 3\0" * 99])
def test_a_corrupt_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    assert _refused(path).code == "DS681"
    assert path.read_bytes() == content


def test_a_file_that_was_damaged_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with Cache(path) as cache:
        for n in range(200):
            cache.put(f"{n:064d}", made_up())
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))

    def read() -> None:
        with Cache(path) as cache:
            for n in range(200):
                cache.get(f"{n:064d}")

    with pytest.raises(FileError, match=r"DS681.*corrupt"):  # when it is opened, or read
        read()


def test_a_row_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with Cache(path) as cache:
        cache.put("key", made_up())
        for text in ("{}", "[1]", "no json", '{"devices": 8}'):
            cache._connection.execute("UPDATE outcomes SET outcome = ?", (text,))
            assert cache.get("key") is None


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    assert _refused(path).code == "DS681"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["other.db"]


def test_a_cache_of_another_form_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with sqlite3.connect(path) as later:
        later.execute("CREATE TABLE outcomes (key, something)")
        later.execute(f"PRAGMA application_id={APPLICATION_ID}")
        later.execute(f"PRAGMA user_version={FORM + 1}")
    later.close()
    before = path.read_bytes()
    assert _refused(path).code == "DS687"
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", ["", "a\0b", "/dev/full", ".", "/proc/none/c.sqlite"])
def test_files_that_cannot_be(path: str) -> None:
    assert _refused(path).code == "DS680"


def test_a_full_disk_ends_keeping_and_not_the_sweep(tmp_path: Path) -> None:
    said: list[str] = []
    with Cache(tmp_path / "c.sqlite", said.append) as cache:
        # What a full disk does to SQLite, with the same error.
        pages = cache._pragma("page_count")
        cache._connection.execute(f"PRAGMA max_page_count={pages + 4}")
        found = dict(Cached(_runner(), cache).run(_scenarios(60)))
        assert not cache.keeps
        kept = len(cache)
    assert len(found) == 60
    assert len(said) == 1 and "disk is full" in said[0] and "goes on" in said[0]
    assert 0 < kept < 60
    # What was kept before is whole.
    with Cache(tmp_path / "c.sqlite") as cache:
        again = _runner()
        assert dict(Cached(again, cache).run(_scenarios(60))) == found
        assert len(again.asked) == 60 - kept


def test_a_cache_that_may_not_be_written_is_read(tmp_path: Path) -> None:
    path, said = tmp_path / "c.sqlite", list[str]()
    with Cache(path) as cache:
        dict(Cached(_runner(), cache).run(_scenarios(2)))
    with Cache(path, said.append) as cache:
        cache._connection.execute("PRAGMA query_only=ON")  # as a read-only file does
        again = _runner()
        assert len(dict(Cached(again, cache).run(_scenarios(4)))) == 4
        assert [s.seed for s in again.asked] == [3, 2]
    assert len(said) == 1 and "readonly" in said[0]


_READ_ONLY = """
import os, sys
from distsim.errors import FileError
from distsim.study.cache import Cache
from distsim.study.digest import own_digest
from tests.sweeping import made_up

own_digest()  # what has to be read is read before the rights are given up
path, directory = sys.argv[1:3]
with Cache(path) as cache:
    cache.put("known", made_up())
os.chmod(path, 0o444)
os.chmod(directory, int(sys.argv[3], 8))
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
said = []
try:
    with Cache(path, said.append) as cache:
        print(cache.get("known") == made_up(), cache.put("new", made_up()), len(said))
except FileError as error:
    print(error.code, len(said))
"""


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs rights as Unix has them")
@pytest.mark.parametrize(("mode", "expected"), [("777", "True False 1"), ("555", "DS680 0")])
def test_a_file_or_a_directory_without_the_right_to_write(mode: str, expected: str) -> None:
    # Not below tmp_path, which others may not enter.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        done = subprocess.run(
            [sys.executable, "-c", _READ_ONLY, f"{directory}/c.sqlite", directory, mode],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        os.chmod(directory, 0o755)
    assert (done.stdout, done.returncode) == (f"{expected}\n", 0), done.stderr


def test_the_default_cache_that_cannot_be_used_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = default_path()
    if tmp_path not in path.parents:
        pytest.skip("caches are elsewhere on this system")
    opened = open_cache(None)
    assert opened is not None and path.is_file()
    opened.close()
    for file in path.parent.iterdir():
        file.unlink()
    path.write_text("damaged")
    said: list[str] = []
    assert open_cache(None, said.append) is None
    assert len(said) == 1 and str(path) in said[0] and "nothing is lost but time" in said[0]
    with pytest.raises(FileError):
        open_cache(path)


def test_rows_of_other_versions_go_when_the_file_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.sqlite"
    with Cache(path) as cache:
        cache.put("old", made_up())
        cache._version = "0.1.0+mine"
        cache.put("new", made_up())
    with Cache(path) as cache:
        assert len(cache) == 2
    monkeypatch.setattr(module, "LARGE_BYTES", 1)
    monkeypatch.setattr(module, "own_digest", lambda: "mine")
    monkeypatch.setattr(module, "__version__", "0.1.0")
    with Cache(path) as cache:
        assert (len(cache), cache.get("old"), cache.get("new")) == (1, None, made_up())


_WRITER = """
import sys
from distsim.study.cache import Cache
from tests.sweeping import made_up
with Cache(sys.argv[1]) as cache:
    for n in range(int(sys.argv[2]), int(sys.argv[3])):
        assert cache.put(f"{n}", made_up(step_s=1.0 + n)), n
"""


def test_several_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "c.sqlite"
    root = str(Path(__file__).parents[2])
    spans = [(0, 150), (100, 250), (200, 350)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(low), str(high)],
            env=os.environ | {"PYTHONPATH": root},
            stderr=subprocess.PIPE,
            text=True,
        )
        for low, high in spans
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    with Cache(path) as cache:
        assert len(cache) == 350
        assert all(cache.get(f"{n}") == made_up(step_s=1.0 + n) for n in range(350))


def test_a_writer_that_holds_the_file_too_long_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    said: list[str] = []
    with Cache(tmp_path / "c.sqlite", said.append) as cache:
        other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert len(dict(Cached(_runner(), cache).run(_scenarios()))) == 4
        other.execute("ROLLBACK")
        other.close()
    assert len(said) == 1 and "locked" in said[0]
