"""A learner as an MLflow model: the bundle, the code that serves it, and what a server needs to know of both."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array

from metarec import storage
from metarec.config import to_toml
from metarec.serving.learner import BUNDLE, Learner

MODEL = "model"
"""The name of a run's logged model."""
RECORD = "record"
"""The folder of an MLflow model's artifacts that says how it came about: `config.toml` and `report.json`."""

_REQUIREMENTS = ("torch", "pyarrow", "safetensors", "jaxtyping", "tomli-w", "numpy", "pandas", "mlflow")


def save_model(learner: Learner, folder: Path, model: Model, report: bytes) -> None:
    """The learner as an MLflow model in `folder/model`: bundle, code, signature, requirements and an example."""
    import mlflow.pyfunc  # half a second that pulling does not need

    storage.write_bundle(f"{folder}/{BUNDLE}", "model", learner.to_files())
    (folder / RECORD).mkdir()
    (folder / RECORD / "config.toml").write_text(to_toml(learner.config), encoding="utf-8")
    (folder / RECORD / "report.json").write_bytes(report)
    package = Path(__file__).parents[1]
    mlflow.pyfunc.save_model(
        path=f"{folder}/{MODEL}",
        mlflow_model=model,
        python_model=str(package / "pyfunc.py"),
        artifacts={BUNDLE: f"{folder}/{BUNDLE}", RECORD: f"{folder}/{RECORD}"},
        code_paths=[str(package)],
        signature=_signature(),
        input_example=_example(learner),
        pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _REQUIREMENTS],
    )


def _signature() -> ModelSignature:
    texts, numbers = Array(DataType.string), Array(DataType.double)
    ratings = Array(AnyType())  # JSON writes 5.0 as 5, and of an array of doubles MLflow refuses whole numbers
    return ModelSignature(
        inputs=Schema([ColSpec(texts, "support_items"), ColSpec(ratings, "support_ratings")]),
        outputs=Schema(
            [ColSpec(texts, "items"), ColSpec(texts, "titles"), ColSpec(numbers, "scores"), ColSpec(texts, "unknown")]
        ),
        params=ParamSchema([ParamSpec("k", DataType.long, 10)]),
    )


def _example(learner: Learner) -> pd.DataFrame:
    """A request of a made-up user: the first items with ratings spread evenly over the scale."""
    head = learner.schema.heads[0]
    items = list(learner.item_ids[:3])
    ratings = [float(rating) for rating in np.linspace(head.low, head.high, len(items))]
    return pd.DataFrame({"support_items": [items], "support_ratings": [ratings]})
