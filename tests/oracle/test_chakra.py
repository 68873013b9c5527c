"""Chakra traces: published field numbers, and the same work as the prediction, rank by rank."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distsim.api import load, simulate
from distsim.cli import main
from distsim.cli.output_directory import write_directory
from distsim.errors import DistsimError
from distsim.prediction.breakdown import breakdown
from distsim.prediction.predict import Prediction
from distsim.study.traces.chakra_read import ChakraNode, read_chakra, summary
from distsim.study.traces.chakra_schema import CollectiveType, NodeType, messages, varint
from distsim.study.traces.chakra_write import GROUPS_FILE, ChakraTraces

pytest.importorskip("google.protobuf")

MODEL = {"family": "gpt", "layers": 8, "hidden": 512, "heads": 8, "vocab": 4096,
         "max_positions": 512}  # fmt: skip
MOE = {"family": "llama", "layers": 4, "hidden": 512, "heads": 8, "ffn": 1024, "vocab": 4096,
       "experts": 8, "experts_per_token": 2, "max_positions": 512}  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pipeline": ({"tp": 2, "pp": 4}, MODEL),
    "sequence": ({"tp": 4, "pp": 2, "sequence_parallel": True}, MODEL),
    "interleaved": (
        {"tp": 2, "pp": 2, "schedule": "interleaved", "virtual_stages": 2}, MODEL,
    ),
    "sharded": ({"zero_stage": 3}, MODEL),
    "sharded in bf16": ({"zero_stage": 3, "grad_dtype": "bf16"}, MODEL),
    "context": ({"cp": 2, "pp": 2}, MODEL),
    "dualpipe": ({"pp": 4, "schedule": "dualpipe"}, MODEL),
    "experts": ({"ep": 4}, MOE),
}  # fmt: skip
DEVICES = 16


class Traces:
    """A prediction and what is written for it."""

    def __init__(self, prediction: Prediction, directory: Path) -> None:
        self.prediction = prediction
        write_directory(str(directory), ChakraTraces(prediction).files())
        self.directory = directory
        self.ranks: list[list[ChakraNode]] = [
            read_chakra(directory / f"distsim.{rank}.et")[2] for rank in range(DEVICES)
        ]
        self.groups: dict[str, list[int]] = json.loads((directory / GROUPS_FILE).read_text())

    def collectives(self) -> Iterator[tuple[int, ChakraNode]]:
        for rank, nodes in enumerate(self.ranks):
            for node in nodes:
                if node.type == NodeType.COMM_COLL_NODE:
                    yield rank, node


@pytest.fixture(scope="module", params=CASES)
def traces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    plan, model = CASES[request.param]
    scenario = {
        "schema": 1,
        "name": "chakra",
        "cluster": {"topology": "dgx-a100-superpod", "devices": DEVICES},
        "model": model,
        "batch": {"global_size": 64, "micro_size": 1, "sequence_length": 512},
        "plan": {key: value for key, value in plan.items() if key != "grad_dtype"},
        "precision": {"compute": "bf16", "gradients": plan.get("grad_dtype", "fp32")},
        "evaluator": "graph",
    }
    return Traces(simulate(load(scenario)), tmp_path_factory.mktemp("traces") / "out")


def test_field_numbers_are_the_published_ones() -> None:
    """et_def.proto of MLCommons Chakra."""
    kinds = ["double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
             "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"]  # fmt: skip
    published = {"name": 1, "doc_string": 2}
    for n, kind in enumerate(kinds):
        published |= {f"{kind}_val": 3 + 2 * n, f"{kind}_list": 4 + 2 * n}
    found = messages()
    numbers = [{f.name: f.number for f in m.DESCRIPTOR.fields} for m in found]
    assert numbers[0] == {"version": 1, "attr": 2}
    assert numbers[1] == {
        "id": 1, "name": 2, "type": 3, "ctrl_deps": 4, "data_deps": 5, "start_time_micros": 6,
        "duration_micros": 7, "inputs": 8, "outputs": 9, "attr": 10,
    }  # fmt: skip
    assert numbers[2] == published
    assert found.node.DESCRIPTOR.full_name == "ChakraProtoMsg.Node"
    assert [int(t) for t in NodeType] == list(range(8))
    assert CollectiveType.ALL_TO_ALL == 6 and CollectiveType.REDUCE_SCATTER == 7


def test_a_node_is_encoded_as_the_wire_format_says() -> None:
    """By hand: tag = number << 3 | wire type; varints; strings and messages with their length."""
    node = messages().node(id=300, name="ab", type=7, data_deps=[1, 2], duration_micros=5)
    node.attr.add(name="c", int64_val=6)
    expected = bytes.fromhex(
        "08 ac02" "12 02 6162" "18 07" "2a 02 0102" "38 05" "52 05 0a01 63 48 06"
    )  # fmt: skip
    assert node.SerializeToString() == expected
    assert varint(300) == bytes([0xAC, 0x02]) and varint(127) == b"\x7f" and varint(0) == b"\0"


def test_compute_takes_what_the_prediction_says(traces: Traces) -> None:
    """On every rank: kernels of the breakdown, to a microsecond of rounding in all."""
    timeline = traces.prediction.timeline
    each = breakdown(timeline.program, timeline.run)[1]
    for rank, nodes in enumerate(traces.ranks):
        own = each[int(timeline.program.network.fold.class_of[rank])]
        micros = sum(
            n.duration_micros for n in nodes
            if n.type == NodeType.COMP_NODE and not n.attributes["is_cpu_op"]
        )  # fmt: skip
        expected_us = (own["compute_s"] + own["optimizer_s"]) * 1e6
        host = sum(n.type == NodeType.COMP_NODE and n.attributes["is_cpu_op"] for n in nodes)
        assert micros == pytest.approx(expected_us, abs=1.5 + host)


@pytest.mark.parametrize("traces", [n for n in CASES if n != "experts"], indirect=True)
def test_flop_are_those_of_the_model(traces: Traces) -> None:
    """GPT by hand: 24 h^2 a layer and 2 h V for the logits, three times; attention at most in full.

    Attention reads half of the keys where it is causal, and FlashAttention's backward pass runs two
    and a half times the products of the forward pass (Dao 2022).
    """
    written = sum(n.attributes.get("num_ops", 0) for nodes in traces.ranks for n in nodes)
    tokens, layers, hidden, vocab, length = 64 * 512, 8, 512, 4096, 512
    products = 3 * tokens * (layers * 24 * hidden**2 + 2 * hidden * vocab)
    attention = 3.5 * 4 * tokens * layers * length * hidden
    assert products * (1 - 1e-9) + 0.4 * attention < written < products * 1.001 + attention


def test_every_rank_of_a_group_runs_the_same_collectives_in_order(traces: Traces) -> None:
    by_group: dict[str, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for rank, node in traces.collectives():
        attributes = node.attributes
        what = (attributes["comm_type"], attributes["comm_size"])
        by_group[attributes["pg_name"]][rank].append(what)
    assert by_group
    for group, ranks in by_group.items():
        assert sorted(ranks) == sorted(traces.groups[group])
        assert len({tuple(sequence) for sequence in ranks.values()}) == 1


def test_sends_and_receipts_match(traces: Traces) -> None:
    ends: Counter[tuple[int, int, int, int]] = Counter()
    for rank, nodes in enumerate(traces.ranks):
        for node in nodes:
            if node.type not in (NodeType.COMM_SEND_NODE, NodeType.COMM_RECV_NODE):
                continue
            a = node.attributes
            key = (a["comm_src"], a["comm_dst"], a["comm_size"], a["comm_tag"])
            sends = node.type == NodeType.COMM_SEND_NODE
            assert a["comm_src" if sends else "comm_dst"] == rank
            ends[key] += 1 if sends else -1
    assert set(ends.values()) <= {0}
    assert bool(ends) == (traces.prediction.plan["pp"] > 1 or traces.prediction.plan["cp"] > 1)


def test_a_node_follows_all_that_it_waits_for(traces: Traces) -> None:
    for nodes in traces.ranks:
        assert [n.id for n in nodes] == list(range(len(nodes)))
        assert all(dep < node.id for node in nodes for dep in node.deps)
        assert all(len(set(node.deps)) == len(node.deps) for node in nodes)


def test_all_ranks_together_reach_the_end(traces: Traces) -> None:
    """Replayed with messages that take no time: nobody waits for ever, and no sooner than compute.

    A collective starts when all its ranks have come, a receipt when it was sent.
    """
    at: dict[tuple[int, int], float] = {}
    sent: dict[tuple[int, int, int, int], float] = {}
    met: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    turn: list[Counter[str]] = [Counter() for _ in traces.ranks]
    number = {
        (rank, n.id): (n.attributes["pg_name"], turn[rank].update([n.attributes["pg_name"]])
                       or turn[rank][n.attributes["pg_name"]])
        for rank, nodes in enumerate(traces.ranks) for n in nodes
        if n.type == NodeType.COMM_COLL_NODE
    }  # fmt: skip
    left = sum(map(len, traces.ranks))
    while left:
        before = left
        for rank, nodes in enumerate(traces.ranks):
            for node in nodes:
                key = (rank, node.id)
                if key in at or any((rank, dep) not in at for dep in node.deps):
                    continue
                ready = max((at[rank, dep] for dep in node.deps), default=0.0)
                a = node.attributes
                if node.type == NodeType.COMM_COLL_NODE:
                    arrived = met[number[key]]
                    arrived[rank] = ready
                    if len(arrived) < len(traces.groups[a["pg_name"]]):
                        continue
                    ready = max(arrived.values())
                elif node.type != NodeType.COMP_NODE:
                    message = (a["comm_src"], a["comm_dst"], a["comm_size"], a["comm_tag"])
                    if node.type == NodeType.COMM_SEND_NODE:
                        sent[message] = ready
                    elif message not in sent:
                        continue
                    else:
                        ready = max(ready, sent[message])
                at[key] = ready + node.duration_micros * 1e-6
                left -= 1
        assert left < before, "ranks wait for one another"
    end_s = max(at.values())
    busiest = max(
        sum(n.duration_micros for n in nodes if not n.attributes["is_cpu_op"]) * 1e-6
        for nodes in traces.ranks
    )
    assert busiest - 1e-6 * max(map(len, traces.ranks)) <= end_s
    assert end_s <= traces.prediction.step_s * (1 + 1e-3) + 2e-6 * DEVICES


def test_a_summary_adds_up(traces: Traces) -> None:
    found = summary(traces.directory / "distsim.3.et")
    nodes = traces.ranks[3]
    assert found.nodes == len(nodes) == sum(found.types.values())
    assert found.missing == 0 and found.attributes["rank"] == 3
    assert found.compute_s * 1e6 == pytest.approx(
        sum(n.duration_micros for n in nodes if n.type == NodeType.COMP_NODE)
    )
    bytes_sent = sum(n.attributes.get("comm_size", 0) for n in nodes)
    assert sum(size for _, size in found.messages.values()) == bytes_sent


@pytest.mark.parametrize("traces", ["sharded", "sharded in bf16"], indirect=True)
def test_gradients_of_all_parameters_are_reduced(traces: Traces) -> None:
    """ZeRO 3: gathers of a rank bring all bf16 weights, twice a micro batch."""
    sizes = Counter[int]()
    for node in traces.ranks[0]:
        if node.type == NodeType.COMM_COLL_NODE:
            sizes[node.attributes["comm_type"]] += node.attributes["comm_size"]
    micro_batches = 64 // DEVICES
    whole = 2 * traces.prediction.parameters
    assert sizes[CollectiveType.ALL_GATHER] == pytest.approx(2 * micro_batches * whole, rel=1e-3)
    reduced = sizes[CollectiveType.REDUCE_SCATTER]
    assert reduced / whole == pytest.approx(round(reduced / whole), rel=1e-3)


def _file(*bodies: bytes) -> bytes:
    return b"".join(varint(len(body)) + body for body in bodies)


HEAD = bytes.fromhex("0a 05 302e302e34")
NODE = bytes.fromhex("08 01 12 01 61 18 04")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 20,
        b"\x80",
        _file(HEAD, NODE)[:-1],
        _file(HEAD, NODE, NODE),
        _file(HEAD, b"\x0a\xff"),
        _file(HEAD, bytes.fromhex("12 01 ff")),
        varint(10**12) + b"x",
        b'{"traceEvents": []}',
        b"\x1f\x8b\x08\x00" + b"\0" * 30,
    ],
)
def test_bad_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.0.et"
    path.write_bytes(content)
    with pytest.raises(DistsimError) as caught:
        summary(path)
    assert caught.value.code == "DS721" and caught.value.fix


def test_what_others_write_is_read(tmp_path: Path) -> None:
    """Values of every type, lists, unknown fields, dependencies on what is not there."""
    kinds = messages()
    node = kinds.node(id=7, name="x", type=5, ctrl_deps=[1], data_deps=[2])
    node.attr.add(name="involved_dim").bool_list.values.extend([True, False])
    node.attr.add(name="comm_dst", int32_val=3)
    node.attr.add(name="comm_size", uint64_val=2**40)
    node.attr.add(name="raw", bytes_val=b"\xff")
    node.attr.add(name="empty")
    odd = kinds.node(id=8, type=4).SerializeToString() + bytes.fromhex("f8 07 01")
    strange = kinds.node(id=9, type=7)
    strange.attr.add(name="comm_type", int64_val=99)
    path = tmp_path / "x.et"
    path.write_bytes(_file(HEAD, node.SerializeToString(), odd, strange.SerializeToString()))
    found = summary(path)
    assert found.version == "0.0.4" and (found.nodes, found.missing) == (3, 2)
    assert found.messages == {("send", "rank 3"): (1, 2.0**40),
                              ("collective 99", "group -"): (1, 0.0)}  # fmt: skip
    attributes = read_chakra(path)[2][0].attributes
    assert attributes["involved_dim"] == [True, False] and attributes["raw"] == "ff"
    assert attributes["empty"] is None


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "traces"
    small = ["--set", "cluster.devices=16", "--set", "plan={tp: 8, pp: 2}", "--set",
             "batch={global_size: 8, micro_size: 1, sequence_length: 512}", "--set",
             "model=gpt2-medium"]  # fmt: skip
    run = ["run", "gpt3-175b-1024xa100", "--json", *small, "--chakra", str(out)]
    assert main(run) == 0
    assert len(list(out.iterdir())) == 17
    capsys.readouterr()
    assert main(["trace", "chakra", str(out / "distsim.0.et"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["attributes"]["rank"] == 0
    assert main(["trace", "chakra", str(out / "distsim.0.et")]) == 0
    assert "all_reduce" in capsys.readouterr().out
    assert main(run) == 2
    assert "not empty" in capsys.readouterr().err


def test_an_interrupt_leaves_no_directory(tmp_path: Path) -> None:
    def files() -> Iterator[tuple[str, list[bytes]]]:
        yield "a", [b"x"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_directory(str(tmp_path / "out"), files())
    assert not list(tmp_path.iterdir())
