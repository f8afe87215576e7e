import numpy as np
import pytest

from metarec.config import Config, SyntheticConfig, with_values
from metarec.data import synthetic
from metarec.data.synthetic import Synthetic, best_mae, generate, plant


def ratings_of(settings, seed=0):
    return generate(plant(settings, seed), settings, seed, 0, settings.num_users)


def test_nobody_rates_an_item_twice_and_ratings_lie_on_the_scale():
    ratings = ratings_of(SyntheticConfig())
    assert len(np.unique(ratings.user * 1000 + ratings.item)) == len(ratings.user)
    assert ratings.rating.min() >= 1
    assert ratings.rating.max() <= 5


def test_lengths_vary_around_the_mean_and_nobody_is_short_of_ratings():
    lengths = np.bincount(ratings_of(SyntheticConfig()).user)
    assert abs(lengths.mean() - 40) < 4
    assert lengths.min() >= 20
    assert lengths.std() > 5


def test_the_best_error_is_that_of_the_noise():
    """Of a normal deviation s the mean absolute value is s √(2/π); clipping only lowers it."""
    config = with_values(Config(), {"synthetic.noise": 0.1})
    assert best_mae(config) == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.08)
    assert best_mae(with_values(config, {"synthetic.noise": 0.0})) == 0.0


def test_biases_alone_are_far_from_the_best_error():
    """So there is something to gain from adapting to a taste: users and items are known exactly here."""
    settings = SyntheticConfig()
    world, ratings = plant(settings, 0), ratings_of(settings)
    bias = synthetic.MEAN + world.user_bias[ratings.user] + world.item_bias[ratings.item]
    error = np.abs(ratings.rating - np.clip(bias, 1, 5)).mean()
    assert error > 1.5 * np.abs(ratings.rating - ratings.best).mean()


def test_features_explain_part_of_the_tastes_and_not_all():
    world = plant(SyntheticConfig(num_users=4000), 0)
    one_hot = np.hstack([np.eye(4)[world.age], np.eye(8)[world.occupation]])
    fitted = one_hot @ np.linalg.lstsq(one_hot, world.user_taste, rcond=None)[0]
    explained = fitted.var(axis=0).sum() / world.user_taste.var(axis=0).sum()
    assert 0.2 < explained < 0.8


def test_popular_items_are_rated_more_often():
    settings = SyntheticConfig()
    counts = np.bincount(ratings_of(settings).item, minlength=300)
    order = np.argsort(-plant(settings, 0).popularity)
    assert counts[order[:30]].mean() > 2 * counts[order[-150:]].mean()


def test_the_same_seed_gives_the_same_ratings_and_another_gives_others():
    source = Synthetic(SyntheticConfig(num_users=20), 3)
    (part,) = source.parts()
    assert source.read(part).equals(Synthetic(SyntheticConfig(num_users=20), 3).read(part))
    assert not source.read(part).equals(Synthetic(SyntheticConfig(num_users=20), 4).read(part))
    assert source.content_hash() != Synthetic(SyntheticConfig(num_users=20), 4).content_hash()


def test_parts_hold_every_user_once(monkeypatch):
    monkeypatch.setattr(synthetic, "_USERS_PER_PART", 8)
    source = Synthetic(SyntheticConfig(num_users=20), 0)
    users = [set(source.read(part)["user"].to_pylist()) for part in source.parts()]
    assert [len(part) for part in users] == [8, 8, 4]
    assert len(set.union(*users)) == 20


def test_items_have_titles_genres_and_a_decade_and_users_an_age_and_an_occupation():
    source = Synthetic(SyntheticConfig(), 0)
    items, users = source.side("item"), source.side("user")
    assert items.id[16].as_py() == "item-17"
    assert items.title[16].as_py().startswith("Item 17 (")
    assert {kind: items.kinds[kind] for kind in items.kinds} == {"genres": "multi_valued", "decade": "categorical"}
    assert 1 <= len(items.features["genres"][16].as_py()) <= 3
    assert set(users.features["age"].to_pylist()) == set(synthetic.AGES)
