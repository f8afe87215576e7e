"""Which version is the champion, and what speaks against another one."""

from metarec.errors import GateError
from metarec.registry.pulling import pull
from metarec.registry.versions import CHAMPION, Version, champion, find_version, version_of
from metarec.tracking import Store, talking_to


def promote(store: Store, name: str, version: int, *, forced: bool = False) -> Version:
    """Make a version the champion, once its files have been read, where nothing speaks against it.

    Args:
        store: where it is registered.
        name: the registered model.
        version: its number.
        forced: overrule what speaks against it, and record that as the version's tag `forced`.

    Raises:
        RegistryError: there is no such version, or it carries no verdict of the gate.
        StorageError: its files are gone or damaged, which nothing overrules.
        GateError: it did not pass the gate, or was not compared with today's champion, and is not forced.
    """
    with talking_to(store.uri):
        new = version_of(find_version(store.client, f"models:/{name}/{version}", name=name, number=str(version)))
    pull(new.uri, tracking_uri=store.uri)
    # Last, for the champion may have changed since it was judged; MLflow moves no alias on a condition.
    against = objections(new, champion(store, name))
    if against and not forced:
        raise GateError(
            f"not promoted: {new.uri}: {'; '.join(against)}; python -m jobs.promote --force promotes it anyway"
        )
    with talking_to(store.uri):
        if against:
            store.client.set_model_version_tag(name, str(version), "forced", "true")
        store.client.set_registered_model_alias(name, CHAMPION, str(version))
        return version_of(store.client.get_model_version(name, str(version)))


def objections(version: Version, today: Version | None) -> list[str]:
    """What speaks against making a version champion: the gate, or a champion that it was not compared with.

    Args:
        version: with the gate's verdict.
        today: the champion so far.

    Raises:
        RegistryError: the version carries no verdict.
    """
    verdict = version.verdict
    reasons = [] if verdict["passed"] else [str(reason) for reason in verdict["reasons"]]
    if today is None or today.number == version.number or today.as_opponent in verdict["opponents"]:
        return reasons
    if any(reason.startswith(today.as_champion) for reason in reasons):  # why they could not be compared
        return reasons
    if today.fingerprint != version.fingerprint:
        return [*reasons, of_other_dataset(today, version.fingerprint)]
    return [
        *reasons,
        f"{today.as_champion} is none that it was compared with, which python -m jobs.evaluate --model {today.uri} "
        f"{version.uri} does",
    ]


def of_other_dataset(today: Version, fingerprint: str) -> str:
    """Why a champion is no opponent of a model that was trained on a dataset of another fingerprint."""
    return (
        f"{today.as_champion} was trained on another dataset (fingerprint {today.fingerprint[:12]}, not "
        f"{fingerprint[:12]}), so that the two cannot be compared"
    )
