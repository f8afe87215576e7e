"""Ports of this machine that nobody listens on, for servers that tests start."""

import socket


def free_port(*, following: int = 0) -> int:
    """A free port of the loopback interface; so many that follow it are free as well."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        if all(_is_free(port) for port in range(first + 1, first + 1 + following)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
