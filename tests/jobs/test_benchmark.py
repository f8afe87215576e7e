"""The benchmark in its smallest form: every row is there, every peer learns the same; how fast is not asked."""

import json

import pytest

from tests.jobs.command_line import last_line, run_job


def test_the_engine_benchmark_reports_speed_and_memory(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "engine", "--quick", "--threads", "1", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["threads"] == 1
    (case,) = report["devices"]["cpu"]["speed"]
    assert {"metarec", "metarec, no kernel", "vmap, padded", "learn2learn's loop"} <= case["tasks_per_second"].keys()
    assert {"higher", "torchopt"} <= case["tasks_per_second"].keys() | case["missing"].keys()
    assert max(case["gradient_difference"].values()) < 1e-4
    assert case["operations_a_task"] > 0
    ways = {row["way"] for row in report["devices"]["cpu"]["memory"]}
    assert ways == {"metarec", "metarec, no kernel", "metarec, steps recomputed", "iMAML"}
    assert "| metarec |" in done.stdout


def test_an_unknown_benchmark_is_refused_with_those_there_are(tmp_path):
    refused = run_job("benchmark", "engines", root=tmp_path)
    assert refused.returncode != 0
    assert "engine" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--report", "{root}/file/report.json"), "error: cannot write {root}/file/report.json: "),
        (("--report", "report.txt"), "error: cannot write a report to report.txt; name a file that ends in .json"),
        (("--set", "output.root=/elsewhere"), "error: jobs.benchmark engine has settings of its own; leave --config"),
    ],
)
def test_what_would_be_in_vain_is_refused_before_any_work(arguments, sentence, tmp_path):
    (tmp_path / "file").write_text("")
    refused = run_job("benchmark", "engine", *(each.format(root=tmp_path) for each in arguments), root=tmp_path)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith(sentence.format(root=tmp_path))
    assert refused.stdout == ""


@pytest.mark.slow
def test_the_serving_benchmark_recommends_the_same_at_once_and_one_by_one(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "recommend", "--quick", "--threads", "1", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    cases, table = report["cases"], report["table"]
    assert cases.keys() == {"ridge on mf", "ridge on melu", "maml on melu"}
    for case in cases.values():
        assert case["same_items"] == 1
        assert case["largest_difference"] < 1e-5
        assert case["users_per_second"].keys() == {"batch", "loop"}
    assert "| ridge on mf |" in done.stdout
    assert table["num_users"] * 20 == table["num_rows"]
    assert table["users_per_second"] > 0
    assert "all 40 users of a table of 800 ratings on Ray Data" in done.stdout


def test_the_tracking_benchmark_measures_beside_every_kind_of_tracker(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "tracking", "--quick", "--threads", "1", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["cases"].keys() == {
        "a thread that computes 1 %",
        "sqlite in the process",
        "a server",
        "a server that is gone",
        "a server that takes 10 s a call",
        "a server that answers 500",
    }
    for case in report["cases"].values():
        assert case["num_steps"] > 0
        assert case["lost"]["low"] <= case["lost"]["value"] <= case["lost"]["high"]
    working = ("a thread that computes 1 %", "sqlite in the process", "a server")
    assert min(report["cases"][name]["computed"] for name in working) > 0  # those that fail rest for longer
    assert "| a server that is gone |" in done.stdout
