"""iMAML on the line, done by hand with λ = 8: G'(φ) = 5 φ - 13 + 8 (φ - w), so that φ* = 1 at w = 0."""

import pytest
import torch

from metarec.contracts import Algorithm, query_context
from tests.line import LINE_BATCH, LINE_CATALOGUE, adapted_weight, line_gradients, make_line
from tests.worlds import examples, gradients, make_batch, make_catalogue, make_learner, unbatched

CATALOGUE = make_catalogue()
SOLVED = "inner.lr=0.5"
"""One step on the line arrives at every rate from 1 / G'' = 1/13 on."""


def line(*overrides):
    return make_line("algorithm.name=imaml", "algorithm.proximal=8", *overrides)


def test_it_keeps_the_contract_of_an_algorithm():
    assert isinstance(line().algorithm, Algorithm)


@pytest.mark.parametrize(("steps", "weight"), [(1, 0.65), (2, 0.8775)])
def test_steps_feel_the_pull_toward_the_initialisation(steps, weight):
    """At rate 0.05: 0 → 0.65 → 0.65 - 0.05 (3.25 - 13 + 8 · 0.65)."""
    learner = line("inner.lr=0.05", f"inner.steps={steps}")
    assert adapted_weight(learner) == pytest.approx(weight, abs=1e-14)


def test_solved_steps_are_at_the_proximal_optimum():
    assert adapted_weight(line(SOLVED)) == pytest.approx(1.0, abs=1e-14)


def test_the_meta_gradient_is_the_implicit_one_taken_by_hand():
    """L_query'(1) = -6 and dφ*/dw = λ / (5 + λ) = 8/13. With e moves L_query by -6, φ* by 3/13 = -(10 φ - 13) / 13."""
    by_weight, by_embedding = line_gradients(line(SOLVED))
    assert by_weight == pytest.approx(-48 / 13, abs=1e-13)
    assert by_embedding == pytest.approx(-6 - 6 * 3 / 13, abs=1e-13)


def test_the_report_is_where_the_steps_end_and_the_surrogate_where_they_would():
    """At φ = 0.65 the report is (1.95 - 4)²; the missing way is 0.35, and L_query' = 6 (1.95 - 4)."""
    output = line("inner.lr=0.05")(LINE_CATALOGUE, LINE_BATCH)
    assert output.losses.item() == pytest.approx(2.05**2, abs=1e-14)
    assert output.surrogate.item() == pytest.approx(2.05**2 - 0.35 * 12.3, abs=1e-13)


@pytest.mark.parametrize("learned", ["true", "false"])
def test_it_has_no_parameters_of_its_own(learned):
    learner = make_learner("algorithm.name=imaml", f"inner.learned={learned}")
    assert not list(learner.algorithm.parameters())


@pytest.mark.parametrize("padding", [0, 3])
def test_with_an_empty_support_the_meta_gradient_is_the_plain_one(padding):
    learner, batch = make_learner("algorithm.name=imaml"), make_batch(0, padding)
    batch = batch._replace(task_seed=batch.task_seed[:1])
    batch = type(batch)(*(type(rows)(*(leaf[:1] for leaf in rows)) for rows in batch[:2]), batch.task_seed)
    support, query = (examples(learner, CATALOGUE, unbatched(rows)) for rows in batch[:2])
    scores = learner.model.score({}, query.encoded, query_context(support, 3))
    names, parameters = zip(*learner.model.named_parameters(), strict=True)
    plain = torch.autograd.grad((scores - query.target).square().mean(), parameters)
    found = gradients(learner, CATALOGUE, batch)
    for name, gradient in zip(names, plain, strict=True):
        torch.testing.assert_close(found[f"model.{name}"], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_strong_pull_keeps_a_task_at_the_initialisation(steps):
    """With λ = 1e6 no step of rate 1e-6 leads further than |∇L| / λ."""
    settings = ("algorithm.proximal=1e6", "inner.lr=1e-6", f"inner.steps={steps}")
    learner, batch = make_learner("algorithm.name=imaml", *settings), make_batch(5)
    weights = learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights
    for name, weight in weights.items():
        torch.testing.assert_close(weight[0], learner.model.get_parameter(name), rtol=0, atol=1e-3)
