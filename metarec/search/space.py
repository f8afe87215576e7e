"""A search space: for some settings what to draw them from, and everything that can be wrong with it."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer

from metarec.build import check_combination
from metarec.config import Config, flatten, refuse_unknown, with_values
from metarec.errors import ConfigError
from metarec.evaluate.metric import metric_named

METRICS = ("mae", "rmse", "ndcg@5")
"""What a job measures on validation users: the choices of `evaluate.primary`."""
SEARCHABLE = ("model", "algorithm", "inner", "outer")
"""Tables whose settings may differ between trials. Another dataset, task, seed or metric would make a trial's figure
the answer to another question, and machines and places change no figure."""
ALSO_SEARCHABLE = ("task.max_query", "task.max_support", "task.subsample_support", "train.meta_batch")


@dataclass(frozen=True)
class Space:
    """What a module of `tune_spaces` says.

    Attributes:
        name: of the module.
        settings: dotted name of a setting → the domain that it is drawn from, or the value that it has in all trials.
        metric: what decides, on validation users; `evaluate.primary` must name it too.
        mode: `min` or `max`.
        num_trials: how many, unless somebody asks for another number.
    """

    name: str
    settings: Mapping[str, Any]
    metric: str
    mode: str
    num_trials: int

    @property
    def place(self) -> str:
        """The file, as messages name it."""
        return f"tune_spaces/{self.name}.py"

    @property
    def domains(self) -> dict[str, Domain]:
        """The settings that are drawn."""
        return {name: domain for name, domain in self.settings.items() if isinstance(domain, Domain)}

    @property
    def constants(self) -> dict[str, Any]:
        """The settings that are the same in all trials."""
        return {name: value for name, value in self.settings.items() if not isinstance(value, Domain)}

    def sample(self, seed: int, number: int) -> dict[str, Any]:
        """The settings of a trial, a function of seed and number alone.

        Raises:
            ConfigError: there is nothing between the ends of a domain.
        """
        rng, drawn = np.random.default_rng([seed, number]), {}
        for name, domain in self.domains.items():
            try:
                drawn[name] = domain.sample(random_state=rng)
            except (ValueError, ArithmeticError) as error:
                raise ConfigError(
                    f"{self.place}: {name} cannot be drawn from {text_of_domain(domain)}: {error}"
                ) from error
        return self.constants | drawn

    def ends(self, name: str) -> list[Any]:
        """The least and the greatest value that a setting is drawn from, or all choices; none where there are none."""
        domain = self.domains.get(name)
        if isinstance(domain, Categorical):
            return list(domain.categories)
        if isinstance(domain, Integer):
            return [domain.lower, domain.upper - 1]
        if isinstance(domain, Float) and np.isfinite([domain.lower, domain.upper]).all():
            return [domain.lower, domain.upper]
        return []

    def describe(self) -> dict[str, str]:
        """What the space is, as texts that tell it from another one."""
        drawn = {name: text_of_domain(domain) for name, domain in self.domains.items()}
        fixed = {name: repr(value) for name, value in self.constants.items()}
        return {**fixed, **drawn, "METRIC": self.metric, "MODE": self.mode}


def check_space(space: Space, config: Config, draws: Iterable[Mapping[str, Any]] = ()) -> None:
    """Refuse at once a space that cannot be searched with a config: known draws and the ends of each domain are tried.

    Args:
        space: to check.
        config: what its settings replace.
        draws: those that are known beforehand; taken when all else is right.

    Raises:
        ConfigError: a name is no setting or none that a search may change, the metric or its direction is not what
            the job measures, or a draw makes no valid config.
    """
    _check_metric(space, config)
    known = [name for name in flatten(Config()) if name.split(".")[0] in SEARCHABLE or name in ALSO_SEARCHABLE]
    for name, value in space.settings.items():
        if name not in flatten(Config()):
            refuse_unknown(name, known, f"{space.place}: ")
        if name not in known:
            raise ConfigError(
                f"{space.place}: {name} cannot be searched, for trials would not be comparable; a search may change "
                f"the tables {', '.join(SEARCHABLE)} and {', '.join(ALSO_SEARCHABLE)}"
            )
        if isinstance(value, Function) or (isinstance(value, Mapping) and "grid_search" in value):
            raise ConfigError(f"{space.place}: {name} is neither a value nor drawn from a domain; use tune.choice([…])")
        if isinstance(value, Categorical) and not value.categories:
            raise ConfigError(f"{space.place}: {name} is a choice of nothing; give tune.choice one value or more")
    if not space.domains:
        raise ConfigError(f"{space.place}: SPACE draws no setting; give one a domain such as tune.loguniform(0.01, 1)")
    first, check = space.sample(config.run.seed, 0), DrawCheck(space, config)
    ends = (first | {name: end} for name in space.domains for end in space.ends(name))
    for values in itertools.chain([first], draws, ends):
        try:
            check(values)
        except ConfigError as error:
            draw = ", ".join(f"{name} = {value}" for name, value in values.items())
            raise ConfigError(f"{space.place}: the draw {draw} makes no valid config: {error}") from error


class DrawCheck:
    """Refuses draws that make no valid config; hundreds take a second or two.

    Most draws differ in numbers alone. To a combination of model and algorithm a real number matters only by being 0 or
    not, and to which operations a model has, whose second derivatives take longest to try, so does any number.

    Args:
        space: that is drawn from.
        config: what the draws replace.
    """

    def __init__(self, space: Space, config: Config) -> None:
        self._reals = {name for name, domain in space.domains.items() if isinstance(domain, Float)}
        self._config = config
        self._built: set[str] = set()
        self._forms: set[str] = set()

    def __call__(self, values: Mapping[str, Any]) -> Config:
        """The config of a draw.

        Raises:
            ConfigError: it is none, or makes no sense.
        """
        changed = with_values(self._config, values)
        built = repr({name: bool(value) if name in self._reals else value for name, value in values.items()})
        form = repr({name: value if isinstance(value, str) else bool(value) for name, value in values.items()})
        if built not in self._built:
            check_combination(changed, derivatives=form not in self._forms)
            self._built.add(built)
            self._forms.add(form)
        return changed


def _check_metric(space: Space, config: Config) -> None:
    if space.metric not in METRICS:
        raise ConfigError(
            f"{space.place}: METRIC is {space.metric!r}, which no job reports; use one of {', '.join(METRICS)}"
        )
    mode = "min" if metric_named(space.metric).lower_is_better else "max"
    if space.mode != mode:
        raise ConfigError(f"{space.place}: MODE is {space.mode!r}; use {mode!r}, for better in {space.metric}")
    if space.metric != config.evaluate.primary:
        raise ConfigError(
            f"{space.place}: METRIC is {space.metric!r}, but the job measures evaluate.primary = "
            f"{config.evaluate.primary!r} on validation users; change one of them"
        )


def text_of_domain(domain: Domain) -> str:
    """Such as `Float.LogUniform(0.01, 1.0)`."""
    ends = getattr(domain, "categories", None) or (getattr(domain, "lower", ""), getattr(domain, "upper", ""))
    how = str(domain.get_sampler())
    return f"{type(domain).__name__}.{how}({', '.join(map(repr, ends))})"
