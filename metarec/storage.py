"""Files on a path or a storage URI: atomic writes, and folders that prove themselves whole.

A *bundle* is a folder whose `manifest.json` lists the size and SHA-256 of every other file and is written last: without
it, or with a byte changed, the folder is refused. Checkpoints and models are bundles.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from pyarrow import fs

from metarec.errors import StorageError, UnreachableError
from metarec.schema import FORMAT_VERSION

MANIFEST = "manifest.json"
_WITHOUT_FOLDERS = ("s3", "gcs")
"""File systems, by pyarrow's type name, that know names alone: a folder is there with its first file."""


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The pyarrow file system of a path or URI, and the path within it.

    Raises:
        StorageError: the scheme is unknown or the file system cannot be reached.
    """
    try:
        return _from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), os.path.abspath(uri))
    except (ValueError, OSError, NotImplementedError) as error:
        raise StorageError(f"cannot open storage {uri}: {error}; use a path, file://, s3:// or gs://") from error


def join(uri: str, *names: str) -> str:
    """A path or URI below another; a URI keeps the options after its question mark."""
    place, options = split_options(uri)
    return "/".join([place.rstrip("/"), *names]) + options


def folder_and_name(uri: str) -> tuple[str, str]:
    """What `join` puts together: the folder that a path or URI lies in, and its name there."""
    place, options = split_options(uri)
    folder, _, name = place.rstrip("/").rpartition("/")
    return (folder or ("/" if place.startswith("/") else ".")) + options, name


def beside(uri: str, suffix: str) -> str:
    """A path or URI with something added to its name: `metrics.jsonl` and `.sent` make `metrics.jsonl.sent`."""
    place, options = split_options(uri)
    return place + suffix + options


def split_options(uri: str) -> tuple[str, str]:
    """`s3://bucket/root?region=x` as `s3://bucket/root` and `?region=x`; a path has no options."""
    place, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    return place, mark + options


def exists(uri: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        StorageError: the storage does not say.
    """
    filesystem, path = open_filesystem(uri)
    try:
        return bool(filesystem.get_file_info(path).type != fs.FileType.NotFound)
    except OSError as error:
        raise _failed("look for", uri, error) from error


def list_names(uri: str) -> list[str]:
    """The names of the files and folders in a folder, sorted; none where the folder is missing.

    Raises:
        StorageError: it cannot be listed.
    """
    filesystem, path = open_filesystem(uri)
    try:
        entries = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise _failed("list", uri, error) from error
    return sorted(entry.base_name for entry in entries)


def read_bytes(uri: str) -> bytes:
    """A whole file.

    Raises:
        StorageError: it is missing or cannot be read.
    """
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())
    except OSError as error:
        raise _failed("read", uri, error) from error


def read_range(uri: str, start: int, stop: int) -> bytes:
    """The bytes of a file from `start` to before `stop`, or to its end.

    Raises:
        StorageError: it is missing or cannot be read.
    """
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_file(path) as file:
            file.seek(start)
            return bytes(file.read(stop - start))
    except OSError as error:
        raise _failed("read", uri, error) from error


def read_blocks(uri: str, num_bytes: int) -> Iterator[bytes]:
    """A file of any size, so many bytes at a time.

    Raises:
        StorageError: it is missing or cannot be read.
    """
    filesystem, path = open_filesystem(uri)
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            while block := stream.read(num_bytes):
                yield bytes(block)
    except OSError as error:
        raise _failed("read", uri, error) from error


