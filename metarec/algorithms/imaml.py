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

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.conjugate_gradient import conjugate_gradient
from metarec.algorithms.descent import descend
from metarec.algorithms.increments import further_steps
from metarec.algorithms.inner_loop import FastWeights, InnerLoop, Loss, first_steps, predict_with, query_loss
from metarec.algorithms.objectives import Objective
from metarec.algorithms.vectors import dot
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState, Weights


class Imaml(nn.Module):
    """k gradient steps on the proximal problem; memory does not grow with k.

    With an empty support the fast weights are the initialisation and v is the query gradient. Where the inner problem
    is not convex, v keeps what conjugate gradients found before they met a direction of negative curvature. An inner
    objective with kinks (`absolute`) has its optima on them, where ∇G is not 0 and the gradient below is not exact.

    Args:
        loop: how its steps go; the rates are α shortened where that would overshoot.
        outer: the objective of the query.
        proximal: λ, above 0; per mean rating, as the support loss is.
        cg_steps: conjugate gradient steps, at least 1.
    """

    def __init__(
        self,
        loop: InnerLoop,
        *,
        outer: Objective,
        proximal: float,
        cg_steps: int,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.outer = outer
        self.proximal = proximal
        self.cg_steps = cg_steps

    @property
    def capabilities(self) -> Capabilities:
        """Second order; all weights of the model take part."""
        return Capabilities(second_order=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fast weights after k steps on one task's support; constants to autograd."""
        return first_steps(self, model, support, seed)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """The solution for the further ratings alone, with the task's last weights in place of θ in the distance."""
        return further_steps(self, model, before, more, seed)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fast weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The scalar above, whose gradient is the implicit meta-gradient, and the query loss after adaptation."""
        del progress
        state = self.adapt(model, support, seed)
        whole = self.loop._replace(steps=1, batch_size=0)
        (problem,) = self._problems(whole, model, model.initial(self.loop.adapted, support), support, seed)

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

    @torch.no_grad()
    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights after k steps on G, from the weights that it stays near."""
        weights = start
        for problem in self._problems(self.loop, model, start, support, seed):
            weights, _ = descend(problem, weights, self.loop.lr)
        return weights

    def _problems(
        self, loop: InnerLoop, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]
    ) -> list[Loss]:
        """G for each step of a loop, where θ is `start`."""

        def proximal_problem(loss: Loss) -> Loss:
            def problem(weights: Weights) -> Float[Tensor, ""]:
                distances = [(weights[name] - start[name]).square().sum() for name in start]
                return loss(weights) + self.proximal / 2 * torch.stack(distances).sum()

            return problem

        return [proximal_problem(loss) for loss in loop.losses(model, support, seed)]
