"""From a config to objects: the only place that knows the models and the algorithms by name."""

import fnmatch
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from metarec.algorithms.alpaca import Alpaca
from metarec.algorithms.committee import AnyLearner, Committee
from metarec.algorithms.fine_tuned import FineTuned
from metarec.algorithms.imaml import Imaml
from metarec.algorithms.inner_loop import InnerLoop
from metarec.algorithms.joint import Joint
from metarec.algorithms.learned_mask import LearnedMask
from metarec.algorithms.maml import Maml
from metarec.algorithms.matching import Matching
from metarec.algorithms.meta_learner import MetaLearner
from metarec.algorithms.meta_sgd import MetaSgd
from metarec.algorithms.neural_process import NeuralProcess
from metarec.algorithms.objectives import Objective
from metarec.algorithms.per_weight import weight_shapes
from metarec.algorithms.prototypical import Prototypical
from metarec.algorithms.reptile import Reptile
from metarec.algorithms.ridge import Ridge
from metarec.combination import (
    require_numbers,
    require_one_meaning,
    require_place_for_context,
    require_second_derivatives,
    require_the_same_units,
    wide_enough_to_normalise,
)
from metarec.config import MEMBER_SETTINGS, Config, ModelConfig, with_values
from metarec.contracts import Algorithm, Recommender
from metarec.errors import ConfigError
from metarec.models.derivatives import tiny_schema
from metarec.models.features import PairEncoder
from metarec.models.linear import LinearRegression
from metarec.models.matrix_factorisation import MatrixFactorisation
from metarec.models.melu import Melu
from metarec.models.multi_task import Towers
from metarec.models.network import Network
from metarec.models.recommender import FieldRecommender
from metarec.models.transformer import Transformer
from metarec.models.wide_deep import WideDeep
from metarec.models.xdeepfm import XDeepFm
from metarec.schema import FeatureField, Schema, Side

MODELS: dict[str, Callable[[ModelConfig, PairEncoder, int, int], Network]] = {
    "melu": lambda model, encoder, width, num_heads: Melu(
        width, hidden=model.hidden, direct=model.direct, dropout=model.dropout
    ),
    "mlp": lambda model, encoder, width, num_heads: Melu(
        width, hidden=model.hidden, direct=False, dropout=model.dropout
    ),
    "multi_task": lambda model, encoder, width, num_heads: Melu(width, hidden=model.hidden, direct=False),
    "linear": lambda model, encoder, width, num_heads: LinearRegression(width),
    "mf": lambda model, encoder, width, num_heads: MatrixFactorisation(
        len(encoder.users.fields),
        len(encoder.items.fields),
        encoder.width,
        item_bias=model.residual in ("user", "none"),
    ),
    "wide_deep": lambda model, encoder, width, num_heads: WideDeep(
        len(encoder.users.fields), len(encoder.items.fields), encoder.width, width, hidden=model.hidden
    ),
    "xdeepfm": lambda model, encoder, width, num_heads: XDeepFm(
        encoder.num_fields, width, hidden=model.hidden, interactions=model.interactions
    ),
    "transformer": lambda model, encoder, width, num_heads: Transformer(
        width,
        direct=model.direct,
        num_heads=num_heads,
        block_width=wide_enough_to_normalise(model),
        num_blocks=model.num_blocks,
        num_attention_heads=model.num_attention_heads,
        hidden=model.hidden,
    ),
}
"""Settings, encoder, the width of its vectors side by side (the context vector among them) and the number of heads → a
network."""

HEADS: dict[str, Callable[[ModelConfig, tuple[int, ...], int], nn.Module]] = {
    "multi_task": lambda model, widths, num_heads: Towers(
        widths, num_heads, hidden=model.tower, zero=model.residual != "none"
    ),
}
"""For models whose head is not linear: settings, the widths of the embedding's parts, the number of heads → a head."""

