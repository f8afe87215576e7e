"""From a config to objects: the only place that knows the models and the algorithms by name."""

import fnmatch

import torch

from metarec.algorithms.maml import Maml
from metarec.algorithms.meta_learner import MetaLearner
from metarec.config import Config
from metarec.contracts import Algorithm, Recommender
from metarec.errors import ConfigError
from metarec.models.melu import Melu
from metarec.schema import Schema


def build_learner(config: Config, schema: Schema) -> MetaLearner:
    """The meta-learner that a config describes, with initial weights drawn from `run.seed`.

    Raises:
        ConfigError: a name is not registered or `algorithm.adapt` selects no parameter.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = _build_model(config, schema)
        return MetaLearner(model, _build_algorithm(config, model))


def _build_model(config: Config, schema: Schema) -> Recommender:
    settings = config.model
    if settings.name not in MODELS:
        raise ConfigError(f"model.name is {settings.name!r}; use one of {', '.join(MODELS)}")
    return MODELS[settings.name](
        schema,
        embedding_width=settings.embedding_width,
        hidden=settings.hidden,
        direct=settings.direct,
        residual=settings.residual == "bias",
        user_bias_damping=settings.user_bias_damping,
    )


def _build_algorithm(config: Config, model: Recommender) -> Algorithm:
    name = config.algorithm.name
    if name not in ALGORITHMS:
        raise ConfigError(f"algorithm.name is {name!r}; use one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name](
        select_parameters(config.algorithm.adapt, model.adaptable()),
        steps=config.inner.steps,
        lr=config.inner.lr,
        learned=config.inner.learned,
        first_order=config.algorithm.first_order,
        damping=config.inner.damping,
        query_loss=config.outer.loss,
    )


def select_parameters(patterns: str, names: list[str]) -> list[str]:
    """The names that one of the space-separated shell patterns matches, in the order of `names`.

    Raises:
        ConfigError: a pattern matches nothing.
    """
    for pattern in patterns.split():
        if not fnmatch.filter(names, pattern):
            raise ConfigError(f"algorithm.adapt: {pattern!r} selects no parameter; a task can adapt {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split())]


MODELS = {"melu": Melu}
ALGORITHMS = {"maml": Maml}
