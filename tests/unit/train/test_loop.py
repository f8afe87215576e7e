"""The loop: what it reports and saves when, and that a run which was interrupted ends as if it had not been."""

import math
from types import SimpleNamespace

import pytest
import torch

from metarec.config import TaskConfig, TrainConfig
from metarec.data.schedule import Schedule
from metarec.data.tasks import draw_training_tasks
from metarec.errors import DivergedError
from metarec.task import select_tasks
from metarec.train.checkpoint import CheckpointFolder, Progress
from metarec.train.loop import Hooks, Optimisation, meta_step, train
from tests.worlds import gradients, make_batch, make_catalogue, make_histories, make_learner, to_double

CATALOGUE = make_catalogue()
HISTORIES = make_histories(5, 9, 4, 12, 7)
TASK = TaskConfig(num_query=2, max_query=4, max_support=6)
SCHEDULE = Schedule(num_tasks=5, meta_batch=2, num_epochs=2, seed=3)
"""3 steps of 2, 2 and 1 tasks, twice."""
NEW_RUN = Progress(0, math.nan, 0)


def batch_of(step):
    histories = HISTORIES.take(SCHEDULE.tasks_of(step))
    return to_double(draw_training_tasks(histories, seed=3, epoch=SCHEDULE.epoch_of(step), task=TASK))


class Run:
    """One start of a run in this process, from a folder of checkpoints; what the loop hands out is written down."""

    def __init__(self, folder, *, stop_at=None, fail_at=None, clip=10.0, decay="cosine", learner=None, **rhythm):
        self.learner = learner or make_learner()
        self.optimizer = torch.optim.AdamW(self.learner.parameters(), lr=0.05, weight_decay=0.1)
        self.checkpoints = CheckpointFolder(str(folder), keep=2, lower_is_better=True)
        self.reports, self.saved, self.rates, self.num_validations, self.step = [], [], [], 0, 0
        self.stop_at, self.fail_at = stop_at, fail_at
        self.optimisation = Optimisation(self.optimizer, 0.05, decay, clip)
        self.rhythm = TrainConfig(**rhythm)

    def __call__(self):
        newest = self.checkpoints.newest(pytest.fail)
        start = NEW_RUN if newest is None else self.checkpoints.load(newest, self.learner, self.optimizer)
        hooks = Hooks(
            sum_over_workers=lambda values: values,
            validate=self.validate,
            save=self.save,
            report=self.report,
            should_stop=lambda: self.stop_at == self.step,
        )
        self.start = start
        self.progress, self.stopped = train(
            self.learner,
            CATALOGUE,
            self.batches(start.step),
            schedule=SCHEDULE,
            start=start,
            world_size=1,
            optimisation=self.optimisation,
            rhythm=self.rhythm,
            hooks=hooks,
        )
        return self

    def batches(self, first_step):
        for self.step in range(first_step, SCHEDULE.num_steps):
            if self.fail_at == self.step:
                raise ConnectionError("the worker is gone")
            yield batch_of(self.step)

    def validate(self):
        self.num_validations += 1
        return 1.0 / self.num_validations

    def save(self, progress):
        self.saved.append(progress)
        self.checkpoints.save(self.learner, self.optimizer, progress)

    def report(self, step, metrics):
        self.reports.append((step, metrics))
        self.rates.append(self.optimizer.param_groups[0]["lr"])

    def state(self):
        """Every bit that the run has come to."""
        entries = self.optimizer.state_dict()["state"].items()
        moments = {f"{index}.{name}": value for index, entry in entries for name, value in entry.items()}
        return {**self.learner.state_dict(), **moments}


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("uninterrupted"))()


@pytest.mark.parametrize("stop_at", range(5))
def test_a_run_stopped_after_any_step_and_resumed_ends_bit_equal_to_one_that_was_not(tmp_path, uninterrupted, stop_at):
    first = Run(tmp_path, stop_at=stop_at)()
    assert (first.stopped, first.progress.step) == (True, stop_at + 1)
    second = Run(tmp_path, learner=make_learner(perturbed=False))()
    assert second.start.step == stop_at + 1
    assert (second.stopped, second.progress.step) == (False, SCHEDULE.num_steps)
    assert second.progress.num_tasks_seen == 10
    assert_same_bits(second.state(), uninterrupted.state())


@pytest.mark.parametrize("fail_at", range(6))
def test_a_run_that_died_at_any_step_and_resumed_ends_bit_equal_to_one_that_did_not(tmp_path, uninterrupted, fail_at):
    with pytest.raises(ConnectionError):
        Run(tmp_path, fail_at=fail_at)()
    second = Run(tmp_path, learner=make_learner())()
    assert second.start.step == fail_at // 3 * 3
    assert_same_bits(second.state(), uninterrupted.state())


