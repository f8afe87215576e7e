"""How a setting is refused: its name, its value, and what to do."""

from metarec.errors import ConfigError


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
