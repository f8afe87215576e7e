"""A committee predicts the mean of what its members predict, and each of them learns as it would alone."""

import copy

import pytest
import torch

from metarec.algorithms.all_items import score_items
from metarec.algorithms.alpaca import Alpaca
from metarec.algorithms.committee import Committee, is_trained, takes_inner_steps, why_a_learner_needs_ratings
from metarec.algorithms.matching import Matching
from metarec.build import build_learner, member_configs
from metarec.config import load_config
from metarec.errors import ConfigError
from tests.worlds import make_batch, make_catalogue, make_learner, make_schema

CATALOGUE = make_catalogue()
COMBINATIONS = {
    "maml on melu": ("algorithm.name=maml", "model.name=melu"),
    "ridge on mf": ("algorithm.name=ridge", "model.name=mf", "model.residual=item"),
    "alpaca on mf": ("algorithm.name=alpaca", "model.name=mf", "model.residual=item"),
    "alpaca on unlike members": (
        "algorithm.name=alpaca",
        "model.residual=item",
        "model.member_names=['mf', 'melu']",
        "model.member_leave_out=['user.*', 'item.id', '']",
    ),
    "alpaca and matching on mf": (
        "algorithm.name=alpaca",
        "model.name=mf",
        "model.member_algorithms=['alpaca', 'matching']",
        "model.member_residual=['item', 'bias']",
    ),
}
EACH = pytest.mark.parametrize("settings", COMBINATIONS.values(), ids=COMBINATIONS)


def assert_close(first, second):
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def committee_of(*settings, num=3):
    """With heads that say something before any training."""
    committee = make_learner(*settings, f"model.members={num}")
    with torch.no_grad():
        for place, parameter in enumerate(committee.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place)))
    return committee


@EACH
def test_predictions_are_the_mean_of_the_members(settings):
    committee, batch = committee_of(*settings), make_batch(4, 0, 2)
    own = [member.predict(CATALOGUE, batch) for member in committee.members]
    assert not torch.equal(own[0], own[1])
    assert_close(committee.predict(CATALOGUE, batch), (own[0] + own[1] + own[2]) / 3)
    state = committee.adapt(CATALOGUE, batch.support, batch.task_seed)
    assert_close(committee.score(CATALOGUE, state, batch.query), committee.predict(CATALOGUE, batch))


@EACH
def test_scores_of_all_items_are_those_of_rows(settings):
    committee, batch = committee_of(*settings), make_batch(4, 0, 2)
    state, users = committee.adapt(CATALOGUE, batch.support, batch.task_seed), batch.query.user[:, 0]
    scores = score_items(committee, CATALOGUE, state, users, torch.arange(CATALOGUE.num_items))
    rows = torch.stack([scores[task, batch.query.item[task]] for task in range(3)])
    torch.testing.assert_close(rows, committee.score(CATALOGUE, state, batch.query), rtol=1e-10, atol=1e-10)


@EACH
def test_a_members_gradient_is_that_of_the_member_alone(settings):
    committee, batch = committee_of(*settings), make_batch(4, 0, 2)
    alone = [copy.deepcopy(member) for member in committee.members]
    output = committee(CATALOGUE, batch)
    output.surrogate.backward()
    losses = []
    for place, member in enumerate(alone):
        own = member(CATALOGUE, batch._replace(task_seed=batch.task_seed + place))
        own.surrogate.backward()
        losses.append(own.losses)
        for mine, theirs in zip(committee.members[place].parameters(), member.parameters(), strict=True):
            assert_close(mine.grad, theirs.grad)
    assert_close(output.losses, torch.stack(losses).mean(0))


def test_a_task_that_is_not_finite_is_left_out_and_no_task_at_all_reaches_every_weight():
    committee, batch = committee_of(*COMBINATIONS["alpaca on mf"]), make_batch(4, 0, 2)
    batch.query.target[1] = torch.inf
    output = committee(CATALOGUE, batch)
    assert output.losses.isnan().tolist() == [False, True, False]
    assert output.surrogate.isfinite()
    committee(CATALOGUE, make_batch()).surrogate.backward()
    assert all(parameter.grad is not None for parameter in committee.parameters())


