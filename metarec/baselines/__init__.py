"""The closed-form floors that every result is set beside."""

from collections.abc import Callable

from metarec.baselines.factorisation import fit_factorisation
from metarec.baselines.global_mean import fit_global_mean
from metarec.baselines.item_user_bias import fit_item_user_bias
from metarec.baselines.popularity import fit_popularity
from metarec.baselines.user_median import fit_user_median
from metarec.config import Config
from metarec.data.histories import Histories
from metarec.evaluate.protocol import Predict
from metarec.schema import ITEM_TASKS
from metarec.task import Catalogue

FLOORS: dict[str, Callable[[Histories, Catalogue], Predict]] = {
    "global mean": fit_global_mean,
    "user median": fit_user_median,
    "item + user bias": fit_item_user_bias,
    "factorisation + fold-in": fit_factorisation,
}
"""Name → what fits it on the training histories and returns the predictor; what it fits is all in float64."""
EVENT_FLOORS = {"popularity": fit_popularity, **FLOORS}
"""The floors where the first head is plain events."""
_OF_ITEM_TASKS = {"popularity": "activity", "user median": "item median"}
"""What floors are called where a task is an item and its rows are users; the others have names that fit both."""
ALL_FLOORS = (*EVENT_FLOORS, *_OF_ITEM_TASKS.values())
"""The names of all floors."""


def floors_for(config: Config) -> dict[str, Callable[[Histories, Catalogue], Predict]]:
    """The floors of a config's results, by the names that fit its tasks."""
    floors = EVENT_FLOORS if config.has_events else FLOORS
    names = _OF_ITEM_TASKS if config.protocol.name == ITEM_TASKS else {}
    return {names.get(name, name): fit for name, fit in floors.items()}
