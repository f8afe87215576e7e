"""Make the candidate the champion where it passed the gate beside today's champion, and its files are whole.

python -m jobs.promote [--config FILE.toml] [--set key=value …] [--force]
"""

import argparse

from jobs import command
from metarec.config import Config
from metarec.errors import RegistryError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--force", action="store_true", help="promote although something speaks against it; recorded")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Move `champion` to the candidate, or say why not.

    Raises:
        RegistryError: nothing is registered.
        StorageError: the candidate's files are gone or damaged.
        GateError: something speaks against it and `--force` is not given.
    """
    from metarec import registry, tracking

    store = tracking.open_store(config)
    candidate = registry.candidate(store, config.model_name)
    if candidate is None:
        raise RegistryError(
            f"no candidate of {config.model_name} is registered in {tracking.shown(store.uri)}; python -m jobs.train "
            "makes one"
        )
    champion = registry.champion(store, config.model_name)
    if champion is not None and champion.number == candidate.number:
        print(f"{candidate.uri} is the champion already")
        return
    promoted = registry.promote(store, candidate.name, candidate.number, forced=arguments.force)
    by_force = " by force" if "forced" in promoted.tags else ""
    print(f"promoted{by_force}: models:/{candidate.name}@{registry.CHAMPION} is {candidate.uri}")


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