def test_the_first_member_is_the_learner_of_one_and_others_start_elsewhere():
    config = load_config(None, ["model.members=3"])
    committee, alone = build_learner(config, make_schema()), build_learner(load_config(), make_schema())
    assert isinstance(committee, Committee)
    assert not isinstance(alone, Committee)
    first, second, third = ([p.detach() for p in member.parameters()] for member in committee.members)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first, alone.parameters(), strict=True))
    assert not all(torch.equal(mine, theirs) for mine, theirs in zip(second, third, strict=True))
    seeds = {
        own.run.seed
        for seed in (0, 1)
        for own in member_configs(load_config(None, ["model.members=3", f"run.seed={seed}"]))
    }
    assert len(seeds) == 6
    with pytest.raises(ConfigError, match=r"^model\.members is 0; use 1 or more"):
        load_config(None, ["model.members=0"])


def test_each_member_has_its_own_recommender_and_sees_what_its_entry_leaves_in():
    settings = [
        "model.members=3",
        "model.member_names=['mf', 'linear']",
        "model.leave_out=user.zip",
        "model.member_leave_out=['item.id', 'user.*', '']",
    ]
    config = load_config(None, settings)
    assert config.learner_name == "maml on mf + linear"
    assert [(own.model.name, own.model.leave_out) for own in member_configs(config)] == [
        ("mf", "user.zip item.id"),
        ("linear", "user.zip user.*"),
        ("mf", "user.zip"),
    ]
    committee, batch = make_learner("model.members=2", "model.member_leave_out=['', 'item.*']"), make_batch(4, 0, 2)
    other = {name: values.flip(0) for name, values in CATALOGUE.item_features.items()}
    changed = CATALOGUE._replace(item_features=other)
    unlike = [
        not member.predict(changed, batch).equal(member.predict(CATALOGUE, batch)) for member in committee.members
    ]
    assert unlike == [True, False]


def test_each_member_has_its_own_algorithm():
    settings = ["model.members=3", "model.member_algorithms=['alpaca', 'matching']", "model.name=mf"]
    config = load_config(None, settings)
    assert config.learner_name == "alpaca + matching on mf"
    assert [own.algorithm.name for own in member_configs(config)] == ["alpaca", "matching", "alpaca"]
    committee = make_learner(*settings)
    assert [type(member.algorithm) for member in committee.members] == [Alpaca, Matching, Alpaca]
    assert not takes_inner_steps(make_learner("model.members=2", "model.member_algorithms=['maml', 'matching']"))
    assert takes_inner_steps(make_learner("model.members=2", "model.member_algorithms=['maml', 'meta_sgd']"))


def test_each_member_starts_from_its_own_residual():
    settings = ["model.members=3", "model.member_residual=['user', 'item']"]
    assert [own.model.residual for own in member_configs(load_config(None, settings))] == ["user", "item", "user"]
    committee, batch = make_learner(*settings, "algorithm.name=alpaca", perturbed=False), make_batch(4, 0, 2)
    without, with_item = (member.predict(CATALOGUE, batch)[1] for member in committee.members[:2])
    assert_close(without, CATALOGUE.offset.expand_as(without))
    assert_close(with_item, CATALOGUE.offset + CATALOGUE.item_bias[batch.query.item[1]])


