"""Combinations that make no sense are refused with the reason, before there are data."""

import pytest

from metarec.build import ALGORITHMS, MODELS, check_combination
from metarec.config import load_config
from metarec.errors import ConfigError


def check(*overrides):
    check_combination(load_config(None, overrides))


def refusal(*overrides):
    with pytest.raises(ConfigError) as caught:
        check(*overrides)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("model", MODELS)
def test_every_algorithm_goes_with_every_model(algorithm, model):
    check(f"algorithm.name={algorithm}", f"model.name={model}", "inner.learned=false")


@pytest.mark.parametrize("name", ["outer.loss", "inner.loss"])
def test_cross_entropy_needs_scores_that_are_logits(name):
    assert refusal("algorithm.name=ridge", f"{name}=squared cross_entropy") == (
        f"{name} is 'squared cross_entropy', but ridge predicts from the support's targets as numbers, so that its "
        "scores are no logits; use squared or absolute, or another algorithm.name"
    )


def test_cross_entropy_goes_with_gradient_steps():
    check("outer.loss=cross_entropy", "inner.loss=cross_entropy")


def test_an_unknown_name_is_refused_before_there_are_data():
    assert refusal("model.name=melo").startswith("model.name is 'melo'; use one of melu, ")


def test_a_pattern_that_selects_nothing_is_refused_before_there_are_data():
    assert refusal("algorithm.adapt=haed.*").startswith("algorithm.adapt: 'haed.*' selects no parameter; there are ")


@pytest.mark.parametrize("adapt", ["encoder.items.embeddings.7.*", "head.* encoder.users.embeddings.3.weight"])
def test_which_tables_there_are_only_the_data_know(adapt):
    check(f"algorithm.adapt={adapt}")


@pytest.mark.parametrize(
    "overrides",
    [
        ("outer.loss=squared cross_entropy absolute", "inner.loss=squared cross_entropy squared"),
        ("model.head_weights=[1, 0.5]",),
        ("model.head_weights=[1, 0.5]", "outer.loss=squared cross_entropy", "inner.loss=squared cross_entropy"),
    ],
)
def test_losses_and_weights_say_how_many_heads_there_will_be(overrides):
    check("model.name=multi_task", *overrides)


def test_losses_that_ask_for_different_numbers_of_heads_are_refused():
    message = refusal("outer.loss=squared squared squared", "inner.loss=squared squared")
    assert message.startswith("inner.loss is 'squared squared'; name one loss, or one for each of the 3 heads")


def test_dropout_is_refused_where_inner_steps_are_computed_again():
    assert refusal("model.dropout=0.5", "algorithm.recompute=true") == (
        "model.dropout is 0.5, but algorithm.recompute computes inner steps a second time and would leave out other "
        "units; set one of them to 0 or false"
    )
    check("model.dropout=0.5")
    check("algorithm.recompute=true")
