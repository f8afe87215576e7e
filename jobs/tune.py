"""Search for better settings: trials on Ray Tune, chosen by validation users; the best one alone meets the test users.

python -m jobs.tune --space NAME [--trials N] [--config FILE.toml] [--set key=value …]

`search.algorithm` is random, optuna or population. Submitted again under the same run.name, a search goes on: no trial
that ended trains again.
"""

import argparse
import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tune_spaces
from jobs import command
from jobs.command import say
from jobs.tune_results import conclude
from jobs.tune_tracking import SearchTracking
from metarec.config import Config, with_values
from metarec.errors import ConfigError, MetarecError, TrackingError
from metarec.train.run import RunFolder, keeping_status, locked, name_run, open_run

if TYPE_CHECKING:
    from metarec.search.search import Search
    from metarec.search.space import Space
    from metarec.search.trials import Trial
    from metarec.tracking import Store

PARTS: dict[str, tuple[type, str]] = {
    "SPACE": (Mapping, "a table of settings, such as {'inner.lr': tune.loguniform(0.01, 1.0)}"),
    "METRIC": (str, "a text, such as 'mae'"),
    "MODE": (str, "'min' or 'max'"),
    "NUM_TRIALS": (int, "a whole number"),
}
"""What a space says, in the order of `Space`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--space", metavar="NAME", required=True, help=f"one of {', '.join(space_names())}")
    parser.add_argument("--trials", type=int, metavar="N", help="how many trials; those of the space if left out")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Search, or go on, or print the result of a search that is finished."""
    require_space(arguments.space)
    config = with_values(config, {"run.name": name_run(config)})
    with command.room_for(config, check_room) as due:
        space, num_trials = checked_space(config, arguments)
        if due and config.search.algorithm == "population":
            check_room(config, side_by_side=num_trials)
        folder = open_run(config)
        with locked(folder):
            _require_same_search(folder, space, num_trials)
            finished = folder.read_state().get("summary")
            if finished is None:
                finished = work(config, folder, space, num_trials)
            else:
                say(f"search {config.run.name} is finished; this is its result, from {folder.uri}")
            print(finished, flush=True)


def check_room(config: Config, *, side_by_side: int = 1) -> None:
    """Refuse, with the sum, a search of which the machines have no room for so many trials together."""
    from metarec.search.room import check_free_to_search, check_side_by_side, trials_at_once

    at_once = trials_at_once(config)
    if config.search.algorithm == "population":
        check_side_by_side(side_by_side, at_once)
    if command.joins_cluster():
        check_free_to_search(config, side_by_side)


def checked_space(config: Config, arguments: argparse.Namespace) -> tuple["Space", int]:
    """The space and the number of trials that are asked for.

    Raises:
        ConfigError: they make no search with this config.
    """
    from metarec.evaluate.requirements import require_judgeable
    from metarec.search.population import check_population
    from metarec.search.proposals import known_draws
    from metarec.search.space import check_space

    space = load_space(arguments.space)
    num_trials = space.num_trials if arguments.trials is None else arguments.trials
    if num_trials < 1:
        where = f"NUM_TRIALS of {space.place}" if arguments.trials is None else "--trials"
        raise ConfigError(f"{where} is {num_trials}; use 1 or more")
    require_judgeable(config)
    check_space(space, config, known_draws(config, space, num_trials))
    if config.search.algorithm == "population":
        check_population(config, space, num_trials)
    return space, num_trials


def space_names() -> list[str]:
    """The spaces there are."""
    return sorted(module.name for module in pkgutil.iter_modules(tune_spaces.__path__))


def require_space(name: str) -> None:
    """Refuse a name that no space has."""
    if name not in space_names():
        raise ConfigError(f"--space is {name!r}; there are {', '.join(space_names())} in tune_spaces")


def load_space(name: str) -> "Space":
    """A space by the name of its module.

    Raises:
        ConfigError: there is none of that name, it cannot be read, or one of its four names is missing or not what it
            should be.
    """
    require_space(name)
    try:
        module = importlib.import_module(f"tune_spaces.{name}")
    except Exception as error:  # whatever a file can be wrong in
        raise ConfigError(f"tune_spaces/{name}.py cannot be read: {type(error).__name__}: {error}") from error
    return space_of(name, vars(module))


