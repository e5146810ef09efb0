"""PyAV against decord on the same files: speed, memory beside a slow reader, and frames after a jump.

    python -m benchmarks.decoding [--frames 300] [--file FILE]

A drawn clip is encoded as H.264 and as HEVC with open groups of pictures; --file measures a file of your own besides. Rates
are of whole passes in turn, the best of three, each in a process of its own. Nothing is asserted.
"""

import hashlib
import multiprocessing
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np
import tyro

from sheep.video import reader

HEIGHT_PX, WIDTH_PX = 360, 640
REPEATS = 3
BATCH = 32
HEVC = {"x265-params": "open-gop=1:keyint=50:min-keyint=50:bframes=4:log-level=none", "preset": "fast"}
H264 = {"g": "50", "bf": "3", "preset": "fast"}


def encode(path: Path, codec: str, options: dict[str, str], frames: int) -> str:
    """A window that slides over blurred blocks, with noise: no picture like another."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (HEIGHT_PX // 8 + 40, WIDTH_PX // 8 + 80, 3), dtype=np.uint8)
    wide = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for number in range(frames):
            y, x = number % 320, (2 * number) % 640
            image = wide[y : y + HEIGHT_PX, x : x + WIDTH_PX] // 2 + rng.integers(
                0, 40, (HEIGHT_PX, 1, 1), dtype=np.uint8
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


def by_pyav(uri: str) -> Iterator[np.ndarray]:
    for frame in reader.decode(uri):
        yield frame.image


def by_pyav_ahead(uri: str) -> Iterator[np.ndarray]:
    for frame in reader.decode(uri, ahead=4):
        yield frame.image


def by_decord(uri: str) -> Iterator[np.ndarray]:
    source = decord.VideoReader(uri, num_threads=1)
    for _ in range(len(source)):
        yield source.next().asnumpy()


def by_decord_batches(uri: str) -> Iterator[np.ndarray]:
    source = decord.VideoReader(uri, num_threads=1)
    for start in range(0, len(source), BATCH):
        yield from source.get_batch(list(range(start, min(start + BATCH, len(source))))).asnumpy()


READERS: dict[str, Callable[[str], Iterator[np.ndarray]]] = {
    "PyAV (ours)": by_pyav,
    "PyAV, 4 frames ahead": by_pyav_ahead,
    "decord, next": by_decord,
    f"decord, get_batch({BATCH})": by_decord_batches,
}


def one_pass(name: str, uri: str, work_s: float) -> tuple[int, float, float]:
    """Frames, seconds, and growth of the process's peak memory over what it was at the third frame [MiB].

    `work_s` is spent on each frame by a computation that leaves the interpreter free, as a network's does.
    """
    matrix = np.ones((256, 256), np.float32)
    count, before, started = 0, 0.0, time.perf_counter()
    for image in READERS[name](uri):
        count += 1
        if count == 3:
            before = high_water_mib()
        assert image.shape[2] == 3
        until = time.perf_counter() + work_s
        while time.perf_counter() < until:
            matrix @ matrix
    return count, time.perf_counter() - started, high_water_mib() - before


def high_water_mib() -> float:
    """Peak resident memory of this process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "no VmHWM in /proc/self/status: this needs Linux"
    return int(found[1]) / 1024


def alone(name: str, uri: str, work_s: float) -> tuple[int, float, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(one_pass, name, uri, work_s).result()


def speed(uri: str) -> None:
    print(f"  {'reader':26}{'frames/s':>10}{'relative':>10}")
    best = dict.fromkeys(READERS, 0.0)
    for _ in range(REPEATS):
        for name in READERS:
            count, seconds, _ = alone(name, uri, 0.0)
            best[name] = max(best[name], count / seconds)
    for name, rate in best.items():
        print(f"  {name:26}{rate:10.0f}{rate / best['PyAV (ours)']:10.2f}")


def slow_reader(uri: str, work_s: float) -> None:
    print(
        f"  {'beside ' + format(1000 * work_s, '.0f') + ' ms of work a frame':26}{'seconds':>10}{'relative':>10}{'growth [MiB]':>14}"
    )
    found = {name: alone(name, uri, work_s) for name in READERS}
    for name, (_, seconds, growth) in found.items():
        print(f"  {name:26}{seconds:10.1f}{seconds / found['PyAV (ours)'][1]:10.2f}{growth:14.0f}")


def jumps(uri: str, number: int = 40) -> None:
    """Frames asked for by number, or gone on to from a mark, against one pass in order."""
    passed = [(hashlib.sha256(frame.image.tobytes()).digest(), frame.mark) for frame in reader.decode(uri)]
    digests = [digest for digest, _ in passed]
    chosen = set(np.random.default_rng(0).choice(len(passed), min(number, len(passed)), replace=False).tolist())
    chosen |= set(range(50, len(passed), 50))  # key frames of what is drawn here
    marks = {index: passed[index - 1][1] for index in sorted(chosen) if index}
    started = time.perf_counter()
    ours = [next(iter(reader.decode(uri, after=mark))) for mark in marks.values()]
    seconds = time.perf_counter() - started
    wrong = sum(hashlib.sha256(f.image.tobytes()).digest() != digests[i] for i, f in zip(marks, ours, strict=True))
    source = decord.VideoReader(uri, num_threads=1)
    got = {index: hashlib.sha256(source[index].asnumpy().tobytes()).digest() for index in marks}
    astray = [index for index, digest in got.items() if digest != digests[index]]
    other = [index for index in astray if got[index] in digests]
    print(f"  {len(marks)} jumps: PyAV from a mark, {wrong} wrong frames, {1000 * seconds / len(marks):.0f} ms each")
    print(
        f"  {'':{len(str(len(marks)))}}        decord by number, {len(astray)} wrong frames, {len(other)} of them another frame of the video: {other}"
    )


def main(frames: int = 300, file: str = "") -> None:
    """Measure and print.

    Args:
        frames: of the drawn clip.
        file: a local file to measure besides; empty for none.
    """
    load = os.getloadavg()[0]
    print(
        f"{platform.platform()}, Python {platform.python_version()}, PyAV {av.__version__}, {os.cpu_count()} cores, load {load:.1f} before"
    )
    if load > 0.5:
        print("Something else is running: the figures below are of a busy machine.")
    with tempfile.TemporaryDirectory(prefix="sheep-bench-") as folder:
        h264 = encode(Path(folder) / "h264.mp4", "libx264", H264, frames)
        hevc = encode(Path(folder) / "hevc.mp4", "libx265", HEVC, frames)
        for title, uri in (("H.264", h264), ("HEVC, open groups", hevc), *([(file, file)] if file else [])):
            print(f"\n{title}: {frames if uri != file else 'all'} frames")
            speed(uri)
            slow_reader(uri, 0.005)
            jumps(uri)


if __name__ == "__main__":
    tyro.cli(main)
