"""A committee: learners whose predictions are averaged.

They differ in where their weights start, and where it is wanted in recommender, algorithm and the fields they see.
What they get wrong differs in part, more so the less they are alike, and the mean of m of them has only 1/m of the
variance of that part. Each is trained for its own loss and adapts by itself, for m times the cost. A member may stay
as it starts: a closed form beside learned ones.

Hansen, Salamon: "Neural Network Ensembles" (PAMI 1990); with the mean over independent trainings: Lakshminarayanan,
Pritzel, Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles" (NeurIPS 2017); members
that see different fields: Ho, "The Random Subspace Method for Constructing Decision Forests" (PAMI 1998), here with
fields that a person chose.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.increments import why_ratings_are_needed
from metarec.algorithms.inner_loop import StepwiseAlgorithm
from metarec.algorithms.meta_learner import MetaLearner, MetaOutput
from metarec.contracts import Recommender, RunningState, State
from metarec.task import Catalogue, Rows, TaskBatch


class Committee(nn.Module):
    """Several meta-learners as one; what it does is what `MetaLearner` does.

    Args:
        members: at least two, whose configs differ in seed, recommender, algorithm, fields or residual, one trained.
    """

    def __init__(self, members: Iterable[MetaLearner]) -> None:
        super().__init__()
        self.members: Sequence[MetaLearner] = nn.ModuleList(members)  # type: ignore[assignment]
        assert len(self.members) > 1
        self.eval()

    @property
    def model(self) -> Recommender:
        """The first member's recommender; that of others may be another."""
        return self.members[0].model

    def forward(self, catalogue: Catalogue, batch: TaskBatch, progress: float = 1.0) -> MetaOutput:
        """The sum of the trained members' surrogates, whose gradient by a member's weights is that of the member alone.

        A task's loss is their mean, NaN where it is left out for one of them. What is random in training is drawn for
        each member.

        Args:
            catalogue: what the batch points into; in training with what the items' vectors lack, of one member after
                the other.
            batch: the tasks.
            progress: how much of the run is done, from 0 to 1.
        """
        changes = catalogue.held_out_change.chunk(len(self.members), dim=-1)
        outputs = [
            member(
                catalogue._replace(held_out_change=changes[place]) if len(catalogue.held_out_change) else catalogue,
                batch._replace(task_seed=batch.task_seed + place),
                progress,
            )
            for place, member in enumerate(self.members)
            if is_trained(member)
        ]
        losses = torch.stack([output.losses for output in outputs])
        return MetaOutput(torch.stack([output.surrogate for output in outputs]).sum(), losses.mean(0))

    def adapt(self, catalogue: Catalogue, support: Rows, task_seed: Int[Tensor, " tasks"]) -> State:
        """Each task's states with the members, after adapting on its support."""
        return tuple(member.adapt(catalogue, support, task_seed) for member in self.members)

    def adapt_further(
        self, catalogue: Catalogue, before: RunningState | None, more: Rows, task_seed: Int[Tensor, " tasks"]
    ) -> RunningState:
        """Where each task stands with the members after further ratings, without the earlier ones."""
        stood = [None] * len(self.members) if before is None else before.sums
        running = tuple(
            member.adapt_further(catalogue, own, more, task_seed)
            for member, own in zip(self.members, stood, strict=True)
        )
        return RunningState(tuple(own.state for own in running), running[0].support, running)

    def score(self, catalogue: Catalogue, state: State, query: Rows) -> Float[Tensor, "tasks rows heads"]:
        """The mean of the members' predictions for each task's query rows, given its states."""
        return mean_over(member.score(catalogue, own, query) for member, own in zip(self.members, state, strict=True))

    @torch.no_grad()
    def predict(self, catalogue: Catalogue, batch: TaskBatch) -> Float[Tensor, "tasks rows heads"]:
        """Adapt to each task's support and predict its query; no gradient is kept."""
        return mean_over(member.predict(catalogue, batch) for member in self.members)

    def gradient_norms(self, catalogue: Catalogue, support: Rows) -> Float[Tensor, " tasks"]:
        """The members' mean of how large the inner gradient of each task's support is at the initialisation."""
        return mean_over(member.gradient_norms(catalogue, support) for member in self.members)


AnyLearner = MetaLearner | Committee


def members_of(learner: AnyLearner) -> Sequence[MetaLearner]:
    """The members of a committee; of any other learner itself."""
    return list(learner.members) if isinstance(learner, Committee) else [learner]


def is_trained(member: MetaLearner) -> bool:
    """Whether it is meta-trained; else it stays as it starts."""
    return any(parameter.requires_grad for parameter in member.parameters())


def takes_inner_steps(learner: AnyLearner) -> bool:
    """Whether it adapts by steps along a gradient, with every member."""
    return all(isinstance(member.algorithm, StepwiseAlgorithm) for member in members_of(learner))


def why_a_learner_needs_ratings(learner: AnyLearner) -> str | None:
    """Why a task can not go on without its earlier ratings with one of the members; None where it can with all."""
    reasons = [why_ratings_are_needed(member.model, member.algorithm) for member in members_of(learner)]
    return next((reason for reason in reasons if reason is not None), None)


def mean_over(values: Iterable[Tensor]) -> Tensor:
    """The mean of what each member gives."""
    return torch.stack(list(values)).mean(0)
