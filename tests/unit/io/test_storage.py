"""Reading and writing local files by URI; the same on a real S3 server is in tests/s3/test_storage.py."""

import os
import threading
from pathlib import Path

import pytest

from sheep.errors import ConfigError
from sheep.io import storage

STRANGE = "Sch\u00e4fchen 100 % + #1 [a]/k\u00e4se & brot?.bin"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("s3://b/a", "c"), "s3://b/a/c"),
        (("s3://b/a/", "/c/", "d"), "s3://b/a/c/d"),
        (("/a", "", "c"), "/a/c"),
        (("s3://b",), "s3://b"),
    ],
)
def test_join(parts: tuple[str, ...], expected: str) -> None:
    assert storage.join(*parts) == expected


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_round_trip_by_path_and_by_uri(tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}{tmp_path}/deep/er/{STRANGE}"
    storage.write_bytes(uri, b"one")
    assert storage.read_bytes(uri) == b"one"
    assert storage.exists(uri)
    assert storage.find(f"{scheme}{tmp_path}") == {f"deep/er/{STRANGE}": "size:3"}
    assert storage.identity(uri) == "size:3"
    storage.remove(uri)
    storage.remove(uri)  # deleting a missing file does nothing
    assert not storage.exists(uri)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "no"))
    with pytest.raises(FileNotFoundError):
        storage.identity(str(tmp_path / "no"))
    assert storage.find(str(tmp_path / "no")) == {}


def test_a_folder_is_not_an_object_and_a_file_has_no_children(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/folder/file", b"")
    assert not storage.exists(f"{tmp_path}/folder")
    assert not storage.exists(f"{tmp_path}/folder/file/deeper")


def test_find_is_sorted_and_stays_within_the_folder(tmp_path: Path) -> None:
    for name in ("run/b", "run/a/z", "run/a!", "run2/c"):
        storage.write_bytes(f"{tmp_path}/{name}", b"x")
    assert list(storage.find(f"{tmp_path}/run/")) == ["a!", "a/z", "b"]


def test_a_reader_sees_the_old_bytes_or_the_new_ones(tmp_path: Path) -> None:
    uri = str(tmp_path / "object")
    values = [bytes([digit]) * 300_000 for digit in range(2)]
    storage.write_bytes(uri, values[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(60):
            storage.write_bytes(uri, values[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(storage.read_bytes(uri))
    writer.join()
    assert seen <= set(values)
    assert os.listdir(tmp_path) == ["object"]


def test_a_failed_write_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "object")
    storage.write_bytes(uri, b"old")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sheep.io.storage.os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes(uri, b"new, but the process is killed before the end")
    assert storage.read_bytes(uri) == b"old"


def test_refused_access_is_a_config_error_that_names_the_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("sheep.io.storage.os.replace", refuse)
    with pytest.raises(ConfigError, match=f"writing {tmp_path}/object.*refused"):
        storage.write_bytes(f"{tmp_path}/object", b"")


def test_fingerprint_depends_on_content_and_names_only(tmp_path: Path) -> None:
    for root in ("one", "two"):
        storage.write_bytes(f"{tmp_path}/{root}/config.json", b"{}")
        storage.write_bytes(f"{tmp_path}/{root}/weights/model", b"123")
    first = storage.fingerprint(f"{tmp_path}/one")
    os.utime(tmp_path / "two" / "config.json", (1, 1))
    assert storage.fingerprint(f"{tmp_path}/two") == first
    assert len(first) == 16
    (tmp_path / "two" / "config.json").rename(tmp_path / "two" / "renamed.json")
    assert storage.fingerprint(f"{tmp_path}/two") != first
    storage.write_bytes(f"{tmp_path}/one/weights/model", b"124")
    assert storage.fingerprint(f"{tmp_path}/one") != first
    with pytest.raises(FileNotFoundError):
        storage.fingerprint(f"{tmp_path}/none")


def test_local_copy_of_a_local_path_is_the_path_itself(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/a/b", b"1")
    with storage.local_copy(f"file://{tmp_path}/a") as path:
        assert path == str(tmp_path / "a")
    assert storage.read_bytes(f"{tmp_path}/a/b") == b"1"
    with pytest.raises(FileNotFoundError), storage.local_copy(f"{tmp_path}/none"):
        pass


def test_upload_folder_keeps_the_tree(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/from/a/b", b"1")
    storage.write_bytes(f"{tmp_path}/from/c", b"22")
    storage.upload_folder(f"{tmp_path}/from", f"{tmp_path}/to")
    assert storage.find(f"{tmp_path}/to") == {"a/b": "size:1", "c": "size:2"}


def test_a_local_file_is_copied_completely_without_leftovers(tmp_path: Path) -> None:
    source = tmp_path / "from"
    source.write_bytes(b"mp4")
    storage.write_file(f"{tmp_path}/deep/er/to", str(source))
    assert storage.find(f"{tmp_path}/deep") == {"er/to": "size:3"}
    assert storage.read_bytes(f"file://{tmp_path}/deep/er/to") == b"mp4"
