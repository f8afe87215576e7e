"""The peers: meta-training as it is written with learn2learn, higher and torchopt, one task after the other.

Each adapts the decision layers of the same parameters as metarec does, without padding, and leaves the sum of the
tasks' meta-gradients in `grad`. learn2learn does not build on today's Python, so that its two functions `clone_module`
and `update_module`, which are all of it that MAML uses, are written out here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jobs.benchmarks.meta_batches import ITEM_VALUES, RATE, USER_VALUES
from metarec.algorithms.meta_learner import MetaLearner
from metarec.task import Catalogue, Rows, TaskBatch

Loop = Callable[[], None]
Example = tuple[Rows, Rows]


class TaskNetwork(nn.Module):
    """MeLU's network as one writes it for a single task, on the parameters of a learner."""

    def __init__(self, learner: MetaLearner) -> None:
        super().__init__()
        model: Any = learner.model
        self.users, self.items = model.encoder.users.embeddings, model.encoder.items.embeddings
        self.decision = nn.Sequential(*model.network.layers, model.head.parts[0])

    def embed(self, catalogue: Catalogue, rows: Rows) -> Tensor:
        """The vectors of a task's rows, the features side by side."""
        users = [
            table(catalogue.user_features[f][rows.user, 0]) for f, table in zip(USER_VALUES, self.users, strict=True)
        ]
        items = [
            table(catalogue.item_features[f][rows.item, 0]) for f, table in zip(ITEM_VALUES, self.items, strict=True)
        ]
        return torch.cat([*users, *items], dim=-1)


def split_tasks(batch: TaskBatch) -> list[Example]:
    """The support and query rows of each task, without padding."""

    def real(rows: Rows, task: int) -> Rows:
        return Rows(*(leaf[task][rows.mask[task]] for leaf in rows))

    return [(real(batch.support, task), real(batch.query, task)) for task in range(batch.num_tasks)]


def make_loops(learner: MetaLearner, catalogue: Catalogue, batch: TaskBatch, num_steps: int) -> dict[str, Loop | str]:
    """For each peer a function that does a whole meta-batch, or why there is none."""
    network, tasks = TaskNetwork(learner), split_tasks(batch)
    adapters: dict[str, Callable[[], Callable[..., None]]] = {
        "learn2learn's loop": lambda: clone_and_update,
        "higher": _with_higher,
        "torchopt": _with_torchopt,
    }
    return {name: _loop(find, network, catalogue, tasks, num_steps) for name, find in adapters.items()}


def _loop(
    find: Callable[[], Callable[..., None]],
    network: TaskNetwork,
    catalogue: Catalogue,
    tasks: Sequence[Example],
    num_steps: int,
) -> Loop | str:
    try:
        adapt_and_learn = find()
    except ImportError as error:
        return f"not installed ({error})"

    def whole_batch() -> None:
        for support, query in tasks:
            of_support, of_query = network.embed(catalogue, support), network.embed(catalogue, query)
            adapt_and_learn(network.decision, (of_support, support.target), (of_query, query.target), num_steps)

    return whole_batch


def clone_and_update(
    decision: nn.Module, support: tuple[Tensor, Tensor], query: tuple[Tensor, Tensor], num_steps: int
) -> None:
    """`learn2learn.algorithms.MAML`: clone, adapt, backward."""
    clone = _clone_module(decision)
    for _ in range(num_steps):
        loss = F.mse_loss(clone(support[0]), support[1])
        parameters = [p for module in clone.modules() for p in module._parameters.values() if p is not None]
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        _update_module(clone, {id(p): -RATE * g for p, g in zip(parameters, gradients, strict=True)})
    torch.autograd.backward(F.mse_loss(clone(query[0]), query[1]))


def _clone_module(module: nn.Module) -> nn.Module:
    clone = module.__new__(type(module))
    clone.__dict__ = module.__dict__.copy()
    clone._parameters = {name: None if p is None else p.clone() for name, p in module._parameters.items()}  # type: ignore
    clone._modules = {name: _clone_module(child) for name, child in module._modules.items() if child is not None}
    return clone


def _update_module(module: nn.Module, updates: Mapping[int, Tensor]) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = parameter + updates[id(parameter)]  # type: ignore[assignment]
    for child in module.children():
        _update_module(child, updates)


def _with_higher() -> Callable[..., None]:
    import higher

    def adapt_and_learn(
        decision: nn.Module, support: tuple[Tensor, Tensor], query: tuple[Tensor, Tensor], num_steps: int
    ) -> None:
        optimizer = torch.optim.SGD(decision.parameters(), lr=RATE)
        with higher.innerloop_ctx(decision, optimizer, copy_initial_weights=False) as (fast, inner):
            for _ in range(num_steps):
                inner.step(F.mse_loss(fast(support[0]), support[1]))
            torch.autograd.backward(F.mse_loss(fast(query[0]), query[1]))

    return adapt_and_learn


def _with_torchopt() -> Callable[..., None]:
    import torchopt

    def adapt_and_learn(
        decision: nn.Module, support: tuple[Tensor, Tensor], query: tuple[Tensor, Tensor], num_steps: int
    ) -> None:
        inner = torchopt.MetaSGD(decision, lr=RATE)
        before = torchopt.extract_state_dict(decision, by="reference")
        for _ in range(num_steps):
            inner.step(F.mse_loss(decision(support[0]), support[1]))
        torch.autograd.backward(F.mse_loss(decision(query[0]), query[1]))
        torchopt.recover_state_dict(decision, before)

    return adapt_and_learn
