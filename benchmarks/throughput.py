"""How much of a worker's time is the model's, what Ray costs, and whether memory stays flat.

    python -m benchmarks.throughput [--frames 60] [--videos 4]

Pocket models on drawn videos, one thread per process. Figures are ratios of things measured in turn in this run; on another
machine, with larger models or beside other work they differ. Nothing is asserted.
"""

import logging
import multiprocessing
import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import tyro

from sheep.config import ArchiveConfig, ClusterConfig, CropConfig, EmbedConfig
from sheep.crop import codec
from sheep.crop import stage as crop_stage
from sheep.crop.job import CropJob, open_tracker, track_video
from sheep.embed import stage as embed_stage
from sheep.execution import local
from sheep.execution.base import Carry, Unit, Work
from sheep.io import storage
from sheep.io.ledger import Entry, Manifest
from sheep.models.dinov2 import Backbone
from sheep.models.sam2.predictor import prepare
from sheep.models.sam2.tracker import Tracker
from sheep.models.weights import open_backbone
from sheep.synthetic.archive import MeadowConfig, write_archive
from sheep.synthetic.scene import SceneConfig
from sheep.video import reader

CROP = CropConfig(device="cpu")
EMBED = EmbedConfig(device="cpu")
WARM_FRAMES = 4


Result = TypeVar("Result")


@dataclass
class Clock:
    """Sums seconds by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], Result]) -> Result:
        """Do some work and add its time."""
        started = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result


def table(title: str, clock: Clock, count: int, unit: str, baseline: str) -> None:
    """Print seconds, rate, and speed relative to one of the rows."""
    print(f"\n{title}; relative to: {baseline}\n  {'':36}{'seconds':>9}{unit + '/s':>12}{'relative':>10}")
    for name, seconds in clock.seconds.items():
        print(f"  {name:36}{seconds:9.2f}{count / seconds:12.1f}{clock.seconds[baseline] / seconds:10.2f}")


def crop_beside_models(archive: ArchiveConfig, out: str, clock: Clock) -> Manifest:
    """Crop every video in this process, and after each one run tracker and encoder alone on its frames."""
    tracker = open_tracker("pocket", "cpu")

    def carry(work: Sequence[Work]) -> Iterator[Entry]:
        do = work[0][0].open()
        for job, unit in work:
            assert isinstance(job, CropJob)
            uri = storage.join(job.videos, unit.key)
            frames = [(frame.index, frame.image) for frame in reader.decode(uri)]
            exhaust(tracker.track(frames[:WARM_FRAMES], unit.prompts))
            entry = clock.time("crop stage", partial(do, unit))
            clock.time("tracker", partial(exhaust_track, tracker, frames, unit))
            pixels = [prepare(image, tracker.model.image_size)[None] for _, image in frames]
            clock.time("image encoder", partial(encode, tracker, pixels))
            clock.time("decoding, once", partial(exhaust_decoding, uri))
            yield entry

    return crop_stage.crop(archive, CROP, out, carry=carry)


@torch.inference_mode()
def encode(tracker: Tracker, pixels: Iterable[torch.Tensor]) -> None:
    for image in pixels:
        tracker.model.forward_image(image)


def embed_beside_backbone(cropped: Manifest, out: str, clock: Clock) -> None:
    """Embed every video in this process, and after each one run the backbone alone on tensors that are ready."""
    network = open_backbone("pocket", "cpu")

    def carry(work: Sequence[Work]) -> Iterator[Entry]:
        do = work[0][0].open()
        for _, unit in work:
            jpegs = cropped.read("crops", columns=["crop"], keys=[unit.key]).column(0).to_pylist()
            images = np.stack([codec.from_jpeg(jpeg) for jpeg in jpegs])
            batches = list(torch.split(network.preprocess(images, EMBED.image_px), EMBED.batch_size))
            forward(network, batches[:1])
            entry = clock.time("embed stage", partial(do, unit))
            clock.time("backbone", partial(forward, network, batches))
            yield entry

    embed_stage.embed(cropped, {out: EMBED}, carry=carry)


@torch.inference_mode()
def forward(network: Backbone, batches: Iterable[torch.Tensor]) -> None:
    for batch in batches:
        network.forward(batch)


def crop_on_ray(archive: ArchiveConfig, folder: str) -> Clock:
    """Crop all videos in one process and by 1 and 2 actors; each total includes loading the model."""
    from sheep.execution.ray.data import carry_over
    from sheep.execution.ray.session import session

    clock = Clock()
    timed_crop(archive, storage.join(folder, "here"), local.in_process, "one process", clock)
    cluster = ClusterConfig(crop_workers=2)
    started = time.perf_counter()
    with session(cluster):
        clock.seconds["starting Ray, once"] = time.perf_counter() - started
        for num_workers in (1, 2):
            carry = carry_over(ClusterConfig(crop_workers=num_workers))
            name = f"Ray, {num_workers} actor{'s'[: num_workers - 1]}"
            timed_crop(archive, storage.join(folder, f"ray{num_workers}"), carry, name, clock)
    return clock


def timed_crop(archive: ArchiveConfig, out: str, carry: Carry, name: str, clock: Clock) -> None:
    """Time a crop stage, whole and from the moment when the first worker has begun its first video."""
    begun: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            if next(Path(out).glob("_attempts/*/*/*"), None) is not None:
                begun.append(time.perf_counter())
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    crop_stage.crop(archive, CROP, out, carry=carry)
    ended = time.perf_counter()
    stop.set()
    watcher.join()
    clock.seconds[f"{name}, start-up included"] = ended - started
    clock.seconds[f"{name}, start-up excluded"] = ended - (begun or [started])[0]


def peak_mib(uri: str, unit: Unit, repeats: int) -> tuple[int, float, float]:
    """Track a video over and over as if it were one long one; in a process of its own.

    Returns:
        Frames tracked, and the process's peak memory [MiB] after a few frames and at the end.
    """
    torch.set_num_threads(1)
    tracker = open_tracker("pocket", "cpu")
    exhaust(tracker.track(((f.index, f.image) for f in reader.decode(uri, max_frames=WARM_FRAMES)), unit.prompts))
    before = high_water_mib()
    num_rows = sum(1 for _ in track_video(repeated(uri, repeats), tracker, unit.prompts))
    return num_rows, before, high_water_mib()


def repeated(uri: str, repeats: int) -> Iterator[reader.Frame]:
    first, first_s = 0, 0.0
    for _ in range(repeats):
        frame = None
        for frame in reader.decode(uri):
            yield reader.Frame(first + frame.index, first_s + frame.time_s, frame.image)
        if frame is not None:
            first, first_s = first + frame.index + 1, first_s + frame.time_s + 0.1


def high_water_mib() -> float:
    """Peak resident memory of this process. Not getrusage, whose figure a process inherits from the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "no VmHWM in /proc/self/status: this needs Linux"
    return int(found[1]) / 1024


