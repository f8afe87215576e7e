"""MAML on a model so small that each step can be done by hand, and what adaptation must not depend on."""

import math

import pytest
import torch

from metarec.contracts import Algorithm
from metarec.errors import ConfigError
from metarec.task import Rows
from tests.line import LINE, LINE_BATCH, LINE_CATALOGUE, adapted_weight, make_line, rows_of
from tests.worlds import make_batch, make_catalogue, make_learner, unbatched

CATALOGUE = make_catalogue()


def line(*overrides):
    """The line with a rate of exactly 0.1."""
    learner = make_line(*overrides)
    with torch.no_grad():
        learner.algorithm.log_rate.fill_(math.log(0.1))
    return learner


def test_it_keeps_the_contract_of_an_algorithm():
    assert isinstance(make_learner().algorithm, Algorithm)


@pytest.mark.parametrize(("overrides", "weight"), [((), 1.3), (("inner.damping=2",), 0.65)])
def test_one_step_on_a_line_is_the_one_taken_by_hand(overrides, weight):
    """L(w) = ((w - 3)^2 + (2w - 5)^2) / 2, L'(0) = -13, w' = 0.1 * 13; with damping 2 L'(0) = -26 / (2 + 2)."""
    assert adapted_weight(line(*overrides)) == pytest.approx(weight, abs=1e-14)


def test_two_steps_on_a_line_are_those_taken_by_hand():
    """L'(w) = 5 w - 13: 0 → 1.3 → 1.3 - 0.1 (6.5 - 13) = 1.95."""
    learner = line("inner.steps=2")
    assert adapted_weight(learner) == pytest.approx(1.95, abs=1e-14)


def test_in_the_inner_loss_a_support_row_is_scored_without_its_own_rating():
    """One rating 3 at x = 1: alone it has no user bias, L'(0) = -6 and w' = 0.6; with its own it would be 0.4."""
    learner = line("model.residual=bias", "model.user_bias_damping=2")
    support = rows_of([0], [3.0])
    weights = learner.adapt(LINE_CATALOGUE, support, LINE_BATCH.task_seed).weights
    assert weights["head.parts.0.weight"].item() == pytest.approx(0.6, abs=1e-14)


def test_the_query_loss_is_that_of_the_adapted_line():
    """(3 * 1.3 - 4)^2 = 0.01."""
    output = line()(LINE_CATALOGUE, LINE_BATCH)
    assert output.surrogate.item() == pytest.approx(0.01, abs=1e-14)
    assert output.losses.tolist() == [output.surrogate.item()]


def test_the_absolute_query_loss_is_that_of_the_adapted_line():
    """|3 * 1.3 - 4| = 0.1, after the same step on the squared support loss."""
    learner = line("outer.loss=absolute")
    assert learner(LINE_CATALOGUE, LINE_BATCH).surrogate.item() == pytest.approx(0.1, abs=1e-14)


@pytest.mark.parametrize(
    ("loss", "first_order", "slope"),
    [("squared", "false", -0.3), ("squared", "true", -0.6), ("absolute", "false", -1.5), ("absolute", "true", -3.0)],
)
def test_the_meta_gradient_of_the_line_is_the_one_taken_by_hand(loss, first_order, slope):
    """dL_q/dw' = 2 (3.9 - 4) 3 = -0.6 or, absolute, -3; dw'/dw = 1 - 0.1 * 5 = 0.5, which first order leaves out."""
    learner = line(f"outer.loss={loss}", f"algorithm.first_order={first_order}")
    weight = learner.model.head.parts[0].weight
    (gradient,) = torch.autograd.grad(learner(LINE_CATALOGUE, LINE_BATCH).surrogate, weight)
    assert gradient.item() == pytest.approx(slope, abs=1e-14)


def test_the_gradient_of_the_log_rate_is_the_one_taken_by_hand():
    """dw'/d(log r) = 0.1 * 13 = 1.3, so that the slope is -0.6 * 1.3."""
    learner = line()
    (gradient,) = torch.autograd.grad(learner(LINE_CATALOGUE, LINE_BATCH).surrogate, learner.algorithm.log_rate)
    assert gradient.item() == pytest.approx(-0.78, abs=1e-14)


def test_learned_rates_are_one_for_each_step_and_tensor_and_start_at_inner_lr():
    learner = make_learner(
        "inner.steps=3", "inner.lr=0.25", "algorithm.adapt=network.* head.parts.0.*", perturbed=False
    )
    expected = torch.full((3, 4), 0.25, dtype=torch.float64)
    torch.testing.assert_close(learner.algorithm.log_rate.exp(), expected, rtol=1e-6, atol=0)
    assert "algorithm.log_rate" in dict(learner.named_parameters())


def test_rates_that_are_not_learned_are_kept_with_the_model_but_not_trained():
    learner = make_learner("inner.learned=false")
    assert "algorithm.log_rate" not in dict(learner.named_parameters())
    assert "algorithm.log_rate" in learner.state_dict()


@pytest.mark.parametrize("padding", [0, 3])
def test_an_empty_support_leaves_the_initialisation(padding):
    learner = make_learner()
    batch = make_batch(0, padding)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    for name in learner.algorithm.loop.adapted:
        torch.testing.assert_close(state.weights[name][0], learner.model.get_parameter(name), rtol=0, atol=0)


def test_only_what_the_pattern_selects_moves():
    learner = make_learner("algorithm.adapt=head.parts.0.*")
    batch = make_batch(4)
    weights = learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights
    assert set(weights) == {"head.parts.0.weight", "head.parts.0.bias"}
    assert all((weights[name][0] != learner.model.get_parameter(name)).any() for name in weights)


