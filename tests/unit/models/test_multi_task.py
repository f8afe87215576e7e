"""Multi-task heads: what is shared and what is each head's own."""

import pytest
import torch

from metarec.models.multi_task import Towers
from tests.worlds import gradients, make_batch, make_catalogue, make_learner, make_schema

CATALOGUE = make_catalogue(num_heads=2)
BATCH = make_batch(5, num_heads=2)


def learner_of_two(*overrides, **arguments):
    return make_learner("model.name=multi_task", *overrides, schema=make_schema(num_heads=2), **arguments)


def test_a_tower_is_hidden_layers_and_a_last_linear_layer():
    """relu(2·3 - 1·5) = 1, 10·1 + 4 = 14; the other tower relu(-1) = 0, 4."""
    towers = Towers((1, 1), 2, hidden=(1,), zero=False)
    with torch.no_grad():
        for tower, sign in zip(towers.towers, (1.0, -1.0), strict=True):
            tower[0].weight.copy_(torch.tensor([[2.0, -1.0]]) * sign)
            tower[0].bias.zero_()
            tower[2].weight.fill_(10.0)
            tower[2].bias.fill_(4.0)
    assert towers((torch.tensor([[3.0]]), torch.tensor([[5.0]]))).tolist() == [[14, 4]]


def test_changing_a_tower_changes_its_own_head_alone():
    learner = learner_of_two("algorithm.name=joint")
    before = learner.predict(CATALOGUE, BATCH)
    with torch.no_grad():
        learner.model.get_parameter("head.towers.1.2.bias").add_(1.0)
    assert torch.equal(learner.predict(CATALOGUE, BATCH)[..., 0], before[..., 0])
    torch.testing.assert_close(learner.predict(CATALOGUE, BATCH)[..., 1], before[..., 1] + 1, rtol=0, atol=1e-14)


def test_changing_the_trunk_changes_every_head():
    learner = learner_of_two("algorithm.name=joint")
    before = learner.predict(CATALOGUE, BATCH)
    with torch.no_grad():
        learner.model.get_parameter("network.layers.0.bias").add_(0.5)
    assert (learner.predict(CATALOGUE, BATCH) != before).any(1).all()


def test_a_head_without_observed_targets_teaches_its_tower_nothing():
    learner = learner_of_two()

    def hide(rows):
        return rows._replace(observed=rows.observed & torch.tensor([True, False]))

    found = gradients(learner, CATALOGUE, BATCH._replace(support=hide(BATCH.support), query=hide(BATCH.query)))
    taught = {name for name, gradient in found.items() if name.startswith("model.head.") and gradient.any()}
    assert taught
    assert all(name.startswith("model.head.towers.0.") for name in taught)


def test_a_heads_weight_scales_what_its_tower_is_taught():
    """First order, one head's errors do not reach the other's tower; the damping of 0 rows lets weights scale alone."""
    plain, weighted = (learner_of_two("algorithm.name=joint", *given) for given in ((), ("model.head_weights=[1, 3]",)))
    name = "model.head.towers.{}.0.weight"
    before, after = (gradients(learner, CATALOGUE, BATCH) for learner in (plain, weighted))
    for head, factor in enumerate((1, 3)):
        torch.testing.assert_close(after[name.format(head)], factor * before[name.format(head)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("residual", "starts_at_zero"), [("bias", True), ("none", False)])
def test_last_layers_start_at_zero_where_the_base_is_the_floor(residual, starts_at_zero):
    model = learner_of_two(f"model.residual={residual}", perturbed=False).model
    lasts = [model.get_parameter(f"head.towers.{head}.2.{kind}") for head in range(2) for kind in ("weight", "bias")]
    assert [not last.any() for last in lasts] == [starts_at_zero] * 4


def test_towers_may_have_no_hidden_layers():
    names = learner_of_two("model.tower=[]").model.adaptable()
    assert [name for name in names if name.startswith("head.towers.0.")] == [
        "head.towers.0.0.weight",
        "head.towers.0.0.bias",
    ]