def test_a_finished_run_started_again_changes_nothing(tmp_path):
    finished = Run(tmp_path)()
    again = Run(tmp_path)()
    assert (again.reports, again.saved, again.stopped) == ([], [], False)
    assert again.progress == finished.progress
    assert_same_bits(again.state(), finished.state())


def test_a_stop_saves_without_validating(tmp_path):
    run = Run(tmp_path, stop_at=1)()
    assert (run.num_validations, len(run.saved)) == (0, 1)
    assert run.saved[0].step == 2
    assert math.isnan(run.saved[0].validation)


def test_a_run_asked_to_stop_in_its_last_step_is_finished_and_not_stopped(tmp_path):
    run = Run(tmp_path, stop_at=5)()
    assert run.progress.validation == 0.5
    assert not run.stopped


def test_each_step_reports_its_mean_loss_and_the_tasks_seen(uninterrupted):
    assert [step for step, _ in uninterrupted.reports] == list(range(6))
    assert [metrics["train.tasks_seen"] for _, metrics in uninterrupted.reports] == [2, 4, 5, 7, 9, 10]
    expected = make_learner()(CATALOGUE, batch_of(0)).losses.mean().item()
    assert uninterrupted.reports[0][1]["train.loss"] == pytest.approx(expected, rel=1e-12)


def test_the_end_of_an_epoch_reports_validation_and_seconds(uninterrupted):
    ends = [step for step, metrics in uninterrupted.reports if "validation.metric" in metrics]
    assert ends == [step for step, metrics in uninterrupted.reports if "train.seconds" in metrics] == [2, 5]
    assert uninterrupted.saved == [Progress(3, 1.0, 5), Progress(6, 0.5, 10)]


def test_the_last_step_validates_and_saves_whatever_the_rhythm(tmp_path):
    run = Run(tmp_path, validate_every=5, checkpoint_every=7)()
    assert run.saved == [Progress(6, 1.0, 10)]


def test_the_cosine_takes_the_outer_rate_from_its_start_to_nearly_zero(uninterrupted):
    """0.05 (1 + cos(pi k / 6)) / 2 at steps 0, 2, 3 and 4: 0.05, 0.0375, 0.025 and 0.0125."""
    assert [uninterrupted.rates[step] for step in (0, 2, 3, 4)] == pytest.approx([0.05, 0.0375, 0.025, 0.0125])


def test_a_constant_outer_rate_stays(tmp_path):
    assert set(Run(tmp_path, decay="constant")().rates) == {0.05}


def test_a_long_meta_gradient_is_cut_to_its_norm_and_reported_uncut():
    weight = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
    weight.grad = torch.tensor([30.0, 40.0])
    optimisation = Optimisation(torch.optim.SGD([weight], lr=9.0), lr=1.0, decay="constant", clip=5.0)
    assert optimisation.step(fraction=0.0, num_good=4, num_tasks=4) == pytest.approx(50.0)
    assert weight.tolist() == pytest.approx([-3.0, -4.0], rel=1e-5)
    assert weight.grad is None


def test_the_gradient_of_each_group_is_cut_for_itself():
    """(30, 40) to the norm 5, while (0, 3) stays; what is reported is the norm of both, hypot(50, 3)."""
    long, short = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    long.grad, short.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.0, 3.0])
    optimizer = torch.optim.SGD([{"params": [long]}, {"params": [short]}], lr=9.0)
    norm = Optimisation(optimizer, lr=1.0, decay="constant", clip=5.0).step(0.0, 4, 4)
    assert norm == pytest.approx(math.hypot(50, 3))
    assert long.tolist() == pytest.approx([-3.0, -4.0], rel=1e-5)
    assert short.tolist() == [0.0, -3.0]


def test_a_step_leaves_the_gradient_of_the_mean_loss():
    learner, batch = make_learner(), make_batch(4, 0, 2)
    expected = gradients(learner, CATALOGUE, batch)
    losses = meta_step(learner, CATALOGUE, batch, num_tasks=3, world_size=1)
    assert losses.tolist() == pytest.approx(learner(CATALOGUE, batch).losses.tolist(), rel=1e-14)
    for name, parameter in learner.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name] / 3, rtol=1e-12, atol=1e-12)