def test_several_patterns_select_in_the_order_of_the_model():
    learner = make_learner("algorithm.adapt=head.parts.0.bias network.layers.0.*")
    assert learner.algorithm.loop.adapted == ("network.layers.0.weight", "network.layers.0.bias", "head.parts.0.bias")


def test_a_pattern_that_selects_nothing_is_refused_with_what_there_is():
    with pytest.raises(ConfigError) as caught:
        make_learner("model.direct=false", "algorithm.adapt=head.* decision.*", schema=LINE)
    assert str(caught.value) == (
        "algorithm.adapt: 'decision.*' selects no parameter; there are "
        "network.layers.0.weight, network.layers.0.bias, head.parts.0.weight, head.parts.0.bias"
    )


@pytest.mark.parametrize(
    ("override", "name"), [("model.name=mel", "model.name"), ("algorithm.name=mam", "algorithm.name")]
)
def test_an_unknown_model_or_algorithm_is_refused_with_those_there_are(override, name):
    with pytest.raises(ConfigError, match=rf"^{name} is '{override[-3:]}'; use one of "):
        make_learner(override)


def test_the_order_of_support_rows_does_not_matter():
    learner, batch = make_learner(), make_batch(6)
    shuffled = Rows(*(leaf[:, [3, 0, 5, 1, 4, 2]] for leaf in batch.support))
    torch.testing.assert_close(
        learner.predict(CATALOGUE, batch._replace(support=shuffled)),
        learner.predict(CATALOGUE, batch),
        rtol=0,
        atol=1e-12,
    )


def test_the_targets_of_the_query_do_not_reach_its_predictions():
    learner, batch = make_learner(), make_batch(4)
    other = batch._replace(query=batch.query._replace(target=batch.query.target + 1))
    assert torch.equal(learner.predict(CATALOGUE, other), learner.predict(CATALOGUE, batch))


def test_adapting_lowers_the_loss_on_the_support():
    learner, batch = make_learner("inner.steps=5", "inner.lr=0.01", perturbed=False), make_batch(9)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    support = unbatched(batch.support)

    def loss(weights):
        own = state._replace(weights=weights)
        scores = learner.score(CATALOGUE, own, batch.support)[0]
        return (scores - support.target).square().mean()

    before = {name: learner.model.get_parameter(name)[None] for name in state.weights}
    assert loss(state.weights) < loss(before)


def test_the_same_seed_builds_the_same_learner_and_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = make_learner(), make_learner(), make_learner("run.seed=1")
    assert torch.equal(torch.rand(1), expected)
    name = "model.network.layers.0.weight"
    assert torch.equal(first.get_parameter(name), second.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_a_pattern_that_does_not_name_the_encoder_selects_no_embedding_table():
    assert not [
        name for name in make_learner("algorithm.adapt=*").algorithm.loop.adapted if name.startswith("encoder.")
    ]
    named = make_learner("algorithm.adapt=head.* encoder.items.*").algorithm.loop.adapted
    tables = ("encoder.items.embeddings.0.weight", "encoder.items.embeddings.1.weight")
    assert named == ("head.parts.0.weight", "head.parts.0.bias", "head.parts.1.weight", *tables)


def meta_loss(learner, progress):
    return learner(LINE_CATALOGUE, LINE_BATCH, progress).surrogate.item()


def test_in_the_multi_step_loss_every_step_counts_and_the_last_takes_over():
    """Query errors 3 * 1.3 - 4 = -0.1 and 3 * 1.95 - 4 = 1.85: first half of each, then a quarter of the first."""
    first, last = 0.1**2, 1.85**2
    learner = line("inner.steps=2", "algorithm.multi_step_share=0.5")
    assert meta_loss(learner, 0.0) == pytest.approx((first + last) / 2, abs=1e-14)
    assert meta_loss(learner, 0.25) == pytest.approx(first / 4 + 3 * last / 4, abs=1e-14)
    assert meta_loss(learner, 0.5) == meta_loss(learner, 1.0) == pytest.approx(last, abs=1e-14)


def test_the_reported_loss_is_that_after_the_last_step_whatever_counts():
    learner = line("inner.steps=2", "algorithm.multi_step_share=0.5")
    assert learner(LINE_CATALOGUE, LINE_BATCH, 0.0).losses.item() == pytest.approx(1.85**2, abs=1e-14)


@pytest.mark.parametrize(("progress", "slope"), [(0.0, -0.6), (0.3, -0.3), (1.0, -0.3)])
def test_the_second_order_can_start_later_in_the_run(progress, slope):
    learner = line("algorithm.first_order_share=0.3")
    surrogate = learner(LINE_CATALOGUE, LINE_BATCH, progress).surrogate
    (gradient,) = torch.autograd.grad(surrogate, learner.model.head.parts[0].weight)
    assert gradient.item() == pytest.approx(slope, abs=1e-14)


def test_a_minibatch_step_on_a_line_uses_one_of_its_ratings():
    """Of (1, 3) alone L' = -6 and w' = 0.6; of (2, 5) alone L' = -20 and w' = 2."""
    weights = set()
    for seed in range(8):
        learner = line("inner.batch_size=1")
        state = learner.adapt(LINE_CATALOGUE, LINE_BATCH.support, torch.tensor([seed]))
        weights.add(round(state.weights["head.parts.0.weight"].item(), 12))
    assert weights == {0.6, 2.0}
