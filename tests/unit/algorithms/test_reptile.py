"""Reptile on the line, done by hand; that its gradient is the way from the initialisation; and what it refuses.

Support and query together have L(w) = ((w e - 3)² + (2 w e - 5)² + (3 w e - 4)²) / 3 and L'(w) = (28 w - 50) / 3 at
e = 1, so that at rate 0.1 w goes 0 → 5/3 → 16/9.
"""

import pytest
import torch

from metarec.contracts import Algorithm, query_context, support_context
from metarec.errors import ConfigError
from metarec.task import Rows
from tests.line import LINE_BATCH, LINE_CATALOGUE, adapted_weight, line_gradients, make_line
from tests.worlds import examples, gradients, make_batch, make_catalogue, make_learner, unbatched

CATALOGUE = make_catalogue()
TABLE = "encoder.items.embeddings.0.weight"


def line(*overrides):
    return make_line("algorithm.name=reptile", *overrides)


def joined(batch):
    """Support and query rows as one support."""
    return Rows(*(torch.cat(parts, dim=1) for parts in zip(batch.support, batch.query, strict=True)))


def test_it_keeps_the_contract_of_an_algorithm():
    assert isinstance(line().algorithm, Algorithm)


@pytest.mark.parametrize(("steps", "slope"), [(1, -5 / 3), (2, -16 / 9)])
def test_the_gradient_is_the_way_back_from_where_all_ratings_lead(steps, slope):
    assert line_gradients(line(f"inner.steps={steps}"))[0] == pytest.approx(slope, abs=1e-14)


def test_a_weight_that_no_task_adapts_has_the_gradient_along_the_path():
    """dL/de = w L'(w): 0 at w = 0 and -50/27 at w = 5/3, times the rate."""
    assert line_gradients(line("inner.steps=2"))[1] == pytest.approx(-5 / 27, abs=1e-14)


def test_a_user_is_served_and_judged_after_steps_on_the_support_alone():
    """w' = 1.3 and (3 · 1.3 - 4)² = 0.01."""
    learner = line()
    assert adapted_weight(learner) == pytest.approx(1.3, abs=1e-15)
    assert learner(LINE_CATALOGUE, LINE_BATCH).losses.item() == pytest.approx(0.01, abs=1e-15)


@pytest.mark.parametrize("batch_size", [0, 2])
def test_the_gradient_is_the_way_back_for_every_adapted_weight(batch_size):
    settings = ("algorithm.name=reptile", "inner.steps=3", f"inner.batch_size={batch_size}")
    learner, batch = make_learner(*settings), make_batch(5)
    found = gradients(learner, CATALOGUE, batch)
    reached = learner.adapt(CATALOGUE, joined(batch), batch.task_seed).weights
    for name, weight in reached.items():
        way_back = learner.model.get_parameter(name) - weight[0]
        torch.testing.assert_close(found[f"model.{name}"], way_back, rtol=1e-12, atol=1e-12)


def test_the_rows_of_a_table_move_by_what_the_task_adds_to_them():
    """Items differ, so that each of the 8 rows is added to once; the others stay."""
    settings = ("algorithm.name=reptile", f"algorithm.adapt={TABLE} *", "inner.steps=3")
    learner, batch = make_learner(*settings), make_batch(5)
    together = joined(batch)
    added = learner.adapt(CATALOGUE, together, batch.task_seed).weights[TABLE][0]
    expected = torch.zeros_like(learner.model.get_parameter(TABLE))
    expected[CATALOGUE.item_features["id"][together.item[0], 0]] = -added
    assert (expected.abs().sum(-1) > 0).sum() == 8
    found = gradients(learner, CATALOGUE, batch)[f"model.{TABLE}"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_one_step_is_joint_training():
    """With k = 1 every parameter has the rate times the plain gradient of the loss of all ratings."""
    settings = ("algorithm.name=reptile", "inner.steps=1", "inner.damping=0", "inner.lr=0.01")
    learner, batch = make_learner(*settings), make_batch(5)
    rows = examples(learner, CATALOGUE, unbatched(joined(batch)))
    scores = learner.model.score({}, rows.encoded, support_context(rows))
    names, parameters = zip(*learner.model.named_parameters(), strict=True)
    plain = torch.autograd.grad((scores - rows.target).square().mean(), parameters)
    found = gradients(learner, CATALOGUE, batch)
    for name, gradient in zip(names, plain, strict=True):
        torch.testing.assert_close(found[f"model.{name}"], 0.01 * gradient, rtol=1e-12, atol=1e-12)


def test_a_step_that_would_overshoot_ends_at_the_minimum():
    """Of the support, w = 13/5, at any rate above 1 / L'' = 1/5."""
    assert adapted_weight(line("inner.lr=7")) == pytest.approx(2.6, abs=1e-13)


def test_a_shortened_step_is_the_way_back_too():
    """All ratings have their minimum at w = 50/28."""
    assert line_gradients(line("inner.lr=7"))[0] == pytest.approx(-50 / 28, abs=1e-13)


@pytest.mark.parametrize("learned", ["true", "false"])
def test_it_has_no_parameters_of_its_own(learned):
    learner = make_learner("algorithm.name=reptile", f"inner.learned={learned}")
    assert not list(learner.algorithm.parameters())


def test_an_empty_support_is_predicted_by_the_initialisation():
    learner, batch = make_learner("algorithm.name=reptile"), make_batch(0)
    support, query = (examples(learner, CATALOGUE, unbatched(rows)) for rows in (batch.support, batch.query))
    expected = learner.model.score({}, query.encoded, query_context(support, 3))
    torch.testing.assert_close(learner.predict(CATALOGUE, batch)[0], expected, rtol=1e-14, atol=0)


def test_a_task_whose_own_steps_overflow_is_left_out_though_its_report_is_finite():
    """A query target of 1e200 has a finite absolute error and an infinite squared one."""
    learner, batch = make_learner("algorithm.name=reptile", "outer.loss=absolute"), make_batch(4, 4)
    batch.query.target[0, 0] = 1e200
    output = learner(CATALOGUE, batch)
    assert output.losses.isfinite().tolist() == [False, True]
    assert output.surrogate.isfinite()


def test_an_objective_that_reads_scores_as_something_else_is_refused():
    with pytest.raises(ConfigError) as caught:
        make_learner("algorithm.name=reptile", "outer.loss=cross_entropy")
    assert str(caught.value) == (
        "inner.loss is 'squared' and outer.loss 'cross_entropy', but reptile trains inner.loss alone, which makes "
        "scores numbers, not logits; set inner.loss to 'cross_entropy' too"
    )


@pytest.mark.parametrize(
    ("inner", "outer"),
    [("squared", "absolute"), ("absolute", "pairwise"), ("cross_entropy", "softmax"), ("pairwise", "softmax")],
)
def test_objectives_that_read_scores_alike_or_their_order_alone_are_accepted(inner, outer):
    metric = "mae" if outer == "absolute" else "ndcg@5"
    losses = (f"inner.loss={inner}", f"outer.loss={outer}", f"evaluate.primary={metric}")
    learner = make_learner("algorithm.name=reptile", *losses)
    assert learner(CATALOGUE, make_batch(4)).losses.isfinite().all()


@pytest.mark.parametrize("inner", ["pairwise", "softmax"])
def test_an_order_is_no_prediction_of_ratings(inner):
    with pytest.raises(ConfigError, match="makes scores an order, not numbers"):
        make_learner("algorithm.name=reptile", f"inner.loss={inner}")
