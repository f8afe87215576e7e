"""Which code and which versions make a run."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

COMMIT = "METAREC_COMMIT"
"""The environment variable that names the commit where the code came without its repository."""


def provenance() -> dict[str, str]:
    """Tags that say which code and which versions made a run."""
    tags = {"version.python": platform.python_version()}
    for name in ("metarec", "torch", "ray", "mlflow", "pyarrow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # metarec may run from a checkout
            tags[f"version.{name}"] = importlib.metadata.version(name)
    commit = commit_of(Path(__file__)) or os.environ.get(COMMIT)
    return {**tags, "git.commit": commit} if commit else tags


def commit_of(file: Path) -> str | None:
    """The commit of the checkout that a file lies in, with `-dirty` where files differ; None outside of one.

    Args:
        file: of the code.
    """
    git = ["git", "-C", str(file.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", str(file)], check=True, capture_output=True, timeout=5)
        described = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True, capture_output=True, timeout=5, text=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
