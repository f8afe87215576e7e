"""How far going on without the old ratings is from adapting to all of them, for each algorithm.

The support of each test user comes in 1, 2 or 4 pieces, and no piece is met together with an earlier one. Beside the
MAE of the query stands how far predictions are from those after all ratings at once, and what the first quarter of the
ratings alone gives: who only forgot would be no better. Trained on the built-in synthetic ratings.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from jobs import command
from jobs.benchmarks.trainings import SMALL, learner_here
from jobs.command import say
from metarec.algorithms.committee import why_a_learner_needs_ratings
from metarec.build import ALGORITHMS
from metarec.config import Config, load_config
from metarec.task import Rows, TaskBatch

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset
    from metarec.serving.learner import Learner

RESIDUALS = ("bias", "item")
"""With and without the user's own bias in the base, which changes with every rating."""
NUMBERS = (2, 4)
"""Of pieces."""


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """MAE and distance of each algorithm's predictions after so many pieces.

    Args:
        quick: briefly trained algorithms on one residual.
        threads: of torch; None = as it is.
    """
    if threads:
        torch.set_num_threads(threads)
    num_draws, cases = 1 if quick else 10, []
    with command.ray_session():
        from metarec.data.prepare import prepare

        for residual in RESIDUALS[: 1 if quick else None]:
            for name in ALGORITHMS:
                config = _config(name, residual, quick=quick)
                say(f"{name}, residual on {residual}")
                dataset = prepare(config, progress=lambda line: None)
                found = _case(learner_here(config, dataset), dataset, num_draws)
                cases.append({"algorithm": name, "residual": residual, **found})
    return {"benchmark": "feedback", "num_draws": num_draws, "cases": cases}


def _config(algorithm: str, residual: str, *, quick: bool) -> Config:
    brief = (*SMALL, "outer.epochs=1") if quick else ()
    return load_config(
        None, [*brief, f"algorithm.name={algorithm}", f"model.residual={residual}", "train.num_workers=0"]
    )


def _case(learner: "Learner", dataset: "Dataset", num_draws: int) -> dict[str, Any]:
    """Means over users and draws; a reason in place of them where the ratings are needed."""
    from metarec.data.tasks import draw_tasks

    reason = why_a_learner_needs_ratings(learner.module)
    if reason is not None:
        return {"refused": reason}
    histories, figures = dataset.histories("test"), []
    for draw in range(num_draws):
        batch = draw_tasks(histories, seed=0, draw=draw, num_query=learner.config.task.num_query)
        figures.append(_draw(learner, dataset, batch))
    return {name: sum(each[name] for each in figures) / num_draws for name in figures[0]}


@torch.no_grad()
def _draw(learner: "Learner", dataset: "Dataset", batch: TaskBatch) -> dict[str, float]:
    """The figures of one draw of tasks."""
    from metarec.metrics.pointwise import mae

    catalogue, module, head = dataset.catalogue(), learner.module, learner.schema.heads[0]
    (first, *_) = in_pieces(batch.support, 4)
    found = {
        "at once": module.predict(catalogue, batch),
        "the first quarter": module.predict(catalogue, batch._replace(support=first)),
    }
    for number in NUMBERS:
        running = None
        for piece in in_pieces(batch.support, number):
            running = module.adapt_further(catalogue, running, piece, batch.task_seed)
        assert running is not None
        found[f"{number} pieces"] = module.score(catalogue, running.state, batch.query)
    target, mask = batch.query.target[..., 0], batch.query.mask
    clipped: dict[str, Float[Tensor, "tasks rows"]] = {
        name: scores[..., 0].clamp(head.low, head.high) for name, scores in found.items()
    }
    figures = {f"MAE, {name}": float(mae(scores, target, mask).mean()) for name, scores in clipped.items()}
    for number in NUMBERS:
        distance = mae(clipped[f"{number} pieces"], clipped["at once"], mask).mean()
        figures[f"difference, {number} pieces"] = float(distance)
    return figures


def in_pieces(rows: Rows, number: int) -> Iterator[Rows]:
    """The rows of each task in turn, in pieces of like length; what is not in a piece is padding there."""
    place = (rows.mask.cumsum(1) - 1) * number // rows.mask.sum(1, keepdim=True).clamp(min=1)
    for piece in range(number):
        own = rows.mask & (place == piece)
        yield rows._replace(mask=own, observed=rows.observed & own[..., None])


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table in Markdown."""
    pieces = [f"{number} pieces" for number in NUMBERS]
    yield f"MAE, and in brackets the mean difference to all ratings at once; {report['num_draws']} draws"
    yield f"| algorithm | residual on | at once | {' | '.join(pieces)} | the first quarter |"
    yield f"|---|---|---|{'---|' * len(pieces)}---|"
    for case in report["cases"]:
        row = f"| {case['algorithm']} | {case['residual']} |"
        if "refused" in case:
            yield f"{row} not without the ratings: {case['refused']} | {'| ' * len(pieces)}|"
            continue
        cells = [f"{case[f'MAE, {name}']:.4f} ({case[f'difference, {name}']:.4f})" for name in pieces]
        yield f"{row} {case['MAE, at once']:.4f} | {' | '.join(cells)} | {case['MAE, the first quarter']:.4f} |"
