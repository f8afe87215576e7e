"""What content lets expect of items, on films whose genre decides how they are liked and by whom."""

import numpy as np

from metarec.data.biases import fit_biases
from metarec.data.content_values import Values
from metarec.data.content_vectors import RANK, content_vectors, vectors_of_ratings, vectors_of_unrated
from metarec.data.histories import Histories
from metarec.data.training_side import TrainingSide

NUM_USERS, NUM_RATED, NUM_ITEMS = 60, 40, 44
GENRE = np.arange(NUM_ITEMS) % 4
LIKED = np.array([1.0, -1.0, 0.0, 0.0])
"""By everybody, which is no matter of taste; of genres 2 and 3 one half of the users likes the one and the other half
the other."""


FIELDS = [Values(np.arange(NUM_ITEMS), GENRE, 4)]
KNOWN = np.arange(NUM_ITEMS) < NUM_RATED


def rated_vectors():
    """All users rate the 40 first items; the last four are new, one of each genre."""
    user, item = np.meshgrid(np.arange(NUM_USERS), np.arange(NUM_RATED), indexing="ij")
    taste = np.where(GENRE[item] == 2, 1.0, np.where(GENRE[item] == 3, -1.0, 0.0)) * np.where(user % 2 == 0, 1, -1)
    noise = np.random.default_rng(0).normal(0, 0.3, user.shape)
    ratings = Histories(
        user=np.arange(NUM_USERS),
        offsets=np.arange(NUM_USERS + 1) * NUM_RATED,
        item=item.ravel(),
        target=(3 + LIKED[GENRE[item]] + taste + noise).astype(np.float32).reshape(-1, 1),
        observed=np.ones((item.size, 1), bool),
    )
    num_ratings = np.bincount(ratings.item, minlength=NUM_ITEMS)
    train = TrainingSide(np.ones(NUM_USERS, bool), num_ratings, fit_biases(ratings, num_items=NUM_ITEMS))
    return vectors_of_ratings(ratings, train)


def vectors():
    return content_vectors(FIELDS, KNOWN, rated_vectors())[0]


def test_new_items_get_the_direction_of_their_genre():
    found = vectors()
    assert found.shape == (NUM_ITEMS, RANK)
    assert found.dtype == np.float32
    directions = found[NUM_RATED:] - found[NUM_RATED:].mean(axis=0)
    assert directions[2] @ directions[3] < -0.9 * np.linalg.norm(directions[2]) * np.linalg.norm(directions[3])
    assert np.linalg.norm(directions[:2], axis=1).max() < 0.2 * np.linalg.norm(directions[2])


def test_rated_items_lie_near_the_new_one_of_their_taste_and_vectors_are_of_size_one():
    found, genre = vectors(), GENRE[:NUM_RATED]
    nearest = np.linalg.norm(found[:NUM_RATED, None] - found[NUM_RATED:], axis=-1).argmin(axis=1)
    assert nearest[genre >= 2].tolist() == genre[genre >= 2].tolist()
    assert max(nearest[genre < 2]) < 2
    assert abs(np.square(found[:NUM_RATED]).mean() - 1) < 1e-5


def test_new_items_alone_get_what_they_get_beside_all_others():
    rated = rated_vectors()
    found, size = content_vectors(FIELDS, KNOWN, rated)
    np.testing.assert_allclose(vectors_of_unrated(FIELDS, KNOWN, rated / size), found[NUM_RATED:], rtol=0, atol=1e-6)


def test_what_the_analysis_says_of_items_that_nobody_rated_does_not_count():
    """It is their prior, which a catalogue that grew has not."""
    rated = rated_vectors()
    other = np.where(KNOWN[:, None], rated, 7.0)
    assert content_vectors(FIELDS, KNOWN, other)[0].tolist() == content_vectors(FIELDS, KNOWN, rated)[0].tolist()
