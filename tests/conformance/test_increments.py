"""Every algorithm goes on with further ratings without the earlier ones, or says why it does not."""

import pytest
import torch

from jobs.benchmarks.feedback import in_pieces
from metarec.algorithms.increments import why_ratings_are_needed
from metarec.build import ALGORITHMS, MODELS
from metarec.contracts import IncrementalAlgorithm
from tests.worlds import make_batch, make_catalogue, make_learner, make_schema

CATALOGUE = make_catalogue()
SUPPORTS = (6, 0, 1, 8)
NOT_OFFERED = {"matching"}
STEPWISE = ("maml", "meta_sgd", "reptile", "imaml", "learned_mask", "fine_tuned")
EACH = pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in NOT_OFFERED])


def make(algorithm, model="melu", *overrides, **arguments):
    return make_learner(f"algorithm.name={algorithm}", f"model.name={model}", *overrides, **arguments)


def assert_close(first, second):
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


def after(learner, batch, num, catalogue=CATALOGUE):
    """Predictions for the query after the support in so many pieces, each without those before it."""
    running = None
    for piece in in_pieces(batch.support, num):
        running = learner.adapt_further(catalogue, running, piece, batch.task_seed)
    return learner.score(catalogue, running.state, batch.query)


def test_the_algorithms_that_do_not_offer_it_are_known():
    offering = {name for name in ALGORITHMS if isinstance(make(name).algorithm, IncrementalAlgorithm)}
    assert offering == ALGORITHMS.keys() - NOT_OFFERED


@pytest.mark.parametrize("model", [name for name in MODELS if name != "transformer"])
@EACH
def test_the_first_ratings_lead_where_adapting_to_them_leads(algorithm, model):
    learner, batch = make(algorithm, model), make_batch(*SUPPORTS)
    assert_close(after(learner, batch, 1), learner.predict(CATALOGUE, batch))


@EACH
def test_pieces_are_the_whole_where_states_are_sums_and_near_it_else(algorithm):
    """On item bias, where base and embedding do not depend on the support."""
    learner, batch = make(algorithm, "melu", "model.residual=item"), make_batch(*SUPPORTS)
    at_once = learner.predict(CATALOGUE, batch)
    halves, quarters = after(learner, batch, 2), after(learner, batch, 4)
    if learner.algorithm.capabilities.additive:
        assert_close(halves, at_once)
        assert_close(quarters, at_once)
        return
    first, _ = in_pieces(batch.support, 2)
    only_first = learner.predict(CATALOGUE, batch._replace(support=first))
    assert halves.isfinite().all()
    assert quarters.isfinite().all()
    assert (halves[[0, 3]] - only_first[[0, 3]]).abs().min() > 1e-6, "the second half counts"
    assert_close(halves[1], at_once[1])


@pytest.mark.parametrize("algorithm", ["joint", *STEPWISE])
@pytest.mark.parametrize("residual", ["bias", "user"])
def test_a_users_bias_is_that_of_all_ratings(algorithm, residual):
    """With weights that predict nothing the base is left, and it has forgotten nothing but the ratings."""
    learner = make(algorithm, "melu", f"model.residual={residual}", "inner.lr=1e-300", perturbed=False)
    batch = make_batch(*SUPPORTS)
    assert_close(after(learner, batch, 3), learner.predict(CATALOGUE, batch))


@EACH
def test_what_biases_left_over_is_that_of_the_moment(algorithm):
    """Rows that came early are counted with the bias of then, so that pieces are only near the whole."""
    learner, batch = make(algorithm, "melu", "model.residual=bias"), make_batch(*SUPPORTS)
    halves, at_once = after(learner, batch, 2), learner.predict(CATALOGUE, batch)
    assert halves.isfinite().all()
    assert_close(halves[1], at_once[1])


@EACH
def test_no_rating_is_left_in_the_state(algorithm):
    learner, batch = make(algorithm), make_batch(5, 3)
    running = learner.adapt_further(CATALOGUE, None, batch.support, batch.task_seed)
    assert running.support.mask.shape == (2, 0)
    leaves = torch.utils._pytree.tree_leaves(running)
    assert all(leaf.untyped_storage().nbytes() == 0 for leaf in leaves if leaf.numel() == 0)


@EACH
def test_nothing_further_changes_nothing(algorithm):
    learner, batch = make(algorithm, "melu", "inner.batch_size=2"), make_batch(5, 3)
    running = learner.adapt_further(CATALOGUE, None, batch.support, batch.task_seed)
    nothing = type(batch.support)(*(leaf[:, :0] for leaf in batch.support))
    again = learner.adapt_further(CATALOGUE, running, nothing, batch.task_seed)
    assert_close(
        learner.score(CATALOGUE, again.state, batch.query), learner.score(CATALOGUE, running.state, batch.query)
    )


@EACH
def test_a_batch_of_further_ratings_is_the_loop_over_its_tasks_with_two_heads(algorithm):
    learner = make(algorithm, "multi_task", schema=make_schema(num_heads=2))
    catalogue, batch = make_catalogue(num_heads=2), make_batch(*SUPPORTS, num_heads=2, observed=0.6)
    together = after(learner, batch, 2, catalogue)
    for task in range(batch.num_tasks):
        rows = (type(batch.support)(*(leaf[task : task + 1] for leaf in rows)) for rows in (batch.support, batch.query))
        alone = type(batch)(*rows, batch.task_seed[task : task + 1])
        assert_close(after(learner, alone, 2, catalogue)[0], together[task])


def test_who_needs_the_ratings_says_why():
    def why(*overrides):
        learner = make_learner(*overrides)
        return why_ratings_are_needed(learner.model, learner.algorithm)

    assert why() is None
    assert why("algorithm.name=matching") == "its state is the ratings themselves"
    assert why("model.name=transformer") == "the recommender looks at the ratings whenever it scores an item"
    assert why("algorithm.adapt=encoder.items.*") == "it adapts rows of embedding tables, those of the rated items"
