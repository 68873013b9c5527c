"""Unequal shares: files, skews, and what the command prints of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from distsim.cli import main
from distsim.collectives.unequal import loads
from distsim.errors import DistsimError
from distsim.study.unequal import read_shares, skewed

WORDS = ["collective", "all-to-all", "--topology", "dgx-a100", "--sizes", "1MB,1GB"]


def save(tmp_path, content: str | bytes) -> str:
    file = tmp_path / "shares.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


@pytest.mark.parametrize(
    "text",
    [
        "0,3\n1,0\n",
        "0,3\r\n1,0\r\n",
        "\ufeff0,3\n1,0",
        "0 3\n1\t0\n",
        "# senders\n\n 0 , 3 # to 1\n1e0,0.0\n",
        "0,30\n10,0\n",
    ],
)
def test_files_of_shares(text, tmp_path):
    shares = read_shares(save(tmp_path, text), 2)
    np.testing.assert_allclose(shares.matrix, [[0, 1.5], [0.5, 0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("1,2\n3,4\n", "DS244", 2, "2 lines of 2 numbers for 3 devices"),
        ("1,2,3\n4,5,6\n", "DS244", 2, "2 lines of 3 numbers for 3 devices"),
        ("1,2,3\n4,5\n7,8,9\n", "DS244", 2, "2 numbers, and 3 in the lines before"),
        ("1,2,3\n4,5,6\n7,8,9,\n", "DS244", 3, "4 numbers"),
        ("1,2,3\n4,-5,6\n7,8,9\n", "DS244", 2, "number 2 is '-5'"),
        ("1,2,3\n4,5,6\n7,8,nan\n", "DS244", 3, "number 3 is 'nan'"),
        ("inf,2,3\n4,5,6\n7,8,9\n", "DS244", 1, "number 1 is 'inf'"),
        ("a,b,c\n4,5,6\n7,8,9\n", "DS244", 1, "number 1 is 'a'"),
        ("1,2,3\n4,,6\n7,8,9\n", "DS244", 2, "number 2 is ''"),
        ("1,2,3\n4,5 MB,6\n7,8,9\n", "DS244", 2, "5 MB"),
        ("1,2,3\n4,1_0,6\n7,8,9\n", "DS244", 2, "1_0"),
        ("\n0,0,0\n0,0,0\n0,0,0\n", "DS244", 2, "all shares are 0"),
        ("# nothing\n", "DS244", 1, "0 lines of 0 numbers"),
        ("1,2,3\n4,5,6\n7,8,9\n".encode("utf-16"), "DS105", 1, "not UTF-8"),
        ("", "DS106", 0, "empty"),
    ],
)
def test_files_that_are_no_matrix_of_shares(text, code, line, words, tmp_path):
    file = save(tmp_path, text)
    with pytest.raises(DistsimError) as caught:
        read_shares(file, 3)
    error = caught.value
    assert (error.code, error.place.file, error.place.line) == (code, file, line)
    assert words in error.message and error.rule and error.fix


def test_a_matrix_for_other_devices_says_how_many_to_ask_for(tmp_path):
    with pytest.raises(DistsimError) as caught:
        read_shares(save(tmp_path, "1,2\n3,4\n"), 8)
    assert "--devices 2" in caught.value.fix


def test_a_skew_is_the_same_for_the_same_seed():
    first, again, other = (skewed("zipf:1.2", 16, seed).matrix for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.sort(first) == np.sort(other)).all() and (first != other).any()
    assert (skewed("dirichlet:0.5", 16, 0).matrix != skewed("dirichlet:0.5", 16, 1).matrix).any()


@pytest.mark.parametrize("text", ["zipf:0", "zipf:100", "dirichlet:0.001", "Dirichlet:1e6"])
@pytest.mark.parametrize("n", [1, 2, 64])
def test_skews_at_the_ends_of_their_ranges(text, n):
    shares = skewed(text, n, 3)
    assert np.isfinite(shares.matrix).all()
    assert shares.matrix.sum() == pytest.approx(n)
    if text == "zipf:0":
        np.testing.assert_allclose(shares.matrix, 1 / n, rtol=1e-12)
    if text == "zipf:100":
        assert loads(shares.matrix)[1].max() == pytest.approx(n - 1)


def test_a_skew_over_too_many_devices_is_refused():
    with pytest.raises(DistsimError, match="DS614"):
        skewed("zipf:1", 5000, 0)


def test_the_command_names_the_slowest_member(tmp_path, capsys):
    file = save(tmp_path, "0,3\n1,0\n")
    words = [*WORDS, "--devices", "2", "--shares", file]
    assert main(words) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Slowest member: 0 (n0.gpu0), which sends 1.50 times the mean" in text
    assert main([*words, "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["shares"] == {
        "label": file,
        "slowest_member": 0,
        "slowest_device": "n0.gpu0",
        "side": "sends",
        "imbalance": 1.5,
        "sent_imbalance": 1.5,
        "received_imbalance": 1.5,
    }


@pytest.mark.parametrize("algorithm", ["auto", "direct", "pairwise", "hierarchical"])
@pytest.mark.parametrize("detail", ["fluid", "steps"])
def test_a_skew_costs_time(algorithm, detail, capsys):
    times = []
    for exponent in (0, 1, 2):
        more = ["--devices", "8", "--algorithm", algorithm, "--detail", detail, "--json"]
        assert main([*WORDS, *more, "--skew", f"zipf:{exponent}"]) == 0
        times.append(json.loads(capsys.readouterr().out)["rows"][1]["time_s"])
    assert times[0] < times[1] < times[2]


def test_nodes_of_different_sizes_take_unequal_shares(capsys):
    words = ["collective", "all-to-all", "--topology", "dgx-a100-superpod", "--sizes", "1MB"]
    for algorithm in ("auto", "pairwise", "hierarchical"):
        more = ["--devices", "11", "--skew", "zipf:1", "--algorithm", algorithm]
        assert main([*words, *more]) == 0
        assert "all_to_all" in capsys.readouterr().out
