"""The model from code that `mlflow models serve` and `mlflow.pyfunc.load_model` run.

MLflow copies this file into the model and executes it there, which sets the model: the one module of the library whose
import has an effect. The weights and items come from the bundle beside it.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from metarec import storage
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
            model_input: a row a user; `support_items` (ids) and `support_ratings` are lists of one length.
            params: `k`, how many items to recommend, 10 if left out.

        Raises:
            RequestError: a rating is outside the scale, an item is rated twice, or k is too large.
        """
        del context
        k = int((params or {}).get("k", 10))
        supports = zip(model_input["support_items"], model_input["support_ratings"], strict=True)
        users = [[(str(i), float(r)) for i, r in zip(items, ratings, strict=True)] for items, ratings in supports]
        served = recommend_to_all(self.learner, users, k=k)
        return pd.DataFrame(
            {
                "items": [[each.item for each in user.best] for user in served],
                "titles": [[each.title for each in user.best] for user in served],
                "scores": [[each.score for each in user.best] for user in served],
                "unknown": [list(user.unknown) for user in served],
            }
        )


set_model(MetarecModel())