def memory(uri: str, unit: Unit) -> None:
    print(f"\nMemory of tracking one animal\n  {'frames':>8}{'loaded [MiB]':>14}{'peak [MiB]':>12}{'growth [MiB]':>14}")
    growths = []
    for repeats in (1, 4):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            num_frames, before, peak = pool.submit(peak_mib, uri, unit, repeats).result()
        growths.append((num_frames, peak - before))
        print(f"  {num_frames:8}{before:14.0f}{peak:12.0f}{peak - before:14.1f}")
    for (few, less), (many, more) in pairwise(growths):
        print(f"  slope: {1024 * (more - less) / (many - few):.1f} KiB a frame between {few} and {many} frames")


def exhaust_track(tracker: Tracker, frames: Sequence[tuple[int, np.ndarray]], unit: Unit) -> None:
    exhaust(tracker.track(frames, unit.prompts))


def exhaust_decoding(uri: str) -> None:
    exhaust(reader.decode(uri))


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def main(frames: int = 60, videos: int = 4) -> None:
    """Measure and print.

    Args:
        frames: of each video; about two minutes at 60 on two quiet cores.
        videos: even, at least 4.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("sheep").setLevel(logging.WARNING)
    load = os.getloadavg()[0]
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}")
    print(f"{os.cpu_count()} cores, 1 thread per process, load {load:.1f} before; {videos} videos of {frames} frames")
    if load > 0.5:
        print("Something else is running: the figures below are of a busy machine.")
    with tempfile.TemporaryDirectory(prefix="sheep-bench-") as folder:
        root = storage.join(folder, "archive")
        scene = SceneConfig(num_frames=frames)
        write_archive(MeadowConfig(num_animals=videos, videos_per_animal=1, num_annotated=2, scene=scene), root)
        archive = ArchiveConfig(root=root)
        clock = Clock()
        cropped = crop_beside_models(archive, storage.join(folder, "crop"), clock)
        table("One process, cropping", clock, cropped.rows("crops"), "frames", "tracker")
        clock = Clock()
        embed_beside_backbone(cropped, storage.join(folder, "embed"), clock)
        table("One process, embedding", clock, cropped.rows("crops"), "images", "backbone")
        clock = crop_on_ray(archive, storage.join(folder, "ray"))
        starting = clock.seconds.pop("starting Ray, once")
        table("Cropping through Ray", clock, cropped.rows("crops"), "frames", "one process, start-up excluded")
        print(f"  starting Ray took {starting:.1f} s, once, in none of the rows")
        memory(*first_unit(archive))


def first_unit(archive: ArchiveConfig) -> tuple[str, Unit]:
    """The first video and its unit, as the crop stage lists them."""
    from sheep import prompts

    text = storage.read_bytes(storage.join(archive.root, archive.prompts)).decode()
    prompt = prompts.parse(text, name=archive.prompts)[0]
    uri = storage.join(archive.root, archive.videos, prompt.video)
    return uri, Unit(key=prompt.video, input="", prompts=(prompt,))


if __name__ == "__main__":
    tyro.cli(main)