def sha256_of(uri: str) -> str:
    """The SHA-256 of a file of any size.

    Raises:
        StorageError: it is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for block in read_blocks(uri, 2**22):
        digest.update(block)
    return digest.hexdigest()


def write_bytes(uri: str, content: bytes) -> None:
    """Write a file so that readers see all of it or none: on a local disk by rename after fsync.

    Raises:
        StorageError: it cannot be written (no permission, no space); what stood there before still stands.
    """
    filesystem, path = open_filesystem(uri)
    local = isinstance(filesystem, fs.LocalFileSystem)
    target = f"{path}.{uuid.uuid4().hex[:8]}.tmp" if local else path
    try:
        if filesystem.type_name not in _WITHOUT_FOLDERS:
            filesystem.create_dir(os.path.dirname(path), recursive=True)
        with filesystem.open_output_stream(target, compression=None) as stream:
            stream.write(content)
        if local:
            _sync(target)
            os.replace(target, path)
            _sync(os.path.dirname(path))
    except OSError as error:
        if local:
            with contextlib.suppress(OSError):
                os.unlink(target)
        raise _failed("write", uri, error, "; free space or choose another output.root") from error


def delete(uri: str) -> None:
    """Remove a file or a folder with all it holds; nothing happens where it is missing.

    Raises:
        StorageError: it cannot be removed.
    """
    filesystem, path = open_filesystem(uri)
    try:
        kind = filesystem.get_file_info(path).type
        if kind == fs.FileType.Directory:
            filesystem.delete_dir(path)
        elif kind == fs.FileType.File:
            filesystem.delete_file(path)
    except OSError as error:
        raise _failed("remove", uri, error) from error


def write_bundle(uri: str, kind: str, files: Mapping[str, bytes], **facts: Any) -> None:
    """Write a folder that can prove itself whole; the manifest, written last, makes it valid.

    Args:
        uri: the folder; whatever it holds already is replaced.
        kind: what it is: `checkpoint`, `model`.
        files: name → content; no name may be `manifest.json`.
        facts: further entries of the manifest, JSON values.
    """
    assert MANIFEST not in files
    delete(join(uri, MANIFEST))
    for name, content in files.items():
        write_bytes(join(uri, name), content)
    listing = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    manifest = {"format_version": FORMAT_VERSION, "kind": kind, **facts, "files": listing}
    write_bytes(join(uri, MANIFEST), _manifest_bytes(manifest))


def read_manifest(uri: str, kind: str) -> dict[str, Any]:
    """The manifest of a bundle or dataset, checked for kind and format version.

    Raises:
        StorageError: it is missing, not JSON, of another kind or of another format version.
    """
    place = join(uri, MANIFEST)
    return _parse_manifest(place, read_bytes(place), kind)


def read_bundle_manifest(uri: str, kind: str) -> dict[str, Any]:
    """A bundle's manifest alone, every byte checked against its own checksum.

    Raises:
        StorageError: as `read_manifest`, or a byte of it is not as written.
    """
    place = join(uri, MANIFEST)
    content = read_bytes(place)
    manifest = _parse_manifest(place, content, kind)
    digest = manifest.pop("sha256", None)
    # The checksum is of what the text says; the same can be said in other bytes, such as 1e-05 and 1E-05.
    if digest != _digest(manifest) or _manifest_bytes(manifest) != content:
        raise StorageError(
            f"{place} is damaged: it does not match its own checksum; delete the folder and make it again"
        )
    return manifest


def read_bundle(uri: str, kind: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A bundle's manifest and files, every byte checked against it.

    Raises:
        StorageError: the manifest is unusable, or a file is missing, truncated or altered.
    """
    manifest = read_bundle_manifest(uri, kind)
    files = {}
    for name, expected in manifest["files"].items():
        content = read_bytes(join(uri, name))
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise StorageError(
                f"{join(uri, name)} is damaged: its {len(content)} bytes do not match the checksum of "
                f"{expected['bytes']} bytes in {MANIFEST}"
            )
        files[name] = content
    return manifest, files


def check_writable(uri: str) -> None:
    """Write, read back and remove a small file.

    Raises:
        StorageError: the root cannot be written or does not give back what was written.
    """
    probe = join(uri, f".probe-{uuid.uuid4().hex}")
    content = probe.encode()
    write_bytes(probe, content)
    try:
        if read_bytes(probe) != content:
            raise StorageError(f"{uri} does not give back what is written to it; choose another output.root")
    finally:
        delete(probe)


def check_replaceable(uri: str) -> None:
    """Refuse a place where `write_bytes` would fail: a folder stands there, or nothing can be written beside it.

    Raises:
        StorageError: as said; whatever stands there is left alone.
    """
    filesystem, path = open_filesystem(uri)
    if filesystem.get_file_info(path).type == fs.FileType.Directory:
        raise StorageError(f"cannot write {uri}: it is a folder; name a file")
    probe = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if filesystem.type_name not in _WITHOUT_FOLDERS:
            filesystem.create_dir(os.path.dirname(path), recursive=True)
        with filesystem.open_output_stream(probe, compression=None) as stream:
            stream.write(b"probe")
        filesystem.delete_file(probe)
    except OSError as error:
        raise _failed("write", uri, error, "; name a file in another folder") from error


@functools.lru_cache(maxsize=1024)
def _from_uri(uri: str) -> tuple[fs.FileSystem, str]:
    """Kept, for an object store asks for its region and opens its connections anew each time."""
    return fs.FileSystem.from_uri(uri)


def _parse_manifest(place: str, content: bytes, kind: str) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise StorageError(f"{place} is damaged: {error}; delete the folder and make it again") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise StorageError(
            f"{place} has format_version {version}, this metarec reads {FORMAT_VERSION}; make it again or use the "
            "metarec that wrote it"
        )
    if manifest.get("kind") != kind:
        raise StorageError(f"{place} describes a {manifest.get('kind')}, expected a {kind}")
    return dict(manifest)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1).encode()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(verb: str, uri: str, error: OSError, remedy: str = "") -> StorageError:
    """What the operating system refused, with its reason; what has no such reason is of the net and may pass."""
    if not error.errno:
        return UnreachableError(f"cannot {verb} {uri}: {error}{remedy}")
    reason = "no space left on the device" if error.errno == errno.ENOSPC else os.strerror(error.errno).lower()
    return StorageError(f"cannot {verb} {uri}: {reason}{remedy}")
