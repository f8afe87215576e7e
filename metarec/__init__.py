"""Meta-learned recommenders that need only a handful of ratings from a new user.

::

    learner = metarec.pull("models:/metarec-ml-100k@champion")
    learner.adapt({"50": 5, "181": 4}).recommend(k=10)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metarec.serving.learner import Learner

__all__ = ["pull"]


def pull(uri: str, *, tracking_uri: str | None = None) -> "Learner":
    """A trained learner from the registry, ready to adapt to a user; see `metarec.registry.pull`."""
    from metarec import registry

    return registry.pull(uri, tracking_uri=tracking_uri)
