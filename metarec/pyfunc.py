"""The model from code that `mlflow models serve` and `mlflow.pyfunc.load_model` run.

MLflow copies this file into the model and executes it there, which sets the model: the one module of the library whose
import has an effect. The weights and items come from the bundle beside it.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from metarec import storage
from metarec.errors import RequestError
from metarec.serving.learner import BUNDLE, Learner
from metarec.serving.many_users import recommend_to_all


class MetarecModel(PythonModel):
    """Recommendations for users, each given by a few ratings."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the learner from the bundle, every byte checked."""
        _, files = storage.read_bundle(context.artifacts[BUNDLE], "model")
        self.learner = Learner.from_files(files)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row a user: `items`, `titles` and `scores`, best first, and `unknown`: rated items that it does not know.

        Args:
            context: unused; the learner is loaded.
            model_input: a row a user; `support_items` (ids) and `support_ratings` (numbers, whole ones among them) are
                lists of one length.
            params: `k`, how many items to recommend, 10 if left out; fewer where a user has rated nearly all.

        Raises:
            RequestError: a rating is none of the scale, an item is rated twice, a user has more items than ratings or
                fewer, or k is above the number of items.
        """
        del context
        k = int((params or {}).get("k", 10))
        supports = zip(model_input["support_items"], model_input["support_ratings"], strict=True)
        users = [_pairs(number, items, ratings) for number, (items, ratings) in enumerate(supports)]
        served = recommend_to_all(self.learner, users, k=k)
        return pd.DataFrame(
            {
                "items": [[each.item for each in user.best] for user in served],
                "titles": [[each.title for each in user.best] for user in served],
                "scores": [[each.score for each in user.best] for user in served],
                "unknown": [list(user.unknown) for user in served],
            }
        )


def _pairs(number: int, items: Sequence[str], ratings: Sequence[Any]) -> list[tuple[str, Any]]:
    if len(items) != len(ratings):
        raise RequestError(
            f"user {number} of the request has {len(items)} support_items and {len(ratings)} support_ratings; give one "
            "rating for each item"
        )
    return list(zip(map(str, items), ratings, strict=True))


set_model(MetarecModel())
