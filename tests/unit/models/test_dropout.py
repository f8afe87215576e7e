"""Units that training leaves out: only in training, by seed, and in no kernel that knows nothing of it."""

import torch

from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()


def learner_with(dropout):
    return make_learner("model.name=mlp", "model.hidden=[8]", "algorithm.name=ridge", f"model.dropout={dropout}")


def test_the_training_loss_misses_units_and_predictions_do_not():
    batch = make_batch(5, 3)
    with_dropout, without = learner_with(0.5), learner_with(0.0)
    assert not torch.equal(with_dropout(CATALOGUE, batch).losses, without(CATALOGUE, batch).losses)
    assert torch.equal(with_dropout.predict(CATALOGUE, batch), without.predict(CATALOGUE, batch))


def test_what_is_left_out_follows_from_the_seed_of_the_first_task():
    """So that a step that is done again, after a restart, is the same step."""
    learner, batch = learner_with(0.5), make_batch(5, 3)
    first = learner(CATALOGUE, batch).losses
    torch.rand(3)
    assert torch.equal(learner(CATALOGUE, batch).losses, first)
    other = batch._replace(task_seed=batch.task_seed + 1)
    assert not torch.equal(learner(CATALOGUE, other).losses, first)


def test_the_random_numbers_of_others_stay_as_they_are():
    learner, batch = learner_with(0.5), make_batch(5, 3)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    learner(CATALOGUE, batch)
    assert torch.equal(torch.rand(4), expected)


def test_each_task_misses_units_of_its_own():
    learner, batch = learner_with(0.5), make_batch(4)
    twice = type(batch)(*(type(rows)(*(leaf.repeat_interleave(2, 0) for leaf in rows)) for rows in batch[:2]), batch[2])
    twice = twice._replace(task_seed=batch.task_seed.repeat(2))
    first, second = learner(CATALOGUE, twice).losses.tolist()
    assert first != second


def test_a_network_with_dropout_is_no_plain_stack_of_layers():
    assert make_learner("model.name=mlp").model.stack() is not None
    assert make_learner("model.name=mlp", "model.dropout=0.5").model.stack() is None


def test_the_kernel_of_layers_that_leave_nothing_out_needs_no_training_mode(monkeypatch):
    learner = make_learner("model.name=mlp", "algorithm.name=maml")

    def train(mode=True):
        raise AssertionError(mode)

    monkeypatch.setattr(learner, "train", train)
    assert learner(CATALOGUE, make_batch(5, 3)).losses.isfinite().all()
