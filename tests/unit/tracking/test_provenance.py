"""Which commit made a run: in a checkout, in what a job uploads, and where nobody says."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package

from metarec.tracking import provenance as tags
from metarec.tracking.provenance import COMMIT, commit_of, provenance

CHECKOUT = Path(__file__).parents[3]


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path):
    """The one file of a repository of one commit."""
    file = tmp_path / "checkout" / "library" / "code.py"
    file.parent.mkdir(parents=True)
    file.write_text("one = 1\n")
    git(file.parent, "init")
    git(file.parent, "add", ".")
    git(file.parent, "commit", "-m", "one")
    return file


def test_a_checkout_has_its_commit_and_says_when_files_differ(code):
    commit = git(code.parent, "rev-parse", "HEAD")
    assert commit_of(code) == commit
    code.write_text("one = 2\n")
    assert commit_of(code) == f"{commit}-dirty"


def test_a_file_that_is_not_of_the_repository_has_not_its_commit(code):
    other = code.with_name("other.py")
    other.write_text("two = 2\n")
    assert commit_of(other) is None


def test_code_without_a_repository_has_the_commit_that_its_environment_names(tmp_path, monkeypatch):
    monkeypatch.setattr(tags, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.delenv(COMMIT, raising=False)
    assert "git.commit" not in provenance()
    monkeypatch.setenv(COMMIT, "0123abc")
    assert provenance()["git.commit"] == "0123abc"


def test_what_a_job_uploads_is_small_and_has_every_command(tmp_path):
    create_package(str(CHECKOUT), tmp_path / "package.zip", include_gitignore=True)
    assert (tmp_path / "package.zip").stat().st_size < 5_000_000
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        assert {name.split("/")[0] for name in package.namelist()} >= {"jobs", "metarec", "tune_spaces"}
        assert not any(name.startswith(("tests/", ".git/")) for name in package.namelist())


def test_versions_are_among_the_tags():
    assert {"version.python", "version.torch", "version.ray", "version.mlflow"} <= provenance().keys()