ALGORITHMS: dict[str, Callable[[Config, InnerLoop, Objective, FieldRecommender], Algorithm]] = {
    "maml": lambda config, loop, outer, model: Maml(
        loop,
        outer=outer,
        learned=config.inner.learned,
        first_order=config.algorithm.first_order,
        first_order_share=config.algorithm.first_order_share,
        multi_step_share=config.algorithm.multi_step_share,
        recompute=config.algorithm.recompute,
    ),
    "meta_sgd": lambda config, loop, outer, model: MetaSgd(
        loop, weight_shapes(model, loop.adapted), outer=outer, first_order=config.algorithm.first_order
    ),
    "reptile": lambda config, loop, outer, model: Reptile(loop, outer=outer),
    "imaml": lambda config, loop, outer, model: Imaml(
        loop, outer=outer, proximal=config.algorithm.proximal, cg_steps=config.algorithm.cg_steps
    ),
    "learned_mask": lambda config, loop, outer, model: LearnedMask(
        loop,
        weight_shapes(model, loop.adapted),
        outer=outer,
        learned=config.inner.learned,
        first_order=config.algorithm.first_order,
    ),
    "ridge": lambda config, loop, outer, model: Ridge(
        outer=outer, width=model.embedding_width, ridge=config.algorithm.ridge
    ),
    "alpaca": lambda config, loop, outer, model: Alpaca(
        outer=outer,
        width=model.embedding_width,
        penalty=config.algorithm.ridge,
        decision_width=config.algorithm.latent_width,
        implicit=config.algorithm.implicit,
    ),
    "prototypical": lambda config, loop, outer, model: Prototypical(outer=outer),
    "matching": lambda config, loop, outer, model: Matching(
        outer=outer, width=model.embedding_width, full_context=config.algorithm.full_context
    ),
    "neural_process": lambda config, loop, outer, model: NeuralProcess(
        outer=outer, width=model.embedding_width, latent_width=config.algorithm.latent_width
    ),
    "joint": lambda config, loop, outer, model: Joint(outer=outer),
    "fine_tuned": lambda config, loop, outer, model: FineTuned(loop, outer=outer),
}
"""Settings, how inner steps go, the objective of the query, and the recommender → an algorithm."""


def build_learner(config: Config, schema: Schema, *, derivatives: bool = True) -> AnyLearner:
    """The meta-learner that a config describes, or a committee of them, with initial weights drawn from `run.seed`.

    Args:
        config: what to build.
        schema: of the dataset that it learns from.
        derivatives: whether to try second derivatives where they are needed, which takes longer than all the rest.

    Raises:
        ConfigError: a name is not registered, a pattern of `algorithm.adapt` or `outer.frozen` selects no parameter, or
            a combination makes no sense.
    """
    for name in config.model.member_names:
        _require_known("model.member_names", name, MODELS)
    for name in config.model.member_algorithms:
        _require_known("model.member_algorithms", name, ALGORITHMS)
    members = [_build_member(own, schema, derivatives) for own in member_configs(config)]
    for member, trained in zip(members, itertools.cycle(config.model.member_trained or (True,)), strict=False):
        if not trained:
            member.requires_grad_(False)
    return Committee(members) if len(members) > 1 else members[0]


def member_configs(config: Config) -> list[Config]:
    """The config of each member of a committee; the seed of the first is that of the run."""
    run_seed, settings = config.run.seed, config.model
    seeds = [
        int(np.random.SeedSequence((run_seed, place)).generate_state(1)[0]) for place in range(1, settings.members)
    ]
    alone = with_values(config, {"model.members": 1} | {f"model.{name}": () for name in MEMBER_SETTINGS})
    in_turn = {
        "model.name": config.recommenders,
        "algorithm.name": config.algorithms,
        "model.leave_out": [f"{settings.leave_out} {own}".strip() for own in settings.member_leave_out or ("",)],
        "model.residual": settings.member_residual or (settings.residual,),
    }
    return [
        with_values(
            alone, {"run.seed": seed} | {name: entries[place % len(entries)] for name, entries in in_turn.items()}
        )
        for place, seed in enumerate((run_seed, *seeds))
    ]


def _build_member(config: Config, schema: Schema, derivatives: bool) -> MetaLearner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = _build_model(config, schema)
        for name in select_parameters(config.outer.frozen, model, setting="outer.frozen"):
            model.get_parameter(name).requires_grad_(False)
        algorithm = _build_algorithm(config, schema, model)
        require_numbers(config, algorithm)
        require_one_meaning(config, algorithm)
        require_the_same_units(config)
        if derivatives and algorithm.capabilities.second_order:
            num_heads = len(schema.heads)
            tiny = _build_model(_seeing_all_fields(config), tiny_schema(num_heads)).eval()
            require_second_derivatives(config, tiny, num_heads)
    return MetaLearner(model, algorithm, _objective(config.outer.loss, "outer.loss", config, schema))


