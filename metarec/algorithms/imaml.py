"""iMAML: MAML whose inner problem is solved, so that its meta-gradient needs the solution and not the way there.

A task's weights solve the proximal problem

    φ* = argmin_φ G(φ),     G(φ) = L_support(φ; η) + λ/2 ‖φ - θ‖²,

where θ is the initialisation and η the parameters that no task adapts. As ∇G(φ*) = 0 for every θ and η,

    dL_query(φ*; η) = ∂_η L_query · dη - vᵀ (∂_θ ∇G · dθ + ∂_η ∇G · dη) / λ,     (∇²G / λ) v = ∇_φ L_query(φ*; η),

where ∂_θ ∇G = -λ, so that the derivative by θ is v itself. v is found by conjugate gradients on Hessian-vector
products, and the whole is the gradient of the scalar L_query(φ*; η) - ⟨v, ∇G(φ*; θ, η)⟩ / λ with φ* and v held fixed.
Away from the optimum that scalar corrects L_query for the steps that are still missing, to first order, and its
gradient is as exact as ∇G is near 0: the steps need not be many, but they must arrive.

Rajeswaran, Finn, Kakade, Levine: "Meta-Learning with Implicit Gradients" (NeurIPS 2019), section 3; η is ours.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.conjugate_gradient import conjugate_gradient
from metarec.algorithms.descent import descend
from metarec.algorithms.inner_loop import FastWeights, Loss, predict_with, query_loss, step_losses
from metarec.algorithms.objectives import Objective
from metarec.algorithms.vectors import dot
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, Weights


class Imaml(nn.Module):
    """k gradient steps on the proximal problem; memory does not grow with k.

    With an empty support the fast weights are the initialisation and v is the query gradient. Where the inner problem
    is not convex, v keeps what conjugate gradients found before they met a direction of negative curvature. An inner
    objective with kinks (`absolute`) has its optima on them, where ∇G is not 0 and the gradient below is not exact.

    Args:
        adapted: names of the parameters that a task adapts, at least one.
        inner: the objective of the support.
        outer: the objective of the query.
        steps: k, at least 1.
        lr: the rate of the steps; above 0. They are shorter where they would overshoot, as `descent.py` has it: nothing
            in the implicit gradient would notice a path that diverges, or keep embeddings small enough for a rate.
        damping: as in `Objective`, of the support loss.
        proximal: λ, above 0; per mean rating, as the support loss is.
        cg_steps: conjugate gradient steps, at least 1.
        batch_size: support rows of each inner step; 0 = all. With minibatches the steps stay around φ* and do not
            arrive; v is of the whole support in any case.
    """

    def __init__(
        self,
        adapted: Sequence[str],
        *,
        inner: Objective,
        outer: Objective,
        steps: int,
        lr: float,
        damping: float,
        proximal: float,
        cg_steps: int,
        batch_size: int = 0,
    ) -> None:
        super().__init__()
        self.adapted = tuple(adapted)
        self.inner = inner
        self.outer = outer
        self.steps = steps
        self.lr = lr
        self.damping = damping
        self.proximal = proximal
        self.cg_steps = cg_steps
        self.batch_size = batch_size

    @property
    def capabilities(self) -> Capabilities:
        """Second order; all weights of the model take part."""
        return Capabilities(second_order=True)

    @torch.no_grad()
    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fast weights after k steps on one task's support; constants to autograd."""
        weights = model.initial(self.adapted, support)
        for problem in self._problems(model, support, seed, steps=self.steps, batch_size=self.batch_size):
            weights, _ = descend(problem, weights, self.lr)
        return FastWeights(weights, support)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fast weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The scalar above, whose gradient is the implicit meta-gradient, and the query loss after adaptation."""
        del progress
        state = self.adapt(model, support, seed)
        (problem,) = self._problems(model, support, seed, steps=1, batch_size=0)

        def loss(weights: Weights) -> Float[Tensor, ""]:
            return query_loss(model, state._replace(weights=weights), query, self.outer)

        multiplier = self._multiplier(problem, loss, state.weights)
        slope = torch.func.grad(problem)(state.weights)
        reported = loss(state.weights)
        return reported - dot(multiplier, slope) / self.proximal, reported

    @torch.no_grad()
    def _multiplier(self, problem: Loss, loss: Loss, weights: Weights) -> Weights:
        """v, at φ* = weights."""
        hessian = torch.func.vjp(torch.func.grad(problem), weights)[1]

        def product(vector: Weights) -> Weights:
            return {name: image / self.proximal for name, image in hessian(vector)[0].items()}

        return conjugate_gradient(product, torch.func.grad(loss)(weights), steps=self.cg_steps)

    def _problems(
        self, model: Recommender, support: Examples, seed: Int[Tensor, ""], *, steps: int, batch_size: int
    ) -> list[Loss]:
        """G for each of several steps."""
        start = model.initial(self.adapted, support)

        def proximal_problem(loss: Loss) -> Loss:
            def problem(weights: Weights) -> Float[Tensor, ""]:
                distances = [(weights[name] - start[name]).square().sum() for name in start]
                return loss(weights) + self.proximal / 2 * torch.stack(distances).sum()

            return problem

        losses = step_losses(model, support, seed, self.inner, steps=steps, damping=self.damping, batch_size=batch_size)
        return [proximal_problem(loss) for loss in losses]
