"""Reptile: move the initialisation toward where each user's own training leads, without a meta-gradient.

k plain gradient steps take a task's weights from θ_0 = θ to θ_k; the outer step follows θ - θ_k, as if that were a
gradient. With steps of lengths τ_j it is Σ_j τ_j ∇L_j(θ_j), and so *is* the gradient of

    Σ_{j<k} τ_j L_j(θ_j + (θ - θ_0), η)     with every τ_j and θ_j held fixed,

which also says what to do with a parameter η that no task adapts: it gets what it would have moved by on the same path,
had it moved too. (The paper adapts everything and has no such η.) The row that a task adds to an embedding table starts
at 0, and this sum moves the table's own row by what was added.

In meta-training a task's data are its support and query together: Reptile has no query loss to differentiate, and
ratings that are kept from its steps would teach it nothing. With whole-batch steps it aims at the weights that are
nearest to all tasks' optima; what the paper derives for minibatches, that steps on some ratings help on others, needs
`batch_size`. A task is judged, and served, after k steps on its support alone.

Nichol, Achiam, Schulman: "On First-Order Meta-Learning Algorithms" (2018), sections 3 and 5.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from metarec.algorithms.descent import descend
from metarec.algorithms.increments import further_steps
from metarec.algorithms.inner_loop import FastWeights, InnerLoop, Loss, first_steps, predict_with, query_loss
from metarec.algorithms.objectives import Objective
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState, Weights


class Reptile(nn.Module):
    """k inner gradient steps of a fixed rate, shorter where they would overshoot, as `descent.py` has it.

    Rates are never learned: there is no meta-gradient by which they could be, and none that would keep them safe.

    What is trained is the inner objective alone; the outer one is what is reported. With an empty support the fast
    weights are the initialisation.

    Args:
        loop: how its steps go; the rates are α shortened where that would overshoot.
        outer: the objective of the query, to be reported.
    """

    def __init__(
        self,
        loop: InnerLoop,
        *,
        outer: Objective,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.outer = outer

    @property
    def capabilities(self) -> Capabilities:
        """First order; it trains the inner objective; all weights of the model take part."""
        return Capabilities(trains_inner=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fast weights after k steps on one task's support; constants to autograd."""
        return first_steps(self, model, support, seed)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """k more steps from the task's own weights, on its further ratings alone."""
        return further_steps(self, model, before, more, seed)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fast weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss along the path on all of the task's data, and the query loss after adapting on its support."""
        del progress
        together: Examples = pytree.tree_map(lambda *parts: torch.cat(parts), support, query)
        losses, start = self.loop.losses(model, together, seed), model.initial(self.loop.adapted, together)
        path, lengths = self._path(losses, start)
        places = [{name: start[name] + (fixed[name] - start[name]).detach() for name in start} for fixed in path[:-1]]
        along = [length * loss(place) for length, loss, place in zip(lengths, losses, places, strict=True)]
        with torch.no_grad():
            reported = query_loss(model, self.adapt(model, support, seed), query, self.outer)
        return torch.stack(along).sum(), reported

    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights after k steps on one task's support; constants to autograd."""
        path, _ = self._path(self.loop.losses(model, support, seed), start)
        return path[-1]

    @torch.no_grad()
    def _path(self, losses: list[Loss], start: Weights) -> tuple[list[Weights], list[Float[Tensor, ""]]]:
        """The weights before the first step and after each, and the lengths of the steps."""
        path, lengths = [start], []
        for loss in losses:
            weights, length = descend(loss, path[-1], self.loop.lr)
            path.append(weights)
            lengths.append(length)
        return path, lengths
