"""Where bytes live: any fsspec URI, read and written whole, with refused access explained.

A plain path, `file://` and `s3://` are treated alike. A custom S3 endpoint is taken from `AWS_ENDPOINT_URL_S3` or
`AWS_ENDPOINT_URL`, credentials from the usual AWS chain. The commit protocol built on this is in `sheep/io/ledger.py`.
"""

import contextlib
import hashlib
import os
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
    """Append POSIX path parts to a URI; empty parts are skipped."""
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

    Raises:
        ConfigError: credentials are missing or refused, or the endpoint cannot be reached.
    """
    try:
        yield
    except PermissionError as error:
        raise ConfigError(
            f"{doing} {uri}: access refused ({error}), expected credentials that may. Check AWS_ACCESS_KEY_ID, "
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
        FileNotFoundError: nothing is there.
        ConfigError: access refused.
    """
    fs, path = filesystem(uri)
    with explained(uri, "reading"):
        data: bytes = fs.cat_file(path)
    return data


def write_bytes(uri: str, data: bytes) -> None:
    """Write one object whole: readers see the old bytes or the new ones, never a part.

    Local files are written beside and renamed; object stores replace atomically by themselves.

    Raises:
        ConfigError: access refused, or there is no such bucket.
    """

    def here(beside: str) -> None:
        with open(beside, "wb") as file:
            file.write(data)

    _write_whole(uri, here, lambda fs, path: fs.pipe_file(path, data))


def write_file(uri: str, local: str) -> None:
    """Write one object whole from a local file, which may be larger than memory.

    Raises:
        ConfigError: access refused, or there is no such bucket.
    """
    _write_whole(uri, lambda beside: shutil.copyfile(local, beside), lambda fs, path: fs.put_file(local, path))


def _write_whole(uri: str, here: Callable[[str], object], there: Callable[[Any, str], object]) -> None:
    """Write beside the target on a disk and rename, or in one PUT elsewhere."""
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
    """Tell whether an object (not a folder) is there.

    Raises:
        ConfigError: access refused; fsspec's own `isfile` would answer False, as if nothing were there.
    """
    fs, path = filesystem(uri)
    with explained(uri, "looking for"):
        try:
            found: bool = fs.info(path)["type"] == "file"
        except (FileNotFoundError, NotADirectoryError):
            return False
    return found


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
    """Tell an object's bytes, and the seconds since it was written.

    Raises:
        FileNotFoundError: nothing is there.
    """
    fs, path = filesystem(uri)
    with explained(uri, "looking at"):
        return int(fs.info(path)["size"]), time.time() - fs.modified(path).timestamp()


def remove(uri: str) -> None:
    """Delete one object; nothing happens if it is not there."""
    fs, path = filesystem(uri)
    with explained(uri, "deleting"), contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def fingerprint(uri: str) -> str:
    """Digest the content of a file or of all files of a folder, e.g. of model weights.

    Returns:
        16 hexadecimal digits. Bytes are read: an archive of weights is small beside what it is used on.

    Raises:
        FileNotFoundError: nothing is there.
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
    """Give a local path with the content of a file or folder; remote content lives for the duration of the block.

    Yields:
        The path itself where the URI is local already.

    Raises:
        FileNotFoundError: nothing is there.
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
            target = Path(folder) / (name or uri.rsplit("/", 1)[-1])
            target.parent.mkdir(parents=True, exist_ok=True)
            with explained(uri, "reading"):
                fs.get_file(join(path, name), str(target))
        yield folder if names != [""] else str(Path(folder) / uri.rsplit("/", 1)[-1])


def upload_folder(local: str, uri: str) -> None:
    """Copy every file below a local folder to a URI, in sorted order."""
    for file in sorted(path for path in Path(local).rglob("*") if path.is_file()):
        write_bytes(join(uri, file.relative_to(local).as_posix()), file.read_bytes())
