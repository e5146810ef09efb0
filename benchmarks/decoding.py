"""PyAV against decord on the same files: speed, memory beside a slow consumer, and frames after a seek.

    python -m benchmarks.decoding [--frames 300] [--file FILE]

A synthetic clip is encoded as H.264, and as HEVC with open groups of pictures; `--file` measures a file of your own as
well. Rates are of full passes in turn, the best of three, each in a process of its own.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.measure import in_process, print_machine, resident_mib
from sheep.video import reader

HEIGHT_PX, WIDTH_PX = 360, 640
REPEATS = 3
BATCH = 32
GROUP = 50
"""Frames from one key frame to the next."""
HEVC = {"x265-params": f"open-gop=1:keyint={GROUP}:min-keyint={GROUP}:bframes=4:log-level=none", "preset": "fast"}
H264 = {"g": str(GROUP), "bf": "3", "preset": "fast"}

Image = NDArray[np.uint8]


def encode(path: Path, codec: str, options: dict[str, str], frames: int) -> str:
    """Write a clip in which no two frames are alike: a window that slides over blurred blocks, with noise.

    Args:
        path: file to write.
        codec: name of FFmpeg's encoder.
        options: of the encoder.
        frames: number of frames.

    Returns:
        The path.
    """
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (HEIGHT_PX // 8 + 40, WIDTH_PX // 8 + 80, 3), dtype=np.uint8)
    wide = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for number in range(frames):
            y, x = number % 320, (2 * number) % 640
            noise = rng.integers(0, 40, (HEIGHT_PX, 1, 1), dtype=np.uint8)
            image = wide[y : y + HEIGHT_PX, x : x + WIDTH_PX] // 2 + noise
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


def by_pyav(uri: str) -> Iterator[Image]:
    for frame in reader.decode(uri):
        yield frame.image


def by_pyav_ahead(uri: str) -> Iterator[Image]:
    for frame in reader.decode(uri, ahead=4):
        yield frame.image


def by_decord(uri: str) -> Iterator[Image]:
    source = decord.VideoReader(uri, num_threads=1)
    for _ in range(len(source)):
        yield source.next().asnumpy()


def by_decord_batches(uri: str) -> Iterator[Image]:
    source = decord.VideoReader(uri, num_threads=1)
    for start in range(0, len(source), BATCH):
        yield from source.get_batch(list(range(start, min(start + BATCH, len(source))))).asnumpy()


OURS = "PyAV (ours)"
READERS: dict[str, Callable[[str], Iterator[Image]]] = {
    OURS: by_pyav,
    "PyAV, 4 frames ahead": by_pyav_ahead,
    "decord, next": by_decord,
    f"decord, get_batch({BATCH})": by_decord_batches,
}


def one_pass(name: str, uri: str, work_s: float) -> tuple[int, float, float]:
    """Read a file once.

    Args:
        name: one of READERS.
        uri: the file.
        work_s: time spent on each frame by a computation that releases the interpreter lock, as a network's does [s].

    Returns:
        Frames, seconds, and growth of the process's peak memory since the third frame [MiB].
    """
    matrix = np.ones((256, 256), np.float32)
    count, before, started = 0, 0.0, time.perf_counter()
    for image in READERS[name](uri):
        count += 1
        if count == 3:
            before = resident_mib("VmHWM")
        assert image.shape[2] == 3
        until = time.perf_counter() + work_s
        while time.perf_counter() < until:
            matrix @ matrix
    return count, time.perf_counter() - started, resident_mib("VmHWM") - before


def speed(uri: str) -> None:
    """Print the best rate of each reader."""
    print(f"  {'reader':26}{'frames/s':>10}{'relative':>10}")
    best = dict.fromkeys(READERS, 0.0)
    for _ in range(REPEATS):
        for name in READERS:
            count, seconds, _ = in_process(one_pass, name, uri, 0.0)
            best[name] = max(best[name], count / seconds)
    for name, rate in best.items():
        print(f"  {name:26}{rate:10.0f}{rate / best[OURS]:10.2f}")


def slow_consumer(uri: str, work_s: float) -> None:
    """Print time and memory of each reader beside work on every frame.

    Args:
        uri: the file.
        work_s: work per frame [s].
    """
    title = f"beside {1000 * work_s:.0f} ms of work a frame"
    print(f"  {title:26}{'seconds':>10}{'relative':>10}{'growth [MiB]':>14}")
    passes = {name: in_process(one_pass, name, uri, work_s) for name in READERS}
    for name, (_, seconds, growth) in passes.items():
        print(f"  {name:26}{seconds:10.1f}{seconds / passes[OURS][1]:10.2f}{growth:14.0f}")


def seeks(uri: str, number: int = 40) -> None:
    """Compare frames read after a seek with one pass in order: PyAV continues after a mark, decord seeks by number.

    Args:
        uri: the file.
        number: random frames; key frames are added.
    """
    in_order = [(hashlib.sha256(frame.image.tobytes()).digest(), frame.mark) for frame in reader.decode(uri)]
    digests = [digest for digest, _ in in_order]
    rng = np.random.default_rng(0)
    chosen = set(rng.choice(len(in_order), min(number, len(in_order)), replace=False).tolist())
    chosen |= set(range(GROUP, len(in_order), GROUP))
    marks = {index: in_order[index - 1][1] for index in sorted(chosen) if index}
    started = time.perf_counter()
    ours = [next(iter(reader.decode(uri, after=mark))) for mark in marks.values()]
    ms = 1000 * (time.perf_counter() - started) / len(marks)
    wrong = sum(hashlib.sha256(f.image.tobytes()).digest() != digests[i] for i, f in zip(marks, ours, strict=True))
    source = decord.VideoReader(uri, num_threads=1)
    theirs = {index: hashlib.sha256(source[index].asnumpy().tobytes()).digest() for index in marks}
    wrong_decord = [index for index, digest in theirs.items() if digest != digests[index]]
    other = [index for index in wrong_decord if theirs[index] in digests]
    print(f"  {len(marks)} seeks: PyAV from a mark, {wrong} wrong frames, {ms:.0f} ms each")
    print(f"    decord by number, {len(wrong_decord)} wrong frames, of which other frames of the video: {other}")


def main(frames: int = 300, file: str = "") -> None:
    """Measure and print.

    Args:
        frames: of the synthetic clip.
        file: a local file to measure as well; empty for none.
    """
    print_machine("av", "decord")
    with tempfile.TemporaryDirectory(prefix="sheep-bench-") as folder:
        h264 = encode(Path(folder) / "h264.mp4", "libx264", H264, frames)
        hevc = encode(Path(folder) / "hevc.mp4", "libx265", HEVC, frames)
        for title, uri in (("H.264", h264), ("HEVC, open groups", hevc), *([(file, file)] if file else [])):
            print(f"\n{title}: {frames if uri != file else 'all'} frames")
            speed(uri)
            slow_consumer(uri, 0.005)
            seeks(uri)


if __name__ == "__main__":
    tyro.cli(main)