def check_combination(config: Config, *, derivatives: bool = True) -> None:
    """Refuse what no dataset could make sense of, before there is one: builds for a schema of one field a side.

    Args:
        config: to check.
        derivatives: as `build_learner`.

    Raises:
        ConfigError: as `build_learner`; which embedding tables or fields a pattern selects is not asked, only the data
                know.
    """
    num_heads = max(len(config.outer.loss.split()), len(config.inner.loss.split()), len(config.model.head_weights))
    asked = {
        "algorithm.adapt": _but_tables(config.algorithm.adapt) or "*",
        "outer.frozen": _but_tables(config.outer.frozen),
    }
    build_learner(with_values(_seeing_all_fields(config), asked), tiny_schema(num_heads), derivatives=derivatives)


def _but_tables(patterns: str) -> str:
    """The patterns but those of embedding tables."""
    return " ".join(pattern for pattern in patterns.split() if not pattern.startswith("encoder."))


def _seeing_all_fields(config: Config) -> Config:
    """For the tiny schema, of whose two fields `model.leave_out` could leave none."""
    return with_values(config, {"model.leave_out": "", "model.member_leave_out": ()})


def _build_model(config: Config, schema: Schema) -> FieldRecommender:
    settings, num_heads = config.model, len(schema.heads)
    _require_known("model.name", settings.name, MODELS)
    encoder = PairEncoder(
        select_fields(schema, "user", settings.leave_out),
        select_fields(schema, "item", settings.leave_out),
        settings.embedding_width,
    )
    width = encoder.num_fields * settings.embedding_width + settings.context_width
    network = MODELS[settings.name](settings, encoder, width, num_heads)
    require_place_for_context(config, network)
    head = HEADS[settings.name](settings, network.widths, num_heads) if settings.name in HEADS else None
    return FieldRecommender(
        encoder,
        network,
        head=head,
        num_heads=num_heads,
        context_width=settings.context_width,
        residual=settings.residual,
        user_bias_damping=settings.user_bias_damping,
    )


def _build_algorithm(config: Config, schema: Schema, model: FieldRecommender) -> Algorithm:
    name, inner = config.algorithm.name, config.inner
    _require_known("algorithm.name", name, ALGORITHMS)
    loop = InnerLoop(
        adapted=tuple(select_parameters(config.algorithm.adapt, model)),
        objective=_objective(inner.loss, "inner.loss", config, schema),
        steps=inner.steps,
        lr=inner.lr,
        damping=inner.damping,
        batch_size=inner.batch_size,
    )
    return ALGORITHMS[name](config, loop, _objective(config.outer.loss, "outer.loss", config, schema), model)


def _objective(text: str, name: str, config: Config, schema: Schema) -> Objective:
    losses, weights, heads = text.split(), config.model.head_weights, schema.heads
    described = f"the {len(heads)} heads ({', '.join(head.name for head in heads)})"
    if len(losses) not in (1, len(heads)):
        raise ConfigError(f"{name} is {text!r}; name one loss, or one for each of {described}")
    if len(weights) not in (0, len(heads)):
        raise ConfigError(f"model.head_weights is {list(weights)}; give one for each of {described}")
    return Objective(
        losses * (len(heads) // len(losses)), heads, weights or (1.0,) * len(heads), config.outer.squared_weight
    )


def select_parameters(patterns: str, model: Recommender, *, setting: str = "algorithm.adapt") -> list[str]:
    """The names that one of the space-separated shell patterns matches, in the order of the model.

    Embedding tables are selected only by patterns that start with `encoder.`.

    Args:
        patterns: to be matched.
        model: has the names.
        setting: where the patterns stand.

    Raises:
        ConfigError: a pattern matches nothing.
    """
    own, tables = model.adaptable(), model.tables()
    selected = set()
    for pattern in patterns.split():
        found = fnmatch.filter(tables if pattern.startswith("encoder.") else own, pattern)
        if not found:
            names = ", ".join([*own, *tables])
            raise ConfigError(f"{setting}: {pattern!r} selects no parameter; there are {names}")
        selected |= set(found)
    return [name for name in [*own, *tables] if name in selected]


def select_fields(schema: Schema, side: Side, leave_out: str) -> list[FeatureField]:
    """The fields of one side that none of the space-separated shell patterns over `side.name` leaves out."""
    return [
        field
        for field in schema.fields(side)
        if not any(fnmatch.fnmatchcase(f"{side}.{field.name}", pattern) for pattern in leave_out.split())
    ]


def _require_known(name: str, value: str, known: dict[str, Any]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}; use one of {', '.join(known)}")
