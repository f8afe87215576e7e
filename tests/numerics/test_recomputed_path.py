"""MAML with recomputed steps is MAML: losses and every outer gradient, and memory that does not grow with the steps."""

import pytest
import torch

from tests.worlds import gradients, make_batch, make_catalogue, make_learner, make_schema

CATALOGUE = make_catalogue()
RECOMPUTE = ("algorithm.recompute=true",)
SETTINGS = (
    (),
    ("algorithm.first_order=true",),
    ("algorithm.adapt=head.*", "inner.learned=false"),
    ("algorithm.adapt=network.* encoder.items.*",),
    ("inner.batch_size=2",),
    ("model.name=transformer",),
    ("model.context_width=2", "algorithm.adapt=context"),
    ("inner.loss=cross_entropy", "outer.loss=cross_entropy"),
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_losses_and_gradients_are_those_of_the_kept_steps(settings):
    batch = make_batch(5, 0, 2)
    kept, recomputed = (make_learner("inner.steps=3", "inner.lr=0.1", *settings, *more) for more in ((), RECOMPUTE))
    expected, found = kept(CATALOGUE, batch), recomputed(CATALOGUE, batch)
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-10, atol=1e-10)
    expected, found = (gradients(learner, CATALOGUE, batch) for learner in (kept, recomputed))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-10, msg=name)


def test_two_heads_of_which_some_targets_are_unknown_are_no_other_matter():
    catalogue, batch = make_catalogue(num_heads=2), make_batch(5, 2, num_heads=2, observed=0.6)
    kept, recomputed = (make_learner(*more, schema=make_schema(num_heads=2)) for more in ((), RECOMPUTE))
    expected, found = (gradients(learner, catalogue, batch) for learner in (kept, recomputed))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-10, msg=name)


def size_of_graph(steps, *settings):
    """How many operations a forward pass leaves for the backward pass."""
    learner = make_learner(
        f"inner.steps={steps}", "inner.lr=0.01", "inner.learned=false", "inner.batch_size=3", *settings
    )
    todo, seen = [learner(CATALOGUE, make_batch(8, 8)).surrogate.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
    return len(seen)


def test_what_is_kept_does_not_grow_with_the_steps():
    assert size_of_graph(12, *RECOMPUTE) == size_of_graph(2, *RECOMPUTE)
    assert size_of_graph(12) > 3 * size_of_graph(2)
