"""Checkpoints: what is loaded is what was saved, to the bit, and what is damaged is passed over by name."""

import dataclasses
import math

import pytest
import torch

from jobs.benchmarks.checkpoints import largest_file
from metarec import storage
from metarec.errors import StorageError
from metarec.train.checkpoint import CheckpointFolder, Progress
from tests.worlds import gradients, make_batch, make_catalogue, make_learner


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(str(tmp_path / "checkpoints"), keep=2, lower_is_better=True)


@pytest.fixture
def trained():
    """A learner after two outer steps, with its optimiser."""
    learner = make_learner()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.01)
    for _ in range(2):
        for name, gradient in gradients(learner, make_catalogue(), make_batch(4, 2)).items():
            learner.get_parameter(name).grad = gradient
        optimizer.step()
    return learner, optimizer


def save(folder, trained, *steps_and_values):
    for step, value in steps_and_values:
        folder.save(*trained, Progress(step, value, 10 * step))


def flip_a_byte(folder, step, name="weights.safetensors"):
    place = storage.join(folder.uri, f"step-{step:010d}", name)
    content = bytearray(storage.read_bytes(place))
    content[-1] ^= 1
    storage.write_bytes(place, bytes(content))


def state_of(optimizer):
    entries = optimizer.state_dict()["state"].items()
    return {(index, name): value for index, entry in entries for name, value in entry.items()}


def test_weights_optimizer_and_progress_come_back_to_the_bit(folder, trained):
    learner, optimizer = trained
    save(folder, trained, (2, 0.75))
    other = make_learner(perturbed=False)
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=1.0)
    assert folder.load(2, other, other_optimizer) == Progress(step=2, validation=0.75, num_tasks_seen=20)
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), other.parameters(), strict=True))
    saved, loaded = state_of(optimizer), state_of(other_optimizer)
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) and saved[key].dtype == loaded[key].dtype for key in saved)
    assert other_optimizer.param_groups[0]["lr"] == 0.01


def test_a_validation_that_was_not_measured_comes_back_as_such(folder, trained):
    save(folder, trained, (1, float("nan")))
    assert math.isnan(folder.load(1, trained[0]).validation)


def test_saving_does_not_disturb_what_is_saved(folder, trained):
    before = [parameter.detach().clone() for parameter in trained[0].parameters()]
    save(folder, trained, (1, 0.5))
    assert all(torch.equal(a, b) for a, b in zip(before, trained[0].parameters(), strict=True))


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ((0.9, 0.8, 0.7, 0.6), [3, 4]),
        ((0.9, 0.1, 0.7, 0.6), [2, 3, 4]),
        ((0.1, 0.1, 0.1, 0.1), [1, 3, 4]),
        ((math.nan, math.nan, math.nan, math.nan), [3, 4]),
        ((0.5, math.nan, math.nan, math.nan), [1, 3, 4]),
    ],
)
def test_the_newest_two_and_the_best_are_kept(folder, trained, values, kept):
    save(folder, trained, *enumerate(values, start=1))
    assert folder.steps() == kept


def test_the_best_is_the_lowest_and_else_the_newest(folder, trained):
    assert folder.best(pytest.fail) is None
    save(folder, trained, (1, math.nan), (2, math.nan))
    assert folder.best(pytest.fail) == 2
    save(folder, trained, (3, 0.5), (4, 0.6))
    assert folder.best(pytest.fail) == 3


def test_where_higher_is_better_the_best_is_the_highest_and_is_kept(folder, trained):
    higher = dataclasses.replace(folder, lower_is_better=False)
    save(higher, trained, (1, 0.5), (2, 0.9), (3, 0.9), (4, 0.6), (5, math.nan))
    assert (higher.best(pytest.fail), higher.steps()) == (2, [2, 4, 5])


def test_a_new_run_has_no_newest(folder):
    assert folder.newest(pytest.fail) is None


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "optimizer.json"])
def test_the_newest_passes_over_a_damaged_checkpoint_and_names_it(folder, trained, name):
    save(folder, trained, (1, 0.5), (2, 0.6))
    flip_a_byte(folder, 2, name)
    warnings = []
    assert folder.newest(warnings.append) == 1
    assert len(warnings) == 1
    assert f"step-0000000002/{name} is damaged" in warnings[0]


def test_the_newest_passes_over_one_whose_writing_was_cut_short(folder, trained):
    save(folder, trained, (1, 0.5))
    storage.write_bytes(storage.join(folder.uri, "step-0000000002", "weights.safetensors"), b"half")
    warnings = []
    assert folder.newest(warnings.append) == 1
    assert "step-0000000002/manifest.json: no such file" in warnings[0]


def test_a_damaged_manifest_stops_neither_the_search_for_the_best_nor_the_next_save(folder, trained):
    save(folder, trained, (1, 0.5), (2, 0.6))
    flip_a_byte(folder, 1, storage.MANIFEST)
    assert folder.best(pytest.fail) == 2
    save(folder, trained, (3, 0.7))
    assert folder.newest(pytest.fail) == 3


def test_a_damaged_checkpoint_is_refused(folder, trained):
    save(folder, trained, (1, 0.5))
    flip_a_byte(folder, 1)
    with pytest.raises(StorageError, match="do not match the checksum"):
        folder.load(1, trained[0])


def test_the_checkpoint_of_another_model_is_refused(folder, trained):
    save(folder, trained, (1, 0.5))
    with pytest.raises(StorageError, match=r"step-0000000001 holds another model: .*; use the config it was made with"):
        folder.load(1, make_learner("model.hidden=[4]"))


def test_where_the_best_is_damaged_the_next_best_is_taken_and_the_damaged_one_named(folder, trained):
    save(folder, trained, (1, 0.5), (2, 0.6), (3, 0.7))
    flip_a_byte(folder, 1)
    warnings = []
    assert folder.best(warnings.append) == 2
    assert "step-0000000001/weights.safetensors is damaged" in warnings[0]


def test_where_there_is_no_room_the_one_before_is_kept_and_nothing_half_is_left(folder, trained):
    save(folder, trained, (1, 0.5))
    with (
        largest_file(100),
        pytest.raises(
            StorageError, match=r"cannot write .*step-0000000002/.*; the checkpoint of step 1 is kept, where"
        ),
    ):
        save(folder, trained, (2, 0.4))
    assert folder.steps() == [1]
    assert folder.newest(pytest.fail) == 1


def test_a_checkpoint_carries_the_run_of_the_tracker(folder, trained):
    assert folder.tracking_run_id() is None
    save(folder, trained, (1, 0.5))
    assert folder.tracking_run_id() is None
    save(dataclasses.replace(folder, run_id="0123"), trained, (2, 0.4))
    assert folder.tracking_run_id() == "0123"


def test_a_checkpoint_of_another_run_that_is_adopted_is_the_only_one_and_bears_no_metric(folder, trained, tmp_path):
    other = CheckpointFolder(str(tmp_path / "other"), keep=2, lower_is_better=True)
    save(other, trained, (2, 0.5))
    save(folder, trained, (1, 0.7), (3, 0.9))
    files = storage.read_bundle(other.uri_of(2), "checkpoint")[1]
    folder.adopt(2, files, 20)
    assert folder.steps() == [2]
    assert storage.read_bundle(folder.uri_of(2), "checkpoint")[1] == files
    progress = folder.load(2, *trained)
    assert (progress.step, progress.num_tasks_seen) == (2, 20)
    assert math.isnan(progress.validation)
