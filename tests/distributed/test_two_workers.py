"""Two processes over gloo take the same steps as one, to ten digits, with every algorithm.

They hold different numbers of tasks, and in one step a task of one of them is not finite.
"""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from metarec.build import ALGORITHMS
from metarec.task import select_tasks
from metarec.train.loop import Optimisation, meta_step
from metarec.train.team import Team
from tests.ports import free_port
from tests.worlds import make_batch, make_catalogue, make_learner

SHARES = ((5, 2), (1, 0), (1, 2), (3, 4))
"""Tasks of rank 0 and of rank 1 in each step; in the second step rank 1 has none."""
BAD_STEP = 2
"""In this step the only task of rank 0 is not finite."""
VARIANTS = {
    **{name: (f"algorithm.name={name}",) for name in ALGORITHMS},
    "first": ("algorithm.first_order=true",),
    "rows_of_tables": ("algorithm.adapt=* encoder.items.*",),
    "committee": ("model.members=2", "model.member_names=['mf', 'melu']", "algorithm.name=alpaca"),
    "one_stays": ("model.members=3", "model.member_trained=[true, false]", "algorithm.name=alpaca"),
    "fixed_rates": ("inner.learned=false", "outer.loss=absolute"),
}


def take_steps(learner, rank, world_size):
    """Four outer steps; the gradient before each and the weights after it."""
    catalogue = make_catalogue()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.01)
    optimisation = Optimisation(optimizer, lr=0.01, decay="cosine", clip=1.0)
    seen = []
    for step, shares in enumerate(SHARES):
        batch = make_batch(*range(1, 1 + sum(shares)))
        if step == BAD_STEP:
            batch.query.target[0] = torch.inf
        if world_size == 2:
            first = 0 if rank == 0 else shares[0]
            batch = select_tasks(batch, torch.arange(first, first + shares[rank]))
        num_tasks = sum(shares)
        meta_step(learner, catalogue, batch, num_tasks=num_tasks, world_size=world_size, progress=step / len(SHARES))
        seen += [parameter.grad.clone() for parameter in learner.parameters() if parameter.requires_grad]
        num_good = num_tasks - (step == BAD_STEP)
        optimisation.step(step / len(SHARES), num_good, num_tasks)
        seen += [parameter.detach().clone() for parameter in learner.parameters()]
    return seen


def work(rank, port, folder):
    """One of two workers: takes the steps of every variant and writes down what it saw."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name, overrides in VARIANTS.items():
        wrapped = Team.current(torch.device("cpu")).wrap(make_learner(*overrides))
        torch.save(take_steps(wrapped, rank, world_size=2), f"{folder}/{name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """The folder in which both workers left what they saw."""
    folder = tmp_path_factory.mktemp("workers")
    port = free_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, (port, str(folder)), nprocs=2)
    patch.undo()
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_two_workers_take_the_same_steps_as_one(two_workers, name):
    alone = take_steps(make_learner(*VARIANTS[name]), rank=0, world_size=1)
    for rank in range(2):
        seen = torch.load(two_workers / f"{name}-{rank}.pt")
        assert len(seen) == len(alone)
        for mine, expected in zip(seen, alone, strict=True):
            assert mine.dtype == torch.float64
            torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)


def test_both_workers_hold_the_same_weights_to_the_bit(two_workers):
    for name in VARIANTS:
        first, second = (torch.load(two_workers / f"{name}-{rank}.pt") for rank in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_variants_differ_so_that_agreement_says_something(two_workers):
    second, first = (torch.load(two_workers / f"{name}-0.pt") for name in ("maml", "first"))
    assert not all(torch.allclose(a, b, rtol=1e-6, atol=1e-6) for a, b in zip(second, first, strict=True))
