"""The popularity floor."""

import numpy as np
import torch

from metarec.baselines.popularity import fit_popularity
from metarec.data.histories import Histories
from metarec.data.tasks import draw_tasks
from metarec.task import Catalogue

CATALOGUE = Catalogue({}, {}, torch.zeros(2), torch.zeros(4, 2))


def test_it_predicts_the_share_of_training_users_who_have_the_item():
    """Three users met item 0, two item 1 and one item 2; of the second head one event of item 0 is known, a 0."""
    histories = Histories(
        user=np.arange(3),
        offsets=np.array([0, 3, 5, 6]),
        item=np.array([0, 1, 2, 0, 1, 0]),
        target=np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [1, 1]], np.float32),
        observed=np.array([[1, 1], [1, 1], [1, 0], [1, 1], [1, 0], [1, 0]], bool),
    )
    batch = draw_tasks(
        Histories(np.array([5]), np.array([0, 4]), np.arange(4), np.ones((4, 2), np.float32), np.ones((4, 2), bool)),
        seed=0,
        draw=0,
        num_query=4,
    )
    shares = torch.tensor([[1, 1 / 3], [2 / 3, 1 / 3], [1 / 3, 0], [0, 0]], dtype=torch.float64)
    predicted = fit_popularity(histories, CATALOGUE)(CATALOGUE, batch)[0]
    torch.testing.assert_close(predicted, shares[batch.query.item[0]], rtol=0, atol=1e-12)
