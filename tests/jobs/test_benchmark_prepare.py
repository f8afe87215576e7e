import pyarrow.parquet as pq
import pytest

from jobs.benchmarks import prepare as benchmark
from jobs.benchmarks.interactions import write_interactions
from jobs.benchmarks.plain_grouping import group_plainly
from metarec.data.prepare import prepare
from metarec.schema import SPLITS


def test_the_plain_way_does_the_same_work(tmp_path, ray_cluster):
    write_interactions(tmp_path / "log", num_rows=6_000, num_users=120, num_items=90)
    num_users = group_plainly(tmp_path / "log", tmp_path / "plain.parquet", min_ratings=12)
    plain = pq.read_table(tmp_path / "plain.parquet").to_pylist()
    dataset = prepare(benchmark.config_for(str(tmp_path)), progress=lambda line: None)
    found = {}
    for split in SPLITS:
        histories = dataset.histories(split)
        for number, user in enumerate(histories.user.tolist()):
            rows = slice(histories.offsets[number], histories.offsets[number + 1])
            found[user] = (histories.item[rows].tolist(), histories.target[rows, 0].tolist())
    assert num_users == len(found)
    assert found == {row["user"]: (row["item"], row["rating"]) for row in plain}


@pytest.mark.slow
def test_the_report_says_how_fast_and_in_how_much_memory():
    lines = list(benchmark.describe(benchmark.measure(quick=True, threads=None)))
    assert lines[0] == "200,000 interactions, 2 CPUs"
    assert [line.split()[0] for line in lines[2:4]] == ["metarec", "pyarrow"]
    assert "x the time of plain pyarrow" in lines[-2]
