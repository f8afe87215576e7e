"""Which version is the champion."""

from metarec.registry.versions import CHAMPION, Version, find_version, version_of
from metarec.tracking import Store, talking_to


def promote(store: Store, name: str, version: int, *, forced: bool = False) -> Version:
    """Make a version the champion; whether it passed the gate is the caller's business.

    Args:
        store: where it is registered.
        name: the registered model.
        version: its number.
        forced: record that the gate was overruled, as the version's tag `forced`.

    Raises:
        RegistryError: there is no such version.
    """
    with talking_to(store.uri):
        find_version(store.client, f"models:/{name}/{version}", name=name, number=str(version))
        if forced:
            store.client.set_model_version_tag(name, str(version), "forced", "true")
        store.client.set_registered_model_alias(name, CHAMPION, str(version))
        return version_of(store.client.get_model_version(name, str(version)))
