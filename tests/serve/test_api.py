"""Every path of the JSON interface: what it says is what the command line says."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import yaml

import distsim as ds
from distsim.cli import main
from distsim.report.html.page import EXPORTS
from distsim.serve.limits import LIMITS
from distsim.units import fmt_s
from tests.serving import SMALL, Running, events, scenario_text

GPT3 = "gpt3-175b-1024xa100"


def test_a_prediction_is_that_of_the_command_line(server: Running) -> None:
    found = server.post("/api/predict", {"scenario": scenario_text(GPT3), "set": ["plan.tp=4"]})
    assert found.status_code == 200
    assert found.headers["content-type"] == "application/json"
    expected = ds.simulate(ds.load(GPT3, ["plan.tp=4"])).to_dict()
    assert found.json() == json.loads(json.dumps(expected))


def test_a_page_comes_bit_by_bit_and_agrees(server: Running) -> None:
    found = server.post("/api/page", {"scenario": scenario_text(GPT3)})
    assert found.headers["content-type"].startswith("text/event-stream")
    said = events(found.text)
    names = [name for name, _ in said]
    assert names[:2] == ["preview", "page"] and names[-1] == "done"
    prediction = ds.simulate(ds.load(GPT3))
    # The longest path knows no contention: it is never above what the events come to.
    assert 0.9 * prediction.step_s < said[0][1]["step_s"] <= prediction.step_s
    page = said[1][1]
    assert page["numbers"][0]["value"] == fmt_s(prediction.step_s)
    assert page["warnings"] == list(prediction.warnings)
    assert page["sections"][0]["rows"][-1][2] == prediction.step_s
    sections = {data["section"]["id"]: data for name, data in said if name == "section"}
    assert set(sections) == {"timeline", "memory", "network", "roofline", "accuracy"}
    assert sorted(data["at"] for data in sections.values()) == [1, 2, 3, 4, 5]
    assert sections["timeline"]["section"]["count"] == prediction.tasks
    assert sections["timeline"]["section"]["end_s"] == prediction.step_s


def test_several_jobs_have_a_page_and_a_result(server: Running) -> None:
    text = scenario_text("two-jobs-128xa100")
    said = dict(events(server.post("/api/page", {"scenario": text}).text))
    jobs = ds.simulate_jobs(ds.load_jobs("two-jobs-128xa100"))
    rows = next(s for s in said["page"]["sections"] if s["id"] == "jobs")["rows"]
    assert [row[3] for row in rows] == [job.step_s for job in jobs.jobs]
    assert server.post("/api/predict", {"scenario": text}).json() == jobs.to_dict()


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("tp: 2", "tp: 3"),
        SMALL.replace("tp: 2", "tpp: 2"),
        SMALL.replace("devices: 8", "devices: eight"),
        SMALL.replace("dgx-a100", "dgx-a101"),
        SMALL.replace("plan: {", "plan: [{"),
        "",
        "- a list",
        "a: &a [*a]",
        SMALL.replace("small", "yes"),
    ],
)
def test_a_bad_scenario_has_the_error_text_of_the_command_line(
    server: Running, text: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenario.yaml").write_text(text)
    assert main(["run", "scenario.yaml"]) == 2
    said = capsys.readouterr().err
    for path in ("/api/predict", "/api/page"):
        found = server.post(path, {"scenario": text})
        assert found.status_code == 422
        error = found.json()["error"]
        if text:  # the command line sees an empty file before it reads it as YAML
            assert error["text"].replace("a path of a file, or ", "") + "\n" == said.replace(
                "a path of a file, or ", ""
            )
        assert error["code"] and error["rule"] and error["fix"]


def test_a_change_keeps_the_rest_of_the_text(server: Running) -> None:
    asked = {"scenario": SMALL, "set": ["plan.tp=4", "plan.recompute=full"]}
    found = server.post("/api/scenario", asked).json()
    expected = SMALL.replace("{tp: 2, pp: 2}", "{tp: 4, pp: 2, recompute: full}")
    assert found["scenario"] == expected
    assert found["error"] is None
    # Values have the defaults and what is derived.
    plan = found["values"]["plan"]
    assert (plan["tp"], plan["dp"], plan["zero_stage"], plan["recompute"]) == (4, 1, 0, "full")


def test_a_change_that_is_wrong_is_made_and_said(server: Running) -> None:
    found = server.post("/api/scenario", {"scenario": SMALL, "set": ["plan.tp=3"]}).json()
    assert "tp: 3" in found["scenario"] and found["values"]["plan"]["tp"] == 3
    assert (found["error"]["code"], found["error"]["line"]) == ("DS301", 6)


def test_a_change_of_a_shared_value_writes_the_scenario_anew(server: Running) -> None:
    text = SMALL + "stack: &s megatron-core\nprecision: bf16\n"
    found = server.post("/api/scenario", {"scenario": text, "set": ["cluster.of=16"]}).json()
    assert yaml.safe_load(found["scenario"])["cluster"]["of"] == 16
    aliased = "base: &b {topology: dgx-a100, devices: 8}\ncluster: *b\n"
    found = server.post("/api/scenario", {"scenario": aliased, "set": ["cluster.devices=4"]}).json()
    read = yaml.safe_load(found["scenario"])
    assert (read["base"]["devices"], read["cluster"]["devices"]) == (8, 4)


def test_two_scenarios_side_by_side(server: Running) -> None:
    b = {"scenario": SMALL, "set": ["plan.tp=4", "batch.micro_size=2"]}
    said = events(server.post("/api/compare", {"a": {"scenario": SMALL}, "b": b}).text)
    progress = [data for name, data in said if name == "progress"]
    assert progress[0]["done"] == 0 and progress[-1]["done"] == progress[-1]["total"] == 3
    page = dict(said)["page"]
    one = ds.simulate(ds.load(yaml.safe_load(SMALL)))
    other = ds.simulate(ds.load(yaml.safe_load(SMALL), b["set"]))
    sections = {s["id"]: s for s in page["sections"]}
    # The bars lead from one step to the other without a gap.
    bars = sections["way"]["rows"]
    assert bars[0][2] == one.step_s and bars[-1][2] == other.step_s
    assert all(b[1] == a[2] for a, b in pairwise(bars[:-1]))
    assert bars[-2][2] == pytest.approx(other.step_s)
    assert [row[0] for row in sections["changes"]["rows"]] == ["batch.micro_size", "plan.tp"]
    alone = ds.simulate(ds.load(yaml.safe_load(SMALL), ["plan.tp=4"]))
    assert sections["changes"]["rows"][1][3] == pytest.approx(alone.step_s - one.step_s)
    delta_s = other.step_s - one.step_s
    assert sections["parts"]["rows"][-1] == ["step", one.step_s, other.step_s, delta_s]
    ends = [sections[f"timeline-{name}"]["end_s"] for name in "ab"]
    assert ends == [max(one.step_s, other.step_s)] * 2
    assert page["numbers"][2]["tone"] == ("good" if other.step_s < one.step_s else "bad")


def test_a_side_that_is_wrong_is_named(server: Running) -> None:
    bad = {"scenario": SMALL.replace("tp: 2", "tpp: 2")}
    found = server.post("/api/compare", {"a": {"scenario": SMALL}, "b": bad})
    assert found.status_code == 422
    error = found.json()["error"]
    assert (error["file"], error["line"], error["code"]) == ("B.yaml", 6, "DS201")


def test_a_sweep_reports_and_agrees_with_the_python_interface(server: Running) -> None:
    asked = {"scenario": SMALL, "devices": "8:32", "vary": ["plan.tp=1,2,16"], "weak": True}
    said = events(server.post("/api/sweep", asked).text)
    assert [name for name, _ in said][-2:] == ["page", "done"]
    progress = [data for name, data in said if name == "progress"]
    assert all(a["done"] <= b["done"] for a, b in pairwise(progress))
    expected = ds.sweep(yaml.safe_load(SMALL), devices="8:32", set_=["plan.tp=1,2,16"], weak=True)
    counts = expected.counts
    last = progress[-1]
    assert last["done"] == last["total"] == len(expected.rows) == 9
    assert (last["ok"], last["not_possible"]) == (counts["ok"], counts["not possible"])
    page = dict(said)["page"]
    rows = next(s for s in page["sections"] if s["id"] == "rows")["rows"]
    assert [row[3] for row in rows] == [
        row.outcome.step_s if row.outcome.possible else None for row in expected.rows
    ]
    # What was evaluated is kept, and known the next time.
    again = events(server.post("/api/sweep", asked).text)
    assert [d for n, d in again if n == "progress"][-1]["known"] == counts["ok"]
    assert dict(again)["page"] == page


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"vary": ["plan.tp"]}, "DS620"),
        ({"vary": ["plan.nothing=1,2"]}, "DS201"),
        ({"devices": "8:x"}, "DS660"),
        ({"along": ["plan.tp=1,2"]}, "DS666"),
        ({"devices": "1:4000:+1"}, "DS728"),
    ],
)
def test_a_sweep_that_cannot_be_says_why(server: Running, asked: dict, code: str) -> None:
    found = server.post("/api/sweep", {"scenario": SMALL, **asked})
    assert (found.status_code, found.json()["error"]["code"]) == (422, code)


def test_what_can_be_picked(server: Running) -> None:
    found = server.http.get("/api/catalogue").json()
    assert {m["name"] for m in found["models"]} >= {"gpt3-175b", "llama3-70b", "bert-large"}
    assert found["limits"] == LIMITS.to_dict() and found["version"] == ds.__version__
    for name in (GPT3, "textbook/01-08-square-gemm"):
        assert name in found["scenarios"]
        shipped = server.http.get(f"/api/scenarios/{name}").json()
        assert shipped == {"name": name, "scenario": scenario_text(name)}
    for schedule in ("interleaved", "1f1b"):
        assert schedule in [one["name"] for one in found["schedules"]]


@pytest.mark.parametrize("name", ["textbook/01-08-square-gemm", "llama3-8b-32xh100-csv"])
def test_shipped_scenarios_that_name_shipped_files_run(server: Running, name: str) -> None:
    found = server.post("/api/predict", {"scenario": scenario_text(name), "base": name})
    assert found.status_code == 200, found.text
    assert found.json()["step_s"] == ds.simulate(ds.load(name)).step_s


def test_the_files_of_the_page_are_whole_and_are_not_sent_twice(server: Running) -> None:
    index = server.http.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    script = server.http.get("/static/report.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.text.rstrip().endswith(f"export {{ {', '.join(EXPORTS)} }};")
    tag = script.headers["etag"]
    again = server.http.get("/static/report.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert server.http.head("/").content == b""