def space_of(name: str, said: Mapping[str, Any]) -> "Space":
    """The space that a module says.

    Args:
        name: of the module.
        said: its names and their values.

    Raises:
        ConfigError: one of the four names is missing, or is not what it should be.
    """
    from metarec.search.space import Space

    for each, (kind, what) in PARTS.items():
        if each not in said:
            raise ConfigError(f"tune_spaces/{name}.py has no {each}; a space has {', '.join(PARTS)}")
        value = said[each]
        if not isinstance(value, kind) or isinstance(value, bool):
            shown = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
            raise ConfigError(f"tune_spaces/{name}.py: {each} is {shown}; expected {what}")
    unnamed = [setting for setting in said["SPACE"] if not isinstance(setting, str)]
    if unnamed:
        raise ConfigError(f"tune_spaces/{name}.py: SPACE has {unnamed[0]!r}, where a name such as inner.lr belongs")
    return Space(name, *(said[each] for each in PARTS))


def _require_same_search(folder: RunFolder, space: "Space", num_trials: int) -> None:
    """Refuse to go on with another space or number of trials than a search began with."""
    asked = {"space": space.name, "num_trials": num_trials, "settings": space.describe()}
    begun = folder.read_state().get("search")
    if begun is None:
        folder.update_state(search=asked)
    elif begun != asked:
        changed = [name for name in asked if begun.get(name) != asked[name]]
        raise ConfigError(
            f"search {folder.uri.rpartition('/')[2]!r} was started with another {changed[0]} "
            f"({json.dumps(begun.get(changed[0]))}); choose another run.name, or leave it out for a new search"
        )


def work(config: Config, folder: RunFolder, space: "Space", num_trials: int) -> str:
    """Prepare, run the trials, and judge the best on test users; return what a person should read at the end."""
    from metarec.data.sources import check_source
    from metarec.evaluate.requirements import require_lists
    from metarec.tracking import open_store

    check_source(config)
    say(f"search {config.run.name}: opening the tracking store and Ray")
    store = open_store(config)
    with command.ray_session():
        from metarec.data.prepare import prepare
        from metarec.search.room import trials_at_once
        from metarec.search.search import Search
        from metarec.train.preflight import check_shared

        at_once = trials_at_once(config)
        check_shared(config.output.uri)
        dataset = prepare(config, progress=say)
        require_lists(config, dataset)
        search = Search(config, space, dataset, folder, num_trials)
        say(f"plan: {num_trials} trials over {', '.join(space.domains)}, {at_once} at a time, from {space.place}")
        with keeping_status(folder), SearchTracking(search, store) as tracking:
            trials = run_trials(search, tracking)
            summary = finish(search, store, tracking, trials)
    folder.update_state(status="finished", summary=summary)
    return summary


def run_trials(search: "Search", tracking: SearchTracking) -> list["Trial"]:
    """Run what has not ended; raise `Interrupted` when somebody asks to stop."""
    from metarec.search.search import run_search

    name, num_ended = search.config.run.name, sum(trial.result is not None for trial in search.trials.all())
    if num_ended:
        say(f"going on: {num_ended} of {search.num_trials} trials have ended")
    with command.stop_on_signal() as stop:
        try:
            trials = run_search(search, watch=tracking, stop=stop, shown=command.joins_cluster())
        except MetarecError as error:
            kept = f"search {name} is saved: go on with --set run.name={name}"
            raise type(error)(f"{error}; {kept}") from error
    num_ended = sum(trial.result is not None for trial in trials)
    if num_ended < search.num_trials:
        raise command.Interrupted(
            f"search {name} is saved with {num_ended} of {search.num_trials} trials ended; "
            f"go on with --set run.name={name}"
        )
    return trials


def finish(search: "Search", store: "Store", tracking: SearchTracking, trials: Sequence["Trial"]) -> str:
    """Judge the best trial; where a server or somebody stops that, say how to go on."""
    name = search.config.run.name
    again = f"all trials have ended and are kept: go on with --set run.name={name}"
    try:
        return conclude(search, store, tracking, trials)
    except TrackingError as error:
        raise TrackingError(f"{error}; {again}") from error
    except KeyboardInterrupt as error:
        raise command.Interrupted(f"search {name}: {again}") from error


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
