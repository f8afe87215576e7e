"""A tiny world in float64, small enough to work through by hand: schema, catalogue, histories, batches and learners."""

import numpy as np
import torch

from metarec.algorithms.meta_learner import MetaLearner
from metarec.build import build_learner
from metarec.config import load_config
from metarec.contracts import Examples, encode_examples
from metarec.data.histories import Histories
from metarec.data.tasks import draw_tasks
from metarec.schema import FeatureField, Head, Schema
from metarec.task import Catalogue, Rows, TaskBatch

NUM_USERS, NUM_ITEMS = 9, 12
SMALL = (
    "model.embedding_width=2",
    "model.warm_start_rank=0",
    "model.hidden=[3]",
    "model.interactions=[3]",
    "model.num_blocks=1",
    "model.tower=[3]",
    "model.user_bias_damping=2.0",
    "inner.steps=2",
    "inner.lr=0.3",
    "inner.damping=2.0",
    "outer.loss=squared",
)


def make_schema(num_heads: int = 1) -> Schema:
    """Every kind of feature field: two of users, and all four of items."""
    return Schema(
        user_fields=(FeatureField("job", "categorical", ("baker", "nurse")), FeatureField("age", "numeric")),
        item_fields=(
            FeatureField("id", "categorical", tuple(str(item) for item in range(NUM_ITEMS))),
            FeatureField("genres", "multi_valued", ("drama", "comedy", "war"), width=3),
            FeatureField("year", "numeric"),
            FeatureField("text", "dense", width=2),
        ),
        heads=tuple(Head(f"rating{index or ''}", 1.0, 5.0) for index in range(num_heads)),
    )


def make_catalogue(num_heads: int = 1) -> Catalogue:
    """Features and biases of all users and items, drawn with a fixed seed."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def indices(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator)

    return Catalogue(
        user_features={"job": indices(3, NUM_USERS, 1), "age": normal(NUM_USERS, 1)},
        item_features={
            "id": torch.arange(1, NUM_ITEMS + 1)[:, None],
            "genres": indices(4, NUM_ITEMS, 3),
            "year": normal(NUM_ITEMS, 1),
            "text": normal(NUM_ITEMS, 2),
        },
        offset=torch.linspace(3.5, 3.0, num_heads, dtype=torch.float64),
        item_bias=0.3 * normal(NUM_ITEMS, num_heads),
    )


def make_histories(*lengths: int, num_heads: int = 1, observed: float = 1.0) -> Histories:
    """One user a length, the first of them user 0; items differ within a user, ratings are 1 to 5.

    `observed` is the share of targets that are.
    """
    generator = np.random.default_rng(3)
    num_rows = sum(lengths)
    seen = generator.random((num_rows, num_heads)) < observed
    target = generator.integers(1, 6, (num_rows, num_heads)).astype(np.float32)
    return Histories(
        user=np.arange(len(lengths)),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        item=np.concatenate([generator.permutation(max(NUM_ITEMS, n))[:n] for n in lengths] or [np.zeros(0, np.int64)]),
        target=np.where(seen, target, np.float32(0)),
        observed=seen,
    )


def make_batch(*num_support: int, num_query: int = 3, num_heads: int = 1, observed: float = 1.0) -> TaskBatch:
    """One task for each size of support, with `num_query` query rows."""
    lengths = [size + num_query for size in num_support]
    histories = make_histories(*lengths, num_heads=num_heads, observed=observed)
    return to_double(draw_tasks(histories, seed=0, draw=0, num_query=num_query))


def make_learner(*overrides: str, schema: Schema | None = None, perturbed: bool = True) -> MetaLearner:
    """A small learner; `perturbed` moves every parameter away from where it starts, so that none hides at zero."""
    config = load_config(None, [*SMALL, *overrides])
    learner = build_learner(config, schema or make_schema()).double()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in learner.parameters() if perturbed else ():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.5)
    return learner


def to_double(batch: TaskBatch) -> TaskBatch:
    """The same tasks with targets in float64."""

    def convert(rows: Rows) -> Rows:
        return rows._replace(target=rows.target.double())

    return TaskBatch(convert(batch.support), convert(batch.query), batch.task_seed)


def one_task(batch: TaskBatch, index: int) -> TaskBatch:
    """One task of a batch as a batch of one, without its padding."""

    def cut(rows: Rows) -> Rows:
        return Rows(*(leaf[index : index + 1][:, rows.mask[index]] for leaf in rows))

    return TaskBatch(cut(batch.support), cut(batch.query), batch.task_seed[index : index + 1])


def unbatched(rows: Rows, index: int = 0) -> Rows:
    """The rows of one task without the axis of tasks."""
    return Rows(*(leaf[index] for leaf in rows))


def examples(learner: MetaLearner, catalogue: Catalogue, rows: Rows) -> Examples:
    """Encoded rows with their labels, as algorithms see them."""
    return encode_examples(learner.model, catalogue, rows)


def gradients(learner: MetaLearner, catalogue: Catalogue, batch: TaskBatch) -> dict[str, torch.Tensor]:
    """The meta-gradient of a batch's surrogate sum, by parameter name."""
    names, parameters = zip(*learner.named_parameters(), strict=True)
    values = torch.autograd.grad(learner(catalogue, batch).surrogate, parameters, materialize_grads=True)
    return dict(zip(names, values, strict=True))


def differences(
    learner: MetaLearner, catalogue: Catalogue, batch: TaskBatch, step: float = 1e-5
) -> dict[str, torch.Tensor]:
    """Central differences of the surrogate sum by every element of every parameter, by parameter name."""
    found = {}
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            slopes = torch.zeros_like(parameter).flatten()
            flat = parameter.view(-1)
            for index in range(len(flat)):
                value = flat[index].item()
                flat[index] = value + step
                above = learner(catalogue, batch).surrogate
                flat[index] = value - step
                below = learner(catalogue, batch).surrogate
                flat[index] = value
                slopes[index] = (above - below) / (2 * step)
            found[name] = slopes.view_as(parameter)
    return found
