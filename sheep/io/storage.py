"""Storage at any fsspec URI: objects are read and written whole, and errors of access name the cause and a remedy.

A plain path, `file://` and `s3://` are treated alike. A custom S3 endpoint is taken from `AWS_ENDPOINT_URL_S3` or
`AWS_ENDPOINT_URL`, credentials from the usual AWS chain. The commit protocol built on this is in `sheep/io/ledger.py`.
"""

import contextlib
import hashlib
import os
import posixpath
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from botocore.exceptions import BotoCoreError
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from sheep.errors import ConfigError


def join(uri: str, *parts: str) -> str:
    """Append POSIX path parts to a URI.

    Args:
        uri: of a folder; a slash at its end is ignored.
        parts: relative paths; empty ones are skipped.
    """
    return "/".join([uri.rstrip("/"), *[part.strip("/") for part in parts if part]])


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a URI and the path within it. Listings are never cached: other workers write too.

    Raises:
        ConfigError: an S3 key that holds `?versionId=`.
    """
    # fsspec's own `url_to_fs` takes `::` in a name for a chain of filesystems, and `?versionId=` for a version.
    protocol = split_protocol(uri)[0] or "file"
    kind = fsspec.get_filesystem_class(protocol)
    if protocol == "s3":
        # Four tries each: a refused connection is reported after about 5 s, not 10; S3 asking to slow down is still
        # waited for.
        options = {"config_kwargs": {"retries": {"mode": "standard", "max_attempts": 3}}}
    else:
        options = kind._get_kwargs_from_urls(uri)
    fs = fsspec.filesystem(protocol, use_listings_cache=False, **options)
    path = str(kind._strip_protocol(uri))
    if protocol == "s3" and "?versionId=" in path:
        raise ConfigError(
            f"{uri}: the key holds '?versionId=', which S3 clients take for a version, expected another name. Rename "
            "the object."
        )
    return fs, path


@contextlib.contextmanager
def explained(uri: str, doing: str) -> Iterator[None]:
    """Turn refused or unreachable storage into a ConfigError; a missing object stays FileNotFoundError.

    Args:
        uri: of the object, for the message.
        doing: the operation, for the message, e.g. `reading`.

    Raises:
        ConfigError: credentials are missing or refused, or the endpoint cannot be reached.
    """
    try:
        yield
    except PermissionError as error:
        raise ConfigError(
            f"{doing} {uri}: access refused ({error}), expected credentials that permit it. Check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY or the instance role, and the bucket's policy; on a disk, the folder's permissions."
        ) from error
    except BotoCoreError as error:
        raise ConfigError(
            f"{doing} {uri}: {error}. Expected a reachable S3 endpoint with credentials; check AWS_ENDPOINT_URL_S3, "
            "AWS_REGION and the keys."
        ) from error


def read_bytes(uri: str) -> bytes:
    """Read one object whole.

    Raises:
        FileNotFoundError: nothing exists at the URI.
        ConfigError: access refused.
    """
    fs, path = filesystem(uri)
    with explained(uri, "reading"):
        data: bytes = fs.cat_file(path)
    return data


def write_bytes(uri: str, data: bytes) -> None:
    """Write one object whole: readers see the old bytes or the new ones, never a part.

    A local file is written under a temporary name and renamed; object stores replace an object atomically.

    Args:
        uri: of the object.
        data: its content.

    Raises:
        ConfigError: access refused, or the bucket does not exist.
    """

    def here(beside: str) -> None:
        with open(beside, "wb") as file:
            file.write(data)

    _write_whole(uri, here, lambda fs, path: fs.pipe_file(path, data))


def write_file(uri: str, local: str) -> None:
    """Write one object whole from a local file, which may be larger than memory.

    Args:
        uri: of the object.
        local: path of the file on this machine.

    Raises:
        ConfigError: access refused, or the bucket does not exist.
    """
    _write_whole(uri, lambda beside: shutil.copyfile(local, beside), lambda fs, path: fs.put_file(local, path))


def _write_whole(uri: str, here: Callable[[str], object], there: Callable[[Any, str], object]) -> None:
    """Write under a temporary name and rename on a disk, or in one PUT elsewhere.

    Args:
        uri: of the object.
        here: writes to a local path.
        there: writes to a path of a filesystem.
    """
    fs, path = filesystem(uri)
    with explained(uri, "writing"):
        if isinstance(fs, LocalFileSystem):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            beside = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
            here(beside)
            os.replace(beside, path)
        else:
            try:
                there(fs, path)
            except FileNotFoundError as error:
                raise ConfigError(
                    f"writing {uri}: {error}, expected a bucket. Create it, or correct its name."
                ) from error


def exists(uri: str) -> bool:
    """Tell whether an object (not a folder) exists.

    Raises:
        ConfigError: access refused; fsspec's own `isfile` would return False, as for a missing object.
    """
    fs, path = filesystem(uri)
    with explained(uri, "looking for"):
        try:
            is_file: bool = fs.info(path)["type"] == "file"
        except (FileNotFoundError, NotADirectoryError):
            return False
    return is_file


def find(uri: str) -> dict[str, str]:
    """List all objects below a folder.

    Returns:
        Path relative to the folder -> identity (see `identity`), sorted by path; empty if the folder does not exist.
    """
    fs, path = filesystem(uri)
    with explained(uri, "listing"):
        try:
            infos = fs.find(path, detail=True)
        except FileNotFoundError:
            infos = {}
    root = path.rstrip("/") + "/"
    return {name[len(root) :]: _identity(info) for name, info in sorted(infos.items()) if name.startswith(root)}


def identity(uri: str) -> str:
    """Name the present content of an object without reading it: its ETag on an object store, its size on a disk.

    Modification times are left out: they change when a file is copied and do not survive a move to S3.
    """
    fs, path = filesystem(uri)
    with explained(uri, "looking at"):
        return _identity(fs.info(path))


def _identity(info: dict[str, object]) -> str:
    etag = info.get("ETag")
    return f"etag:{str(etag).strip(chr(34))}" if etag else f"size:{info['size']}"


def size_and_age(uri: str) -> tuple[int, float]:
    """Return an object's size [bytes] and the time since it was written [s].

    Raises:
        FileNotFoundError: nothing exists at the URI.
    """
    fs, path = filesystem(uri)
    with explained(uri, "looking at"):
        return int(fs.info(path)["size"]), time.time() - fs.modified(path).timestamp()


def remove(uri: str) -> None:
    """Delete one object; a missing one is not an error."""
    fs, path = filesystem(uri)
    with explained(uri, "deleting"), contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def fingerprint(uri: str) -> str:
    """Digest the content of a file or of all files of a folder, e.g. of model weights.

    Returns:
        16 hexadecimal digits. All bytes are read: weights are small compared with the videos that they process.

    Raises:
        FileNotFoundError: nothing exists at the URI.
    """
    names = [""] if exists(uri) else list(find(uri))
    if not names:
        raise FileNotFoundError(uri)
    total = hashlib.sha256()
    for name in names:
        total.update(name.encode() + b"\0" + hashlib.sha256(read_bytes(join(uri, name))).digest())
    return total.hexdigest()[:16]


@contextlib.contextmanager
def local_copy(uri: str) -> Iterator[str]:
    """Give a local path with the content of a file or folder; a copy of remote content is removed after the block.

    Yields:
        The path itself where the URI is local already.

    Raises:
        FileNotFoundError: nothing exists at the URI.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        if not os.path.exists(path):
            raise FileNotFoundError(uri)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="sheep-") as folder:
        names = [""] if exists(uri) else list(find(uri))
        if not names:
            raise FileNotFoundError(uri)
        for name in names:
            target = Path(folder) / (name or posixpath.basename(uri))
            target.parent.mkdir(parents=True, exist_ok=True)
            with explained(uri, "reading"):
                fs.get_file(join(path, name), str(target))
        yield folder if names != [""] else str(Path(folder) / posixpath.basename(uri))


def upload_folder(local: str, uri: str) -> None:
    """Copy every file below a local folder to a URI, in sorted order.

    Args:
        local: path of the folder.
        uri: of the folder to write to.
    """
    for file in sorted(path for path in Path(local).rglob("*") if path.is_file()):
        write_bytes(join(uri, file.relative_to(local).as_posix()), file.read_bytes())
