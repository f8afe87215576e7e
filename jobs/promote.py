"""Make the candidate the champion where it passed the gate.

python -m jobs.promote [--config FILE.toml] [--set key=value …] [--force]
"""

import argparse
from typing import TYPE_CHECKING

from jobs import command
from metarec.config import Config
from metarec.errors import GateError, RegistryError

if TYPE_CHECKING:
    from metarec.registry import Version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--force", action="store_true", help="promote although the gate says no; recorded as a tag")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Move `champion` to the candidate, or say why not.

    Raises:
        RegistryError: nothing is registered.
        GateError: the candidate did not pass the gate and `--force` is not given.
    """
    from metarec import registry, tracking

    store = tracking.open_store(config)
    candidate = registry.candidate(store, config.model_name)
    if candidate is None:
        raise RegistryError(
            f"no candidate of {config.model_name} is registered in {store.uri}; python -m jobs.train makes one"
        )
    champion = registry.champion(store, config.model_name)
    if champion is not None and champion.number == candidate.number:
        print(f"{candidate.uri} is the champion already")
        return
    note = _other_dataset(candidate, champion)
    passed = bool(candidate.verdict["passed"])
    if not passed and not arguments.force:
        reasons = "; ".join([*candidate.verdict["reasons"], *note])
        raise GateError(f"not promoted: {candidate.uri} did not pass the gate: {reasons}; --force promotes it anyway")
    registry.promote(store, candidate.name, candidate.number, forced=not passed)
    for line in note:
        print(line)
    print(f"promoted{'' if passed else ' by force'}: models:/{candidate.name}@{registry.CHAMPION} is {candidate.uri}")


def _other_dataset(candidate: "Version", champion: "Version | None") -> list[str]:
    if champion is None or champion.fingerprint == candidate.fingerprint:
        return []
    return [
        f"{champion.uri}, the champion so far, was trained on another dataset (fingerprint "
        f"{champion.fingerprint[:12]}, not {candidate.fingerprint[:12]}), so their results cannot be compared"
    ]


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
