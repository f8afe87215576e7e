"""Three processes that are started again in the middle end at the weights, bit for bit, of three that were not."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from metarec.config import TaskConfig, TrainConfig
from metarec.data.schedule import Schedule
from metarec.data.tasks import draw_training_tasks
from metarec.train.checkpoint import CheckpointFolder, Progress
from metarec.train.loop import Hooks, Optimisation, train
from metarec.train.team import Team
from tests.ports import free_port
from tests.worlds import make_catalogue, make_histories, make_learner

WORLD_SIZE = 3
HISTORIES = make_histories(*range(5, 14))
SCHEDULE = Schedule(num_tasks=9, meta_batch=5, num_epochs=2, seed=1)
TASK = TaskConfig(num_query=2, max_query=4, max_support=16)
WIDE = ("model.hidden=[64,64]", "model.embedding_width=16", "inner.lr=0.05")


def start_workers(folder, name, *, stop_at=None):
    """Each of three workers trains from the newest checkpoint in `folder` on; rank 0 saves."""
    team = Team.current(torch.device("cpu"))
    learner = make_learner(*WIDE, perturbed=False).float()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.01)
    checkpoints = CheckpointFolder(f"{folder}/{name}", keep=3, lower_is_better=True)
    newest = team.from_first(checkpoints.newest(pytest.fail) if team.rank == 0 else None)
    start = Progress(0, math.nan, 0) if newest is None else checkpoints.load(newest, learner, optimizer)
    step = start.step

    def batches():
        nonlocal step
        for step in range(start.step, SCHEDULE.num_steps):
            mine = HISTORIES.take(SCHEDULE.share_of(step, rank=team.rank, world_size=WORLD_SIZE))
            yield draw_training_tasks(mine, seed=1, epoch=SCHEDULE.epoch_of(step), task=TASK)

    def save(progress):
        if team.rank == 0:
            checkpoints.save(learner, optimizer, progress)
        team.wait()

    train(
        team.wrap(learner),
        make_float_catalogue(),
        batches(),
        schedule=SCHEDULE,
        start=start,
        world_size=WORLD_SIZE,
        optimisation=Optimisation(optimizer, 0.01, "cosine", 10.0),
        rhythm=TrainConfig(),
        hooks=Hooks(team.sum, lambda: 0.0, save, lambda step, metrics: None, should_stop=lambda: step == stop_at),
    )
    if team.rank == 0:
        torch.save(learner.state_dict(), f"{folder}/{name}.pt")
    team.wait()


def make_float_catalogue():
    """In float32, where the order of sums shows."""
    catalogue = make_catalogue()

    def narrow(values):
        return values.float() if values.is_floating_point() else values

    return catalogue._replace(
        user_features={name: narrow(values) for name, values in catalogue.user_features.items()},
        item_features={name: narrow(values) for name, values in catalogue.item_features.items()},
        offset=narrow(catalogue.offset),
        item_bias=narrow(catalogue.item_bias),
    )


def work(rank, port, folder, name, stop_at):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD_SIZE)
    start_workers(folder, name, stop_at=stop_at)
    dist.destroy_process_group()


def spawn(folder, name, stop_at):
    port = free_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, (port, str(folder), name, stop_at), nprocs=WORLD_SIZE)
    patch.undo()
    return torch.load(folder / f"{name}.pt")


def test_three_workers_started_again_end_at_the_same_weights_to_the_bit(tmp_path):
    undisturbed = spawn(tmp_path, "undisturbed", None)
    stopped = spawn(tmp_path, "stopped", 2)
    assert any(not torch.equal(stopped[name], undisturbed[name]) for name in undisturbed)
    finished = spawn(tmp_path, "stopped", None)
    assert all(torch.equal(finished[name], undisturbed[name]) for name in undisturbed)
