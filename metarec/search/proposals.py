"""Where the settings of the next trial come from, and who listens to how trials ended."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ray import tune
from ray.tune.search.sample import Categorical, Domain

from metarec.config import Config
from metarec.errors import ConfigError
from metarec.search.space import Space, text_of_domain
from metarec.search.trials import Trial

STARTUP_TRIALS = 10
"""Of Optuna: so many it draws at random, before it learns from any."""


@runtime_checkable
class Proposals(Protocol):
    """Settings for one trial after the other."""

    def propose(self, number: int) -> dict[str, Any]:
        """The settings of a trial that was not suggested before."""
        ...

    def learn(self, number: int, metric: float | None) -> None:
        """Take note of how a trial ended; None where it has no figure to compare."""
        ...


def proposals_of(config: Config, space: Space, ended: Sequence[Trial]) -> Proposals:
    """What `search.algorithm` names.

    Args:
        config: of the search.
        space: to draw from.
        ended: trials of an earlier start, to learn from.

    Raises:
        ConfigError: Optuna is asked for, and is not installed or cannot draw from what the space says.
    """
    if config.search.algorithm != "optuna":
        return RandomProposals(space, config.run.seed)
    return OptunaProposals(space, config.run.seed, ended)


def known_draws(config: Config, space: Space, num_trials: int) -> Iterator[dict[str, Any]]:
    """The settings of trials that are known before any has ended: of Optuna the first, else all.

    Raises:
        ConfigError: as `proposals_of`.
    """
    proposals = proposals_of(config, space, [])
    known = min(num_trials, STARTUP_TRIALS) if config.search.algorithm == "optuna" else num_trials
    yield from (proposals.propose(number) for number in range(known))


class RandomProposals:
    """Independent draws, each a function of seed and number: the order in which trials run changes nothing.

    Args:
        space: to draw from.
        seed: of the search.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def propose(self, number: int) -> dict[str, Any]:
        """The draw of that number."""
        return self._space.sample(self._seed, number)

    def learn(self, number: int, metric: float | None) -> None:
        """Draws are independent of what came before."""


class OptunaProposals:
    """Optuna's tree-structured Parzen estimator (Bergstra 2011): draws more often near what was good.

    Choices go to Optuna by their index, for it keeps numbers and texts alone.

    Args:
        space: to draw from.
        seed: of the search.
        ended: trials of an earlier start.

    Raises:
        ConfigError: Optuna is not installed, or cannot draw from a domain.
    """

    def __init__(self, space: Space, seed: int, ended: Sequence[Trial]) -> None:
        optuna = _import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        from ray.tune.search.optuna import OptunaSearch

        self._space = space
        distributions: dict[str, Any] = {}
        for name, domain in space.domains.items():
            try:
                distributions |= OptunaSearch.convert_search_space({name: _by_index(domain)})
            except ValueError as error:
                raise ConfigError(
                    f"{space.place}: {name} is drawn from {text_of_domain(domain)}, from which Optuna cannot draw "
                    f"({error}); use another domain, such as tune.uniform, or search.algorithm=random"
                ) from error
        self._search = OptunaSearch(
            distributions,
            metric=space.metric,
            mode=space.mode,
            sampler=optuna.samplers.TPESampler(seed=seed + len(ended), n_startup_trials=STARTUP_TRIALS),
        )
        for trial in ended:
            if trial.result is not None and trial.result.metric is not None and trial.result.ending != "failed":
                self._search.add_evaluated_point(self._encode(trial.values), trial.result.metric)

    def propose(self, number: int) -> dict[str, Any]:
        """What the estimator asks for next."""
        asked = self._search.suggest(str(number)) or {}
        drawn = {}
        for name, domain in self._space.domains.items():
            drawn[name] = domain.categories[asked[name]] if isinstance(domain, Categorical) else asked[name]
        return self._space.constants | drawn

    def learn(self, number: int, metric: float | None) -> None:
        """Tell the estimator, which passes over trials of an earlier start that it did not ask for."""
        with contextlib.suppress(KeyError):
            result = None if metric is None else {self._space.metric: metric}
            self._search.on_trial_complete(str(number), result, error=metric is None)

    def _encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: domain.categories.index(values[name]) if isinstance(domain, Categorical) else values[name]
            for name, domain in self._space.domains.items()
        }


def _by_index(domain: Domain) -> Domain:
    return tune.choice(range(len(domain.categories))) if isinstance(domain, Categorical) else domain


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "search.algorithm is 'optuna', which is not installed: pip install 'optuna>=4', or use random"
        ) from error
    return optuna