def test_losses_and_votes_to_stop_are_summed_over_the_workers(tmp_path):
    """As if two workers held the same: the loss doubles, and a vote of another worker stops this one."""
    seen = []

    def with_another(values):
        seen.append(values.tolist())
        return torch.stack([2 * values[0], values[1], values[2] + 1])

    learner = make_learner()
    progress, stopped = train(
        learner,
        CATALOGUE,
        [batch_of(0), batch_of(1)],
        schedule=SCHEDULE,
        start=NEW_RUN,
        world_size=1,
        optimisation=Optimisation(torch.optim.SGD(learner.parameters(), lr=0.1), 0.1, "constant", 10.0),
        rhythm=SimpleNamespace(validate_every=1, checkpoint_every=1, max_bad_tasks=0.0),
        hooks=Hooks(with_another, lambda: 0.0, lambda progress: None, lambda step, metrics: seen.append(metrics)),
    )
    (loss, bad, vote), metrics = seen
    assert (progress.step, stopped, bad, vote) == (1, True, 0.0, 0.0)
    assert metrics["train.loss"] == pytest.approx(2 * loss / 2)


def spoil(batch, task):
    """The batch with a support target of infinity in one task, of which no inner step is finite."""
    target = batch.support.target.clone()
    target[task, 0] = math.inf
    return batch._replace(support=batch.support._replace(target=target))


def test_a_task_that_is_not_finite_is_left_out_and_the_gradient_is_that_of_the_others():
    learner, batch = make_learner(), make_batch(4, 3, 2)
    expected = gradients(learner, CATALOGUE, select_tasks(batch, torch.tensor([0, 2])))
    losses = meta_step(learner, CATALOGUE, spoil(batch, 1), num_tasks=3, world_size=1)
    assert losses.isfinite().tolist() == [True, False, True]
    for name, parameter in learner.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name] / 3, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_what_is_left_is_divided_by_what_is_left():
    """(30, 40) is the sum over 2 good tasks divided by 3 due: 3 / 2 of it is the mean of the good ones."""
    weight = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
    weight.grad = torch.tensor([30.0, 40.0])
    optimisation = Optimisation(torch.optim.SGD([weight], lr=9.0), lr=1.0, decay="constant", clip=1000.0)
    assert optimisation.step(fraction=0.0, num_good=2, num_tasks=3) == pytest.approx(75.0)
    assert weight.tolist() == pytest.approx([-45.0, -60.0])


@pytest.mark.parametrize(("gradient", "num_good"), [(math.nan, 3), (math.inf, 3), (1.0, 0)])
def test_a_meta_gradient_that_is_not_finite_or_of_no_task_changes_nothing(gradient, num_good):
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    weight.grad = torch.tensor([gradient])
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    norm = Optimisation(optimizer, 0.1, "constant", 5.0).step(0.0, num_good, 3)
    assert not math.isfinite(norm)
    assert weight.tolist() == [1.0]
    assert not optimizer.state


def train_on(batches, *, max_bad_tasks):
    """One epoch of three steps; the metrics of each, and the users whose tasks were left out."""
    seen, left_out = [], []
    learner = make_learner()
    train(
        learner,
        CATALOGUE,
        batches,
        schedule=Schedule(num_tasks=5, meta_batch=2, num_epochs=1, seed=3),
        start=NEW_RUN,
        world_size=1,
        optimisation=Optimisation(torch.optim.SGD(learner.parameters(), lr=0.1), 0.1, "constant", 10.0),
        rhythm=TrainConfig(max_bad_tasks=max_bad_tasks),
        hooks=Hooks(
            sum_over_workers=lambda values: values,
            validate=lambda: 0.0,
            save=lambda progress: None,
            report=lambda step, metrics: seen.append(metrics),
            name_bad_tasks=lambda step, users: left_out.append((step, users)),
        ),
    )
    return seen, left_out


def test_bad_tasks_are_counted_and_named_and_the_loss_is_the_mean_of_the_others():
    batches = [batch_of(0), spoil(batch_of(1), 1), batch_of(2)]
    seen, left_out = train_on(batches, max_bad_tasks=0.2)
    assert [metrics["train.bad_tasks"] for metrics in seen] == [0, 1, 0]
    assert left_out == [(1, [batches[1].query.user[1, 0].item()])]
    assert all(math.isfinite(metrics["train.loss"]) for metrics in seen)


def test_a_step_whose_tasks_are_all_bad_is_skipped_and_says_so():
    batches = [batch_of(0), spoil(spoil(batch_of(1), 0), 1), batch_of(2)]
    seen, _ = train_on(batches, max_bad_tasks=0.5)
    assert [metrics["train.skipped"] for metrics in seen] == [0, 1, 0]
    assert "train.gradient_norm" not in seen[1]


def test_more_bad_tasks_than_may_be_stop_the_run_with_the_reason():
    batches = [spoil(batch_of(0), 0), spoil(batch_of(1), 1), batch_of(2)]
    with pytest.raises(DivergedError) as caught:
        train_on(batches, max_bad_tasks=0.2)
    assert str(caught.value) == (
        "2 of the 5 tasks of epoch 1 were not finite at step 1, and train.max_bad_tasks is 0.2: "
        "lower inner.lr or outer.lr"
    )
