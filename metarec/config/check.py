"""How a setting is refused: its name, its value, and what to do."""

import re

from metarec.errors import ConfigError

_SECRETS = {
    "http": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "https": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
"""By the scheme of a URI, the environment variables that take its password."""
_URI = re.compile(r"(?P<scheme>[\w+.-]+)://((?P<user>[^/?#@]*)@)?(?P<place>[^?#]*)(?P<options>.*)")


def require(claim: bool, name: str, value: object, expected: str) -> None:
    """Refuse a setting unless a claim holds.

    Args:
        claim: what must hold.
        name: of the setting, as people write it: `inner.lr`.
        value: what it is.
        expected: what to do instead.

    Raises:
        ConfigError: the claim does not hold.
    """
    if not claim:
        raise ConfigError(f"{name} is {value!r}; {expected}")


def refuse_password(name: str, value: str) -> None:
    """Refuse a URI that gives away how to get in: settings are shown, and kept with every run and model.

    Args:
        name: of the setting.
        value: what it is, a URI or any other text.

    Raises:
        ConfigError: there is a password in it, or before the host of a server anything at all.
    """
    parts = _URI.fullmatch(value)
    if parts is None:
        return
    scheme, user = parts["scheme"], parts["user"] or ""
    if ":" in user or (user and scheme.startswith("http")) or "password=" in parts["options"]:
        elsewhere = "MLFLOW_TRACKING_URI" if name == "tracking.uri" else "what this storage reads"
        raise ConfigError(
            f"{name} ({scheme}://{parts['place']}) has a password or token in it, which would be kept with every run "
            f"and model; leave it out and set {_SECRETS.get(scheme, f'{elsewhere} in the environment')}"
        )
