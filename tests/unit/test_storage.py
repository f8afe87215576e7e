"""Files and bundles: writes are whole or not at all, and a folder with a byte changed is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metarec import storage
from metarec.errors import StorageError

FILES = {"weights.bin": bytes(range(200)), "facts.json": b'{"a": 1}', "empty": b""}


@pytest.fixture
def bundle(tmp_path):
    uri = str(tmp_path / "step-1")
    storage.write_bundle(uri, "checkpoint", FILES, step=3)
    return uri


def edit_manifest(uri, **changes):
    place = storage.join(uri, storage.MANIFEST)
    storage.write_bytes(place, json.dumps({**json.loads(storage.read_bytes(place)), **changes}).encode())


def test_what_is_written_is_read_back_and_leaves_nothing_beside_it(tmp_path):
    uri = str(tmp_path / "new" / "folder" / "file")
    storage.write_bytes(uri, b"first")
    storage.write_bytes(uri, b"second")
    assert storage.read_bytes(uri) == b"second"
    assert storage.list_names(str(tmp_path / "new" / "folder")) == ["file"]


def test_a_write_that_fails_leaves_what_stood_there(tmp_path):
    """The target is a folder, so that the last step, the rename, fails."""
    (tmp_path / "target" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*target: is a directory; free space or choose another"):
        storage.write_bytes(str(tmp_path / "target"), b"new")
    assert storage.list_names(str(tmp_path)) == ["target"]
    assert storage.list_names(str(tmp_path / "target")) == ["inside"]


def test_a_file_uri_names_the_same_file_as_its_path(tmp_path):
    storage.write_bytes(f"file://{tmp_path}/x", b"content")
    assert storage.read_bytes(str(tmp_path / "x")) == b"content"
    assert storage.exists(f"file://{tmp_path}/x")
    assert storage.list_names(f"file://{tmp_path}") == ["x"]
    storage.delete(f"file://{tmp_path}/x")
    assert not storage.exists(str(tmp_path / "x"))


def test_join_puts_one_slash_between_names():
    assert storage.join("s3://bucket/", "runs", "a") == "s3://bucket/runs/a"


@pytest.mark.parametrize(
    ("uri", "folder", "name"),
    [
        ("a.csv", ".", "a.csv"),
        ("/a.csv", "/", "a.csv"),
        ("/x/tables/", "/x", "tables"),
        ("s3://bucket/x/a.csv?region=eu", "s3://bucket/x?region=eu", "a.csv"),
    ],
)
def test_a_place_is_taken_apart_as_join_puts_it_together(uri, folder, name):
    assert storage.folder_and_name(uri) == (folder, name)


def test_a_missing_file_is_named():
    with pytest.raises(StorageError, match="cannot read /nowhere/at/all: no such file or directory"):
        storage.read_bytes("/nowhere/at/all")


def test_an_unknown_scheme_is_refused_with_those_that_work():
    with pytest.raises(
        StorageError, match=r"cannot open storage ftp://host/x: .*; use a path, file://, s3:// or gs://"
    ):
        storage.read_bytes("ftp://host/x")


def test_a_missing_folder_has_no_names_and_can_be_deleted(tmp_path):
    assert storage.list_names(str(tmp_path / "none")) == []
    storage.delete(str(tmp_path / "none"))


def test_a_file_where_a_folder_is_looked_for_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot list .*/file: not a directory"):
        storage.list_names(str(tmp_path / "file"))


def test_a_folder_is_deleted_with_all_it_holds(bundle):
    storage.delete(bundle)
    assert not storage.exists(bundle)


def test_a_root_under_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot write .*file/root/\.probe-.*choose another output\.root"):
        storage.check_writable(str(tmp_path / "file" / "root"))


def test_a_writable_root_is_left_as_it_was(tmp_path):
    storage.check_writable(str(tmp_path))
    assert storage.list_names(str(tmp_path)) == []


def test_a_bundle_comes_back_whole(bundle):
    manifest, files = storage.read_bundle(bundle, "checkpoint")
    assert files == FILES
    assert (manifest["kind"], manifest["step"], manifest["format_version"]) == ("checkpoint", 3, 1)


def test_a_bundle_can_be_written_again(bundle):
    storage.write_bundle(bundle, "checkpoint", {"weights.bin": b"new"})
    assert storage.read_bundle(bundle, "checkpoint")[1] == {"weights.bin": b"new"}


def test_a_damaged_byte_is_refused_and_the_file_named(bundle):
    damaged = bytearray(FILES["weights.bin"])
    damaged[17] ^= 1
    storage.write_bytes(f"{bundle}/weights.bin", bytes(damaged))
    with pytest.raises(StorageError) as caught:
        storage.read_bundle(bundle, "checkpoint")
    assert str(caught.value) == (
        f"{bundle}/weights.bin is damaged: its 200 bytes do not match the checksum of 200 bytes in manifest.json"
    )


def test_a_truncated_file_is_refused_with_both_lengths(bundle):
    storage.write_bytes(f"{bundle}/weights.bin", FILES["weights.bin"][:150])
    with pytest.raises(StorageError, match=r"its 150 bytes do not match the checksum of 200 bytes in manifest\.json$"):
        storage.read_bundle(bundle, "checkpoint")


def test_a_missing_file_of_a_bundle_is_named(bundle):
    storage.delete(f"{bundle}/weights.bin")
    with pytest.raises(StorageError, match=r"cannot read .*step-1/weights\.bin: no such file or directory$"):
        storage.read_bundle(bundle, "checkpoint")


def test_a_bundle_without_its_manifest_is_refused(bundle):
    storage.delete(f"{bundle}/manifest.json")
    with pytest.raises(StorageError, match=r"cannot read .*step-1/manifest\.json: no such file or directory$"):
        storage.read_bundle(bundle, "checkpoint")


def test_another_format_version_is_refused_with_both_numbers(bundle):
    edit_manifest(bundle, format_version=2)
    with pytest.raises(StorageError, match="has format_version 2, this metarec reads 1; make it again or use the "):
        storage.read_bundle(bundle, "checkpoint")


def test_a_bundle_of_another_kind_is_refused(bundle):
    with pytest.raises(StorageError, match=r"manifest\.json describes a checkpoint, expected a model$"):
        storage.read_bundle(bundle, "model")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"null"])
def test_a_manifest_that_is_no_json_object_is_refused(bundle, content):
    storage.write_bytes(f"{bundle}/manifest.json", content)
    with pytest.raises(StorageError, match=r"manifest\.json (is damaged|has format_version None)"):
        storage.read_bundle(bundle, "checkpoint")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["weights.bin", "facts.json", storage.MANIFEST]), data=st.data())
def test_any_flipped_bit_in_any_file_is_refused(bundle, name, data):
    file = Path(bundle) / name
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(damaged)
    with pytest.raises(StorageError):
        storage.read_bundle(bundle, "checkpoint")
    file.write_bytes(content)
    assert storage.read_bundle(bundle, "checkpoint")[1] == FILES


def test_a_manifest_that_says_the_same_in_other_bytes_is_refused(bundle):
    """One bit of the exponent's letter: the number is the same, the byte is not as written."""
    storage.write_bundle(bundle, "checkpoint", FILES, validation=1e-05)
    place = Path(bundle) / storage.MANIFEST
    place.write_bytes(place.read_bytes().replace(b"1e-05", b"1E-05"))
    with pytest.raises(StorageError, match="does not match its own checksum"):
        storage.read_bundle(bundle, "checkpoint")


def test_names_go_before_the_options_of_a_uri_and_a_path_has_none():
    root = "s3://bucket/root?region=here&endpoint_override=http://host:1"
    assert storage.join(root, "a", "b") == "s3://bucket/root/a/b?region=here&endpoint_override=http://host:1"
    assert storage.beside(root, ".sent") == "s3://bucket/root.sent?region=here&endpoint_override=http://host:1"
    assert storage.join("/what?/", "a") == "/what?/a"
    assert storage.beside("/what?", ".sent") == "/what?.sent"
