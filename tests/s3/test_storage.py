"""Storage on a real S3 server."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from sheep.errors import ConfigError
from sheep.io import storage


@pytest.fixture
def bucket(s3: Any) -> str:
    uri: str = s3.bucket()
    return uri


@pytest.fixture
def changed_env(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Connections are kept by their arguments, not by the environment: start without any, and leave none behind."""
    S3FileSystem.clear_instance_cache()
    yield monkeypatch
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "key",
    ["plain", "deep/er/file.bin", "with space", "100%", "%20", "a+b", "Sch\u00e4fchen/k\u00e4se&brot=1", "#1", "[a]"],
)
def test_round_trip_by_uri(s3: Any, bucket: str, key: str) -> None:
    uri = storage.join(bucket, "run", key)
    storage.write_bytes(uri, b"\0\xff" + key.encode())
    assert storage.read_bytes(uri) == b"\0\xff" + key.encode()
    assert storage.exists(uri)
    assert storage.find(storage.join(bucket, "run")) == {key: storage.identity(uri)}
    # The key is the one that any other client sees.
    listed = s3.client().list_objects_v2(Bucket=bucket.removeprefix("s3://"))["Contents"]
    assert [item["Key"] for item in listed] == [f"run/{key}"]
    storage.remove(uri)
    storage.remove(uri)
    assert not storage.exists(uri)


@pytest.mark.parametrize("size", [0, 100, 60_000_000])  # s3fs cuts objects above 50 MB into pieces
def test_a_file_larger_than_one_piece_arrives_whole(bucket: str, tmp_path: Path, size: int) -> None:
    local = tmp_path / "preview.mp4"
    local.write_bytes(b"0123456789" * (size // 10))
    storage.write_file(f"{bucket}/parts/preview.mp4", str(local))
    assert storage.read_bytes(f"{bucket}/parts/preview.mp4") == local.read_bytes()
    with pytest.raises(ConfigError, match="expected a bucket"):
        storage.write_file("s3://sheep-nowhere-at-all/preview.mp4", str(local))


def test_size_and_age(bucket: str) -> None:
    storage.write_bytes(f"{bucket}/a", b"one")
    size, age_s = storage.size_and_age(f"{bucket}/a")
    assert size == 3
    assert -2 < age_s < 60  # S3 gives whole seconds
    with pytest.raises(FileNotFoundError):
        storage.size_and_age(f"{bucket}/b")


def test_identity_is_the_etag(s3: Any, bucket: str) -> None:
    storage.write_bytes(f"{bucket}/a", b"one")
    head = s3.client().head_object(Bucket=bucket.removeprefix("s3://"), Key="a")
    assert storage.identity(f"{bucket}/a") == "etag:" + head["ETag"].strip('"')
    before = storage.identity(f"{bucket}/a")
    storage.write_bytes(f"{bucket}/a", b"two")  # of the same length
    assert storage.identity(f"{bucket}/a") != before
    storage.write_bytes(f"{bucket}/a", b"one")
    assert storage.identity(f"{bucket}/a") == before


def test_overwriting_is_whole_and_seen_at_once(bucket: str) -> None:
    for size in (2_000_000, 5, 0, 1_000_000):
        storage.write_bytes(f"{bucket}/a", b"x" * size)
        assert len(storage.read_bytes(f"{bucket}/a")) == size
        assert list(storage.find(bucket)) == ["a"]


def test_an_object_in_several_parts(bucket: str) -> None:
    data = bytes(range(256)) * (60 * 2**20 // 256)  # above s3fs's part size of 50 MiB
    storage.write_bytes(f"{bucket}/large", data)
    assert storage.read_bytes(f"{bucket}/large") == data
    assert storage.identity(f"{bucket}/large") == storage.find(bucket)["large"]


def test_find_stays_within_the_folder_and_sees_what_others_write(s3: Any, bucket: str) -> None:
    for name in ("run/b", "run/a/z", "run2/c"):
        storage.write_bytes(f"{bucket}/{name}", b"x")
    assert list(storage.find(f"{bucket}/run")) == ["a/z", "b"]
    s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key="run/by another", Body=b"x")
    assert list(storage.find(f"{bucket}/run/")) == ["a/z", "b", "by another"]
    assert storage.find(f"{bucket}/none") == {}
    assert not storage.exists(f"{bucket}/run")  # a folder is not an object


def test_find_lists_more_than_a_page(s3: Any, bucket: str) -> None:
    fs, path = storage.filesystem(bucket)
    names = [f"many/{number:04d}" for number in range(1_050)]  # S3 lists 1,000 at a time
    fs.pipe({f"{path}/{name}": b"" for name in names})
    assert [f"many/{name}" for name in storage.find(f"{bucket}/many")] == names


def test_folders_go_up_and_come_down(bucket: str, tmp_path: Path) -> None:
    for name in ("config.json", "deep/model.safetensors"):
        storage.write_bytes(f"{tmp_path}/{name}", name.encode())
    storage.upload_folder(str(tmp_path), f"{bucket}/backbone")
    assert storage.fingerprint(f"{bucket}/backbone") == storage.fingerprint(str(tmp_path))
    with storage.local_copy(f"{bucket}/backbone") as path:
        assert Path(path, "deep/model.safetensors").read_bytes() == b"deep/model.safetensors"
        kept = path
    assert not Path(kept).exists()
    with storage.local_copy(f"{bucket}/backbone/config.json") as path:
        assert Path(path).name == "config.json"
        assert Path(path).read_bytes() == b"config.json"
    with pytest.raises(FileNotFoundError), storage.local_copy(f"{bucket}/none"):
        pass


def everything(uri: str) -> list[Any]:
    return [
        lambda: storage.write_bytes(uri, b""),
        lambda: storage.read_bytes(uri),
        lambda: storage.exists(uri),
        lambda: storage.find(uri),
        lambda: storage.identity(uri),
        lambda: storage.remove(uri),
    ]


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_named(bucket: str, changed_env: pytest.MonkeyPatch, name: str) -> None:
    storage.write_bytes(f"{bucket}/a", b"")
    S3FileSystem.clear_instance_cache()
    changed_env.setenv(name, "wrong")
    for action in everything(f"{bucket}/a"):
        with pytest.raises(ConfigError, match=f"{bucket}/a: access refused .*{name}"):
            action()


def test_no_credentials(bucket: str, changed_env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        changed_env.delenv(name)
    changed_env.setenv("HOME", str(tmp_path))  # no ~/.aws either
    with pytest.raises(ConfigError, match="locate credentials"):
        storage.read_bytes(f"{bucket}/a")


def test_a_missing_bucket(s3: Any) -> None:
    uri = "s3://sheep-no-such-bucket/run/a"
    with pytest.raises(ConfigError, match=f"writing {uri}.*bucket"):
        storage.write_bytes(uri, b"")
    with pytest.raises(FileNotFoundError, match="bucket"):
        storage.read_bytes(uri)
    assert not storage.exists(uri)


def test_a_closed_endpoint_is_told_soon(bucket: str, changed_env: pytest.MonkeyPatch) -> None:
    changed_env.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9.*AWS_ENDPOINT_URL_S3"):
        storage.exists(f"{bucket}/a")
    # Four tries, with up to 1 + 2 + 4 s between them, if a broken connection is met at each of them.
    assert time.monotonic() - begun < 30