def test_a_member_that_is_not_trained_gets_no_gradient_and_is_in_the_mean():
    settings = ("algorithm.name=alpaca", "model.residual=item", "model.member_names=['mf', 'melu']")
    committee, batch = committee_of(*settings, "model.member_trained=[true, false]"), make_batch(4, 0, 2)
    trained, stays, again = committee.members
    assert [is_trained(member) for member in committee.members] == [True, False, True]
    output = committee(CATALOGUE, batch)
    output.surrogate.backward()
    assert all(parameter.grad is None for parameter in stays.parameters())
    assert all(parameter.grad is not None for parameter in (*trained.parameters(), *again.parameters()))
    seeds = (batch.task_seed, batch.task_seed + 2)
    own = [m(CATALOGUE, batch._replace(task_seed=seed)) for m, seed in zip((trained, again), seeds, strict=True)]
    assert_close(output.losses, (own[0].losses + own[1].losses) / 2)
    assert_close(committee.predict(CATALOGUE, batch), sum(m.predict(CATALOGUE, batch) for m in committee.members) / 3)


def test_a_linear_member_that_stays_is_the_ridge_regression_of_what_the_base_leaves_over():
    """The closed form on the vectors that an item's features have, with one penalty for all of them."""
    settings = ("algorithm.name=alpaca", "algorithm.ridge=7.0", "algorithm.implicit=false", "model.name=linear")
    settings = (*settings, "model.members=2", "model.residual=item", "model.member_trained=[true, false]")
    committee = make_learner(*settings, perturbed=False)
    batch = make_batch(6, 3)
    found = committee.members[1].predict(CATALOGUE, batch)
    model = committee.members[1].model
    for task, size in enumerate((6, 3)):
        rated, asked = batch.support.item[task, :size], batch.query.item[task]
        user = model.encode_users(CATALOGUE, batch.query.user[task, :1])
        inputs, queries = (
            torch.cat(
                [user.expand(len(i), -1), model.encode_items(CATALOGUE, i), torch.ones(len(i), 1).double()], dim=-1
            )
            for i in (rated, asked)
        )
        rest = batch.support.target[task, :size] - CATALOGUE.offset - CATALOGUE.item_bias[rated]
        weights = torch.linalg.solve(inputs.mT @ inputs + 7.0 * torch.eye(inputs.shape[1]).double(), inputs.mT @ rest)
        expected = CATALOGUE.offset + CATALOGUE.item_bias[asked] + queries @ weights
        torch.testing.assert_close(found[task], expected, rtol=1e-7, atol=1e-7)  # penalties start in float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["model.member_leave_out=['item.id', 'user.zip']"],
            r"^model\.members is 1; use 1 for each entry of model\.me",
        ),
        (["model.members=2", "model.member_leave_out=['id']"], r"^model\.member_leave_out is 'id'; say whose field"),
        (
            ["model.members=2", "model.member_residual=['all']"],
            r"^model\.member_residual\[0\] is 'all'; use one of bias",
        ),
        (
            ["model.members=3", "model.member_trained=[false]"],
            r"^model\.member_trained is \[False\]; let one member be trained at least",
        ),
        (
            ["model.member_trained=[false, true]"],
            r"^model\.members is 1; use 1 for each entry of model\.member_trained",
        ),
        (["model.members=2", "model.member_names=['mf', 'mff']"], r"^model\.member_names is 'mff'; use one of melu, "),
        (
            ["model.members=2", "model.member_algorithms=['maml', 'mam']"],
            r"^model\.member_algorithms is 'mam'; use one of maml, ",
        ),
    ],
)
def test_entries_that_no_member_has_or_that_name_nothing_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_learner(load_config(None, settings), make_schema())


def test_a_committee_needs_the_ratings_where_one_member_does():
    settings = ("algorithm.name=alpaca", "model.members=2")
    assert why_a_learner_needs_ratings(make_learner(*settings, "model.name=mf")) is None
    reason = why_a_learner_needs_ratings(make_learner(*settings, "model.member_names=['mf', 'transformer']"))
    assert reason == "the recommender looks at the ratings whenever it scores an item"
    reason = why_a_learner_needs_ratings(make_learner(*settings, "model.member_algorithms=['alpaca', 'matching']"))
    assert reason is not None
