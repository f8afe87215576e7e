"""The model registry: log and register a learner, move its aliases, and pull it back without running its code.

A registered model is an MLflow pyfunc model, which `mlflow models serve` can run, around a bundle of safetensors and
JSON, which is all that `pull` reads. Two aliases move: `candidate` to the newest version, `champion` to the version
that passed the gate.
"""

from metarec.registry.promotion import of_other_dataset, promote
from metarec.registry.pulling import pull
from metarec.registry.registration import log_and_register
from metarec.registry.versions import CANDIDATE, CHAMPION, Version, candidate, champion

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "Version",
    "candidate",
    "champion",
    "log_and_register",
    "of_other_dataset",
    "promote",
    "pull",
]
