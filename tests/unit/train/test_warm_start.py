"""What meta-training starts from, and what training users meet of it."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from metarec.build import member_configs
from metarec.config import load_config
from metarec.data.biases import with_held_out_biases
from metarec.errors import ConfigError
from metarec.task import Rows
from metarec.train.warm_start import SIZE, warm_start, with_held_out_vectors
from tests.worlds import make_batch, make_catalogue, make_histories, make_learner

SETTINGS = ("model.warm_start_rank=2", "model.name=mf", "algorithm.name=ridge")


@pytest.fixture
def world():
    return make_catalogue(), make_histories(8, 5, 7, 6, 9, 4, 8)


def started(world, *settings):
    """A learner of one-vector items, and what it started from."""
    learner = make_learner(*SETTINGS, *settings)
    return learner, warm_start(learner, load_config(None, [*SETTINGS, *settings]), *world)


def test_items_start_at_the_vectors_of_the_analysis_in_a_fixed_size(world):
    learner, start = started(world)
    vectors = start.scale * start.analysis.vectors
    torch.testing.assert_close(learner.model.encoder.items.embedding("id").weight[1:], vectors, rtol=0, atol=1e-6)
    assert float(vectors.square().mean().sqrt()) == pytest.approx(SIZE)
    assert started(world, "model.warm_start_rank=0")[1] is None


def test_plain_events_leave_the_learner_as_it_is(world):
    """Every target is 1, and so is the mean: there are no tastes to tell apart."""
    catalogue, histories = world
    events = dataclasses.replace(histories, target=np.ones_like(histories.target))
    level = catalogue._replace(offset=torch.ones(1).double(), item_bias=torch.zeros_like(catalogue.item_bias))
    assert started((level, events))[1] is None


def test_training_users_meet_vectors_without_their_own_ratings_and_new_users_those_of_everybody(world):
    """In folds of one user each: what user 0 meets does not change with what user 0 has rated."""
    catalogue, histories = world
    learner, start = started(world)
    held_out = with_held_out_biases(catalogue, histories, num_folds=len(histories))
    met = with_held_out_vectors(held_out, histories, [start])

    changed = dataclasses.replace(histories, target=histories.target.copy())
    first = histories.row_history == 0
    changed.target[first] = 6 - changed.target[first]
    again = with_held_out_vectors(with_held_out_biases(catalogue, changed, num_folds=len(histories)), changed, [start])
    torch.testing.assert_close(met.held_out_change[0], again.held_out_change[0], rtol=0, atol=1e-12)
    assert (met.held_out_change[1] - again.held_out_change[1]).abs().max() > 1e-4

    first_user, item_3 = torch.tensor([[histories.user[0]]]), torch.tensor([[3]])
    nothing = torch.zeros(1, 1, 1, dtype=torch.float64)
    rows = Rows(first_user, item_3, item_3, nothing, nothing.bool(), item_3 > 0)
    plain, own = learner.model.encode(catalogue, rows), learner.model.encode(met, rows)
    difference = (own.fields - plain.fields).sum(-2).flatten()
    torch.testing.assert_close(difference, met.held_out_change[0, 3], rtol=0, atol=1e-12)
    met.user_fold[histories.user[0]] = -1
    assert torch.equal(learner.model.encode(met, rows).fields, plain.fields)


def test_frozen_parameters_take_no_gradient_and_unknown_ones_are_named():
    learner = make_learner("model.name=mf", "algorithm.name=ridge", "outer.frozen=encoder.items.*")
    frozen = {name for name, weight in learner.model.named_parameters() if not weight.requires_grad}
    assert frozen == {"encoder.items.embeddings.0.weight", "encoder.items.embeddings.1.weight"}
    with pytest.raises(ConfigError, match=r"^outer.frozen: 'encoder.itmes.\*' selects no parameter; there are "):
        make_learner("outer.frozen=encoder.itmes.*")


def test_each_member_of_a_committee_starts_from_its_own_analysis_and_meets_its_own_changes(world):
    catalogue, histories = world
    committee = make_learner(*SETTINGS, "model.members=2")
    configs = member_configs(load_config(None, [*SETTINGS, "model.members=2"]))
    starts = [warm_start(m, own, *world) for m, own in zip(committee.members, configs, strict=True)]
    first, second = (start.scale * start.analysis.vectors for start in starts)
    assert (first - second).abs().max() > 1e-3
    held_out = with_held_out_biases(catalogue, histories, num_folds=len(histories))
    met, alone = (with_held_out_vectors(held_out, histories, each) for each in (starts, starts[1:]))
    assert torch.equal(met.held_out_change[..., 2:], alone.held_out_change)

    batch = make_batch(3, 4)
    committee(met, batch).surrogate.backward()
    member = copy.deepcopy(committee.members[1])
    member.zero_grad()
    member(alone, batch).surrogate.backward()
    for own, again in zip(committee.members[1].parameters(), member.parameters(), strict=True):
        torch.testing.assert_close(own.grad, again.grad, rtol=1e-12, atol=1e-12)
