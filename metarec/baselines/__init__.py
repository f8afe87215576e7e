"""The closed-form floors that every result is set beside."""

from collections.abc import Callable

from metarec.baselines.event_factorisation import fit_event_factorisation
from metarec.baselines.factor_analysis import fit_factor_analysis
from metarec.baselines.factorisation import fit_factorisation
from metarec.baselines.global_mean import fit_global_mean
from metarec.baselines.item_neighbours import fit_item_neighbours, fit_item_neighbours_of_events
from metarec.baselines.item_user_bias import fit_item_user_bias
from metarec.baselines.popularity import fit_popularity
from metarec.baselines.user_median import fit_user_median
from metarec.config import Config
from metarec.data.histories import Histories
from metarec.evaluate.predictor import Predict
from metarec.schema import ITEM_TASKS
from metarec.task import Catalogue

FLOORS: dict[str, Callable[[Histories, Catalogue], Predict]] = {
    "global mean": fit_global_mean,
    "user median": fit_user_median,
    "item + user bias": fit_item_user_bias,
    "item-kNN": fit_item_neighbours,
    "factorisation + fold-in": fit_factorisation,
    "factor analysis + fold-in": fit_factor_analysis,
}
"""Name → what fits it on the training histories and returns the predictor; what it fits is all in float64."""
EVENT_FLOORS: dict[str, Callable[[Histories, Catalogue], Predict]] = {
    "global mean": fit_global_mean,
    "popularity": fit_popularity,
    "item-kNN": fit_item_neighbours_of_events,
    "factorisation + fold-in": fit_event_factorisation,
}
"""The floors where the first head is plain events, of which those above know nothing but that all are 1."""
_OF_ITEM_TASKS = {"popularity": "activity", "user median": "item median", "item-kNN": "user-kNN"}
"""What floors are called where a task is an item and its rows are users; the others have names that fit both."""
FLOOR_NAMES = frozenset((*FLOORS, *EVENT_FLOORS, *_OF_ITEM_TASKS.values()))
"""By which reports know them among other predictors."""


def floors_for(config: Config) -> dict[str, Callable[[Histories, Catalogue], Predict]]:
    """The floors of a config's results, by the names that fit its tasks."""
    floors = EVENT_FLOORS if config.has_events else FLOORS
    names = _OF_ITEM_TASKS if config.protocol.name == ITEM_TASKS else {}
    return {names.get(name, name): fit for name, fit in floors.items()}
