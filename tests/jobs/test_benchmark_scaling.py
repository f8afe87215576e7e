"""The benchmark of scaling in its smallest form: each way is timed, each gradient reduced once."""

import json

from jobs.benchmarks.meta_batches import make_learner
from tests.jobs.command_line import run_job


def test_the_scaling_benchmark_reports_the_all_reduce_and_the_model(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "scaling", "--quick", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(file.read_text())["cases"]
    assert case["gradient_bytes"] == 4 * sum(each.numel() for each in make_learner(1).parameters())
    assert set(case["seconds"]) == set(case["cpu_seconds"]) == {"alone", "own", "apart", "together", "afterwards"}
    assert min(case["seconds"].values()) > 0
    assert case["efficiency_with_cores"] > 0
    assert 0 < case["moving_share"] < 1
    assert case["rate_together"] / (2 * case["rate_alone"]) - case["efficiency"] < 1e-9
    assert set(case["model"]["ring"]) == {"8", "64", "512"}
    assert "on paper (not measured)" in done.stdout
