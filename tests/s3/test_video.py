"""Videos on a real S3 server: read by range, in bounded memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from s3fs.core import S3File

from sheep.io import storage
from sheep.video import decoding, reader
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
