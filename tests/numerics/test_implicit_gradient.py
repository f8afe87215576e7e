"""The implicit meta-gradient of iMAML: exact at a converged inner optimum, and as large for 2 steps as for 50.

Every case starts with the residual ‖∇G(φ)‖ of the inner problem G(φ) = L_support(φ) + λ/2 ‖φ - θ‖² where its steps end.
"""

import pytest
import torch

from metarec.algorithms.inner_loop import support_loss
from metarec.contracts import query_context, support_context
from tests.worlds import examples, gradients, make_batch, make_catalogue, make_learner, one_task, unbatched

CATALOGUE = make_catalogue()
PULL = 2.0
CONVERGED = (
    "algorithm.name=imaml",
    f"algorithm.proximal={PULL}",
    "algorithm.cg_steps=30",
    "inner.steps=60",
    "inner.lr=0.2",
    "inner.damping=6",
    "model.user_bias_damping=6",
)
LINEAR = ("model.hidden=[]", "model.direct=false")
CLOSE = {"rtol": 1e-7, "atol": 1e-7}
CASES = pytest.mark.parametrize(
    "overrides",
    [
        LINEAR,
        (*LINEAR, "inner.loss=cross_entropy", "outer.loss=cross_entropy", "model.residual=none"),
        (*LINEAR, "algorithm.adapt=encoder.items.* head.*"),
        ("algorithm.adapt=head.*",),
    ],
)


def slope_along(direction, learner, batch, step=1e-6):
    """The central difference of the query loss."""
    ends = []
    with torch.no_grad():
        for way in (step, -2 * step, step):
            ends.append(learner(CATALOGUE, batch).losses.sum())
            for name, parameter in learner.named_parameters():
                parameter.add_(direction[name], alpha=way)
    return (ends[1] - ends[2]) / (2 * step)


def residual(learner, batch):
    """‖∇G(φ)‖ of one task."""
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    start = learner.model.initial(learner.algorithm.loop.adapted, support)
    end = {name: weight[0] for name, weight in state.weights.items()}
    loss = support_loss(
        learner.model, support, learner.algorithm.loop.objective, damping=learner.algorithm.loop.damping
    )
    slopes = torch.func.grad(loss)(end)
    return torch.stack([(slopes[name] + PULL * (end[name] - start[name])).norm() for name in end]).norm().item()


@CASES
def test_the_steps_converge(overrides):
    learner, batch = make_learner(*CONVERGED, *overrides), make_batch(5, 0, 2)
    assert max(residual(learner, one_task(batch, index)) for index in range(3)) < 1e-8


@CASES
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_the_inner_optimum_the_meta_gradient_is_the_slope_of_the_query_loss(overrides, seed):
    """Along a direction drawn over all parameters at once: the weights that a task adapts and those that none does."""
    learner, batch = make_learner(*CONVERGED, *overrides), make_batch(5, 0, 2)
    generator = torch.Generator().manual_seed(seed)
    found = gradients(learner, CATALOGUE, batch)
    direction = {
        name: torch.randn(gradient.shape, generator=generator, dtype=gradient.dtype) for name, gradient in found.items()
    }
    expected = slope_along(direction, learner, batch)
    torch.testing.assert_close(
        torch.stack([(gradient * direction[name]).sum() for name, gradient in found.items()]).sum(), expected, **CLOSE
    )


def test_at_the_inner_optimum_the_surrogate_is_the_query_loss():
    output = make_learner(*CONVERGED, *LINEAR)(CATALOGUE, make_batch(5, 0, 2))
    torch.testing.assert_close(output.surrogate, output.losses.sum(), rtol=1e-8, atol=0)


def test_for_a_linear_model_the_meta_gradient_is_the_formula():
    """With rows X of embeddings, H = 2 XᵀX / (n + d), g = 2 Zᵀ(Z φ* - t) / m for query rows Z: v = (I + H/λ)⁻¹ g.

    Weights and bias adapt; a column of ones stands for the bias. The residuals y - base are what the head predicts.
    """
    learner, batch = make_learner(*CONVERGED, *LINEAR), make_batch(5)
    model = learner.model
    support, query = (examples(learner, CATALOGUE, unbatched(rows)) for rows in (batch.support, batch.query))
    (x, y), (z, t) = (design(model, support, rows) for rows in (support, query))
    start = torch.cat([model.head.parts[0].weight[0], model.head.parts[0].bias]).detach()
    hessian = 2 * x.T @ x / (len(x) + 6)
    end = torch.linalg.solve(hessian + PULL * torch.eye(len(start)), 2 * x.T @ y / (len(x) + 6) + PULL * start)
    multiplier = torch.linalg.solve(torch.eye(len(start)) + hessian / PULL, 2 * z.T @ (z @ end - t) / len(z))
    found = gradients(learner, CATALOGUE, batch)
    names = [f"model.head.parts.0.{part}" for part in ("weight", "bias")]
    torch.testing.assert_close(torch.cat([found[name].flatten() for name in names]), multiplier, rtol=1e-10, atol=1e-12)


def design(model, support, rows):
    """Embeddings with a column of ones, and what the base leaves over of the targets, of support or query rows."""
    context = support_context(support) if rows is support else query_context(support, len(rows.mask))
    embedded = model.embed({}, rows.encoded, context).detach()
    ones = torch.ones(len(embedded), 1, dtype=embedded.dtype)
    return torch.cat([embedded, ones], dim=1), (rows.target - model.base(rows.encoded, context)).flatten()


def saved_bytes(output):
    """What the graph behind a tensor keeps alive for its backward pass, each storage once."""
    seen, storages, waiting = set(), {}, [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [parent for parent, _ in node.next_functions]
        for name in dir(node):
            value = getattr(node, name) if name.startswith("_saved_") else None
            for tensor in value if isinstance(value, tuple | list) else [value]:
                if isinstance(tensor, torch.Tensor):
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def bytes_of(algorithm, steps):
    learner = make_learner(f"algorithm.name={algorithm}", f"inner.steps={steps}", "inner.lr=0.01")
    return saved_bytes(learner(CATALOGUE, make_batch(5, 0, 2)).surrogate)


def test_fifty_steps_save_no_more_for_the_backward_pass_than_two():
    assert bytes_of("imaml", 50) == bytes_of("imaml", 2) > 0


def test_the_measure_sees_that_steps_with_a_graph_are_saved():
    assert bytes_of("meta_sgd", 50) > 5 * bytes_of("meta_sgd", 2)
