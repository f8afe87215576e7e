"""What is registered: the versions of a model, what is kept with each, and which of them an alias names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from metarec.errors import RegistryError
from metarec.tracking import Store, talking_to

CANDIDATE, CHAMPION = "candidate", "champion"
MAKE = "python -m jobs.train registers a model as candidate and promotes it where the gate passes"
"""What to do where nothing is registered."""


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        name: the registered model.
        number: its version, counting from 1.
        run_id: the MLflow run that made it.
        tags: what is kept with it: `dataset.fingerprint`, `run.name`, `metric.<name>` with `.low` and `.high`, `gate`
            (the verdict, with the difference to every floor), `forced` where the gate was overruled.
    """

    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """`models:/<name>/<number>`."""
        return f"models:/{self.name}/{self.number}"

    @property
    def as_champion(self) -> str:
        """How sentences about today's champion begin."""
        return f"{self.uri}, the champion,"

    @property
    def as_opponent(self) -> str:
        """What it is called among the opponents of a candidate."""
        return f"champion v{self.number}"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the dataset that it was trained on."""
        return self.tags.get("dataset.fingerprint", "")

    @property
    def verdict(self) -> dict[str, Any]:
        """The gate's verdict when it was trained: `passed`, `reasons`, `opponents`.

        Raises:
            RegistryError: none is kept with it, because it was registered by something else.
        """
        if "gate" not in self.tags:
            raise RegistryError(f"{self.uri} carries no verdict of the gate; {MAKE}")
        return dict(json.loads(self.tags["gate"]))


def candidate(store: Store, name: str) -> Version | None:
    """The newest version of a model, or None."""
    return _aliased(store, name, CANDIDATE)


def champion(store: Store, name: str) -> Version | None:
    """The version that passed the gate last, or None."""
    return _aliased(store, name, CHAMPION)


def find_version(
    client: MlflowClient, uri: str, *, name: str, alias: str | None = None, number: str | None = None
) -> ModelVersion:
    """A version by alias or number; the error says what there is instead."""
    versions = {str(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    if not versions:
        names = [each.name for each in client.search_registered_models()]
        raise RegistryError(f"there is no model {uri}; registered: {', '.join(names) or 'none'}; {MAKE}")
    aliases = {each: str(v) for each, v in client.get_registered_model(name).aliases.items()}
    version = number if number is not None else aliases.get(str(alias))
    if version not in versions:
        there = [f"@{each} (version {v})" for each, v in aliases.items()]
        remedy = "python -m jobs.promote makes the candidate champion" if CANDIDATE in aliases else MAKE
        raise RegistryError(
            f"there is no {uri}; {name} has versions {', '.join(sorted(versions, key=int))} and aliases "
            f"{', '.join(there) or 'none'}; {remedy}"
        )
    return versions[version]


def _aliased(store: Store, name: str, alias: str) -> Version | None:
    try:
        with talking_to(store.uri):
            return version_of(find_version(store.client, f"models:/{name}@{alias}", name=name, alias=alias))
    except RegistryError:
        return None


def version_of(found: ModelVersion) -> Version:
    """A version as MLflow has it."""
    return Version(found.name, int(found.version), found.run_id, dict(found.tags))
