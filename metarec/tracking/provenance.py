"""Which code and which versions make a run."""

import contextlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path


def provenance() -> dict[str, str]:
    """Tags that say which code and which versions made a run."""
    tags = {"version.python": platform.python_version()}
    for name in ("metarec", "torch", "ray", "mlflow", "pyarrow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # metarec may run from a checkout
            tags[f"version.{name}"] = importlib.metadata.version(name)
    commit = _git_commit()
    return {**tags, "git.commit": commit} if commit else tags


def _git_commit() -> str | None:
    """The commit of the checkout that this code lies in, with `-dirty` where files differ; None outside of one."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, capture_output=True, timeout=5)
        described = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True, capture_output=True, timeout=5, text=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
