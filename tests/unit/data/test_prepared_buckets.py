"""Datasets of many files: fitted and audited one after the other, as if they were one."""

import dataclasses
import shutil

import numpy as np
import pyarrow as pa
import pytest

from metarec import storage
from metarec.config import Config, with_values
from metarec.data import audit as audit_module
from metarec.data import training_side
from metarec.data.biases import fit_biases
from metarec.data.parquet import read_parquet, write_parquet
from metarec.data.prepare import prepare
from metarec.data.training_side import sum_training
from metarec.schema import SPLITS
from tests.planted_leaks import violated


@pytest.fixture(scope="module", params=["user_cold", "warm"])
def dataset(request, ray_cluster, tmp_path_factory):
    """60 users in about 24 buckets."""
    root = str(tmp_path_factory.mktemp("buckets"))
    values = {"output.root": root, "synthetic.num_users": 60, "protocol.name": request.param}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metarec.data.prepare.ROWS_PER_BUCKET", 100)
        return prepare(with_values(Config(), values), progress=str)


def sums_of(dataset):
    return sum_training(dataset.parts("train"), num_users=60, num_items=300, num_heads=1)


def test_files_of_the_same_users_stand_together(dataset):
    buckets = dataset.buckets()
    assert len(buckets) > 10
    assert sum(len(parts) for parts in buckets) == sum(len(dataset.parts(split)) for split in SPLITS)
    assert all(len({part.uri.rpartition("/")[2] for part in parts.values()}) == 1 for parts in buckets)


def test_what_stands_elsewhere_is_told_for_each_test_task_in_its_place(dataset):
    test, elsewhere, rated = dataset.histories("test"), dataset.elsewhere(), {}
    for split in SPLITS:
        for task in dataset.tasks(split).to_pylist():
            rated.setdefault(task["user"], set()).update(task["item"])
    for index, user in enumerate(test.user.tolist()):
        own = [each.take(np.array([index])) for each in (test, elsewhere)]
        assert own[1].user.tolist() == [user]
        assert set(own[1].item.tolist()) == rated[user] - set(own[0].item.tolist())


def test_the_training_side_is_summed_up_as_it_is_in_one_piece(dataset):
    train, sums = dataset.histories("train"), sums_of(dataset)
    assert np.flatnonzero(sums.trained).tolist() == sorted(train.user.tolist())
    assert sums.num_ratings.tolist() == np.bincount(train.item, minlength=300).tolist()
    whole = fit_biases(train, num_items=300)
    np.testing.assert_allclose(sums.biases.item_bias, whole.item_bias, atol=1e-12)
    np.testing.assert_allclose(sums.biases.offset, whole.offset, rtol=1e-12)


def test_each_training_file_is_read_once_however_often_fitting_goes_through_it(dataset, monkeypatch):
    read = []
    original = training_side.read_part
    monkeypatch.setattr(training_side, "read_part", lambda part: read.append(part.uri) or original(part))
    sums_of(dataset)
    assert read == [part.uri for part in dataset.parts("train")]


def test_the_audit_looks_at_every_task_and_finds_nothing(dataset):
    checks = audit_module.audit(dataset)
    assert [check.num_violations for check in checks] == [0] * len(checks)
    found = {check.claim: check.num_checked for check in checks}
    assert found["every user index points into users.parquet"] == sum(dataset.num_tasks(split) for split in SPLITS)
    assert len(found) == len(checks)


def test_a_user_whose_ratings_stand_in_two_buckets_is_found(dataset, tmp_path):
    """Claims on single users are checked bucket by bucket, so this one is what they stand on."""
    copy = str(shutil.copytree(dataset.uri, tmp_path / "copy"))
    first, second, *others = dataset.manifest["splits"]["train"]
    moved, own = (read_parquet(storage.join(copy, each["file"]), each["sha256"]) for each in (first, second))
    written = write_parquet(storage.join(copy, second["file"]), pa.concat_tables([own, moved.slice(0, 1)]))
    splits = {**dataset.manifest["splits"], "train": [first, {**second, **written}, *others]}
    leaky = dataclasses.replace(dataset, uri=copy, manifest={**dataset.manifest, "splits": splits})
    assert "the tasks of each user stand in files of one number" in violated(leaky)
