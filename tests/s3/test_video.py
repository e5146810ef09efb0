"""Videos on a real S3 server: read by range, in bounded memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3fs.core import S3File

from sheep.errors import ConfigError
from sheep.io import storage
from sheep.video import decoding, reader
from sheep.video.archive import listing
from tests.unit.video.video_files import write


def test_a_large_object_is_read_in_ranges_and_never_whole(s3: Any, tmp_path: Path, monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (512, 512, 3), dtype=np.uint8) for _ in range(60)]
    local = write(tmp_path / "a.avi", images, codec="mjpeg", pix_fmt="yuvj444p", options={"qmin": "1", "qmax": "1"})
    data = Path(local).read_bytes()
    del images
    assert len(data) > 6 * decoding.BLOCK_BYTES
    uri = f"{s3.bucket()}/a.avi"
    storage.write_bytes(uri, data)
    size = len(data)
    del data
    asked: list[int] = []
    original = S3File._fetch_range

    def counted(self: S3File, start: int, end: int) -> bytes:
        asked.append(end - start)
        return original(self, start, end)

    monkeypatch.setattr(S3File, "_fetch_range", counted)
    tracemalloc.start()
    count = sum(1 for _ in reader.decode(uri, ahead=2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 60
    assert max(asked) < 2 * decoding.BLOCK_BYTES
    assert sum(asked) < 1.5 * size  # the header and the index at the end are read separately
    assert peak < 4 * decoding.BLOCK_BYTES < size


def test_odd_keys_are_read_or_refused_by_name(s3: Any, tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2)).read_bytes()
    bucket = s3.bucket()
    odd = ("a::b.mp4", "pen?5.mp4", "50%.mp4", "pen#4.mp4", "it's.mp4", "{e}*.mp4")
    for name in (*odd, "what?versionId=3.mp4"):
        s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=f"videos/{name}", Body=data)
    assert list(reader.find(f"{bucket}/videos")) == sorted(odd)
    assert {reader.size_px(f"{bucket}/videos/{name}") for name in odd} == {(16, 16)}
    assert list(listing(f"{bucket}/videos").left_out) == ["what?versionId=3.mp4"]
    with pytest.raises(ConfigError, match="versionId"):
        reader.size_px(f"{bucket}/videos/what?versionId=3.mp4")
