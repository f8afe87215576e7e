"""Population-based training (Jaderberg 2017): who falls behind goes on from the weights of who leads.

Here is what decides: which searches can be one, and who changes how. `exchange` has what trials do.
"""

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.sample import Categorical

from metarec.config import Config, with_values
from metarec.errors import ConfigError
from metarec.search.reports import EPOCH
from metarec.search.space import Space
from metarec.search.trials import METRIC

LIVE = ("outer.lr", "outer.clip", "inner.damping")
LEARNS_RATES = ("maml", "learned_mask", "meta_sgd")


def check_population(config: Config, space: Space, num_trials: int) -> None:
    """Refuse a population that would exchange nothing.

    Args:
        config: of the search.
        space: of its settings.
        num_trials: how many there are.

    Raises:
        ConfigError: there is one trial, trials are distributed or too short, or a setting of the space acts on new
            weights alone.
    """
    config = with_values(config, space.constants)
    if num_trials < 2:
        raise ConfigError("search.algorithm is 'population', and one trial has none to compare with; use --trials 2")
    if config.train.num_workers > 0:
        raise ConfigError(
            f"search.algorithm is 'population' and train.num_workers is {config.train.num_workers}: under Ray Train a "
            "trial hands no checkpoint to Tune, so that the population would silently exchange nothing; set "
            "train.num_workers=0, or use random or optuna"
        )
    train, last = config.train, config.outer.epochs
    both = math.lcm(train.validate_every, train.checkpoint_every)
    first = both * math.ceil(config.search.grace_epochs / both)
    if first >= last:
        raise ConfigError(
            f"search.algorithm is 'population', and a trial of {last} epochs would be compared after epoch {first} for "
            "the first time, so that the population would silently exchange nothing; raise outer.epochs, or lower "
            "search.grace_epochs, train.validate_every or train.checkpoint_every"
        )
    live = live_settings(config)
    for name in space.domains:
        if name not in live:
            raise ConfigError(
                f"search.algorithm is 'population' and {space.place} draws {name}, which acts on new weights alone, so "
                f"that a change of it would silently do nothing; draw from {', '.join(live)}, or use random or optuna"
            )


def live_settings(config: Config) -> tuple[str, ...]:
    """The settings that training reads anew at each start, whatever weights it goes on with."""
    learned = all(name == "meta_sgd" or (name in LEARNS_RATES and config.inner.learned) for name in config.algorithms)
    return LIVE if learned else ("inner.lr", *LIVE)


class PopulationScheduler(PopulationBasedTraining):
    """The worse quarter takes over from the better one every `search.grace_epochs`, with settings changed at random.

    Who is compared when depends on the clock, so that a population does not repeat itself.

    Args:
        config: of the search.
        space: of its settings.
    """

    def __init__(self, config: Config, space: Space) -> None:
        # An actor that is used again would still hold the run and train on in its old thread.
        warnings.filterwarnings("ignore", message="Consider boosting PBT performance")
        super().__init__(
            time_attr=EPOCH,
            metric=METRIC,
            mode=space.mode,
            perturbation_interval=config.search.grace_epochs,
            hyperparam_mutations={"values": {name: _changes_of(domain) for name, domain in space.domains.items()}},
            custom_explore_fn=within(space),
            log_config=False,
            require_attrs=False,  # a trial may end without anything to tell
        )

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Take note of a trial; Tune refuses searchers here, as they learn from results, which ours does not."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Compare; Tune would pause others while one waits to start again, but all of them have room."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if decision == self.PAUSE else decision


def _changes_of(domain: Any) -> Any:
    """A choice changes to the next one of its list, a number by a fifth."""
    return list(domain.categories) if isinstance(domain, Categorical) else domain


def within(space: Space) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Keeps changed settings between the ends of what they are drawn from."""
    ends = {name: space.ends(name) for name, domain in space.domains.items() if not isinstance(domain, Categorical)}
    return functools.partial(_kept_within, {name: both for name, both in ends.items() if both})


def _kept_within(ends: Mapping[str, Sequence[Any]], suggestion: dict[str, Any]) -> dict[str, Any]:
    values = dict(suggestion["values"])
    for name, (least, greatest) in ends.items():
        values[name] = min(max(values[name], least), greatest)
    return {"values": values}
