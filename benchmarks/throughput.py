"""The model's share of a worker's time, the cost of Ray, and whether memory stays flat.

    python -m benchmarks.throughput [--frames 60] [--videos 4]

Pocket models on synthetic videos, with one thread per process.
"""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from benchmarks.measure import exhaust, in_process, print_machine, resident_mib
from benchmarks.timed import Timed
from sheep import prompts
from sheep.config import ArchiveConfig, ClusterConfig, CropConfig, EmbedConfig, StudyConfig
from sheep.crop import codec
from sheep.crop import stage as crop_stage
from sheep.crop.job import CropJob, CropUnit, track_video
from sheep.embed import stage as embed_stage
from sheep.execution.base import Executor, Work
from sheep.execution.local import LOCAL
from sheep.io import storage
from sheep.io.manifest import Entry, Manifest
from sheep.models.dinov2 import Backbone
from sheep.models.sam2.predictor import prepare
from sheep.models.sam2.tracker import Tracker
from sheep.models.weights import open_backbone, open_tracker
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, write_archive
from sheep.synthetic.scene import SceneConfig
from sheep.video import reader

CROP = CropConfig(device="cpu")
EMBED = EmbedConfig(device="cpu")
WARM_FRAMES = 4
"""Frames processed before a measurement starts."""

Result = TypeVar("Result")


@dataclass
class Clock:
    """Adds up seconds by name."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], Result]) -> Result:
        """Do some work and add its time.

        Args:
            name: row of the table.
            work: what to time.
        """
        started = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result


def print_table(title: str, clock: Clock, count: int, unit: str, baseline: str) -> None:
    """Print seconds, rate, and speed relative to one of the rows.

    Args:
        title: of the table.
        clock: seconds of each row.
        count: items processed by each row.
        unit: name of the items.
        baseline: row whose relative speed is 1.
    """
    print(f"\n{title}; relative to: {baseline}\n  {'':36}{'seconds':>9}{unit + '/s':>12}{'relative':>10}")
    for name, seconds in clock.seconds.items():
        print(f"  {name:36}{seconds:9.2f}{count / seconds:12.1f}{clock.seconds[baseline] / seconds:10.2f}")


def study_of(archive: ArchiveConfig, out: str, executor: Executor) -> Study:
    """Make a study that crops with the pocket SAM-2.

    Args:
        archive: the videos.
        out: folder of the results.
        executor: runs the units.
    """
    return Study(StudyConfig(name="throughput", archive=archive, crop=CROP, out=out), executor)


def crop_beside_models(archive: ArchiveConfig, out: str, clock: Clock) -> Manifest:
    """Crop every video in this process, and after each one run the tracker and the image encoder alone on its frames.

    Args:
        archive: the videos.
        out: folder of the results.
        clock: times of the crop stage and of its parts are added.
    """
    tracker = open_tracker("pocket", "cpu")

    def run_units(work: Sequence[Work]) -> Iterator[Entry]:
        run_unit = work[0][0].open()
        for job, unit in work:
            assert isinstance(job, CropJob)
            assert isinstance(unit, CropUnit)
            uri = storage.join(job.videos, unit.key)
            frames = [(frame.index, frame.image) for frame in reader.decode(uri)]
            exhaust(tracker.track(frames[:WARM_FRAMES], unit.prompts))
            entry = clock.time("crop stage", partial(run_unit, unit))
            clock.time("tracker", partial(track, tracker, frames, unit))
            pixels = [prepare(image, tracker.model.image_size)[None] for _, image in frames]
            clock.time("image encoder", partial(encode, tracker, pixels))
            clock.time("decoding, once", partial(decode, uri))
            yield entry

    return crop_stage.run(study_of(archive, out, Timed(run_units)))


def track(tracker: Tracker, frames: Sequence[tuple[int, NDArray[np.uint8]]], unit: CropUnit) -> None:
    """Track a video's animals and drop the masks.

    Args:
        tracker: the network.
        frames: decoded frames with their indices.
        unit: the video and its prompts.
    """
    exhaust(tracker.track(frames, unit.prompts))


def decode(uri: str) -> None:
    """Decode a video and drop the frames."""
    exhaust(reader.decode(uri))


@torch.inference_mode()
def encode(tracker: Tracker, pixels: Iterable[torch.Tensor]) -> None:
    """Run the image encoder alone.

    Args:
        tracker: holds the network.
        pixels: prepared frames (1, 3, S, S).
    """
    for image in pixels:
        tracker.model.forward_image(image)


def embed_beside_backbone(cropped: Manifest, out: str, clock: Clock) -> None:
    """Embed every video in this process, and after each one run the backbone alone on preprocessed tensors.

    Args:
        cropped: the crop stage.
        out: folder of the embed stage.
        clock: times of the embed stage and of the backbone are added.
    """
    network = open_backbone("pocket", "cpu")

    def run_units(work: Sequence[Work]) -> Iterator[Entry]:
        run_unit = work[0][0].open()
        for _, unit in work:
            jpegs = cropped.read("crops", columns=["crop"], keys=[unit.key]).column(0).to_pylist()
            images = np.stack([codec.from_jpeg(jpeg) for jpeg in jpegs])
            batches = list(torch.split(network.preprocess(images, EMBED.image_px), EMBED.batch_size))
            forward(network, batches[:1])
            entry = clock.time("embed stage", partial(run_unit, unit))
            clock.time("backbone", partial(forward, network, batches))
            yield entry

    embed_stage.embed(cropped, {out: EMBED}, executor=Timed(run_units))


@torch.inference_mode()
def forward(network: Backbone, batches: Iterable[torch.Tensor]) -> None:
    """Run the backbone alone.

    Args:
        network: the backbone.
        batches: preprocessed images (B, 3, S, S).
    """
    for batch in batches:
        network.forward(batch)


def crop_on_ray(archive: ArchiveConfig, folder: str) -> Clock:
    """Crop all videos in one process and with 1 and 2 Ray actors; each total includes loading the model.

    Args:
        archive: the videos.
        folder: for the results, one subfolder per run.
    """
    from sheep.execution.ray.executor import RayExecutor
    from sheep.execution.ray.session import session

    clock = Clock()
    timed_crop(archive, storage.join(folder, "here"), LOCAL, "one process", clock)
    started = time.perf_counter()
    with session(ClusterConfig(crop_workers=2)):
        clock.seconds["starting Ray, once"] = time.perf_counter() - started
        for num_workers in (1, 2):
            executor = RayExecutor(ClusterConfig(crop_workers=num_workers))
            name = f"Ray, {num_workers} actor{'s'[: num_workers - 1]}"
            timed_crop(archive, storage.join(folder, f"ray{num_workers}"), executor, name, clock)
    return clock


def timed_crop(archive: ArchiveConfig, out: str, executor: Executor, name: str, clock: Clock) -> None:
    """Time a crop stage: in total, and from the moment the first worker starts its first video.

    Args:
        archive: the videos.
        out: folder of the results.
        executor: runs the units.
        name: prefix of the two rows.
        clock: both times are added.
    """
    first_start: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        # A worker marks each attempt in storage before it starts.
        while not stop.wait(0.01):
            if next(Path(out, "crop").glob("_attempts/*/*/*"), None) is not None:
                first_start.append(time.perf_counter())
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    crop_stage.run(study_of(archive, out, executor))
    ended = time.perf_counter()
    stop.set()
    watcher.join()
    clock.seconds[f"{name}, start-up included"] = ended - started
    clock.seconds[f"{name}, start-up excluded"] = ended - (first_start or [started])[0]


def tracking_memory(uri: str, unit: CropUnit, repeats: int) -> tuple[int, float, float]:
    """Track a video several times as if it were one long video; call it in a process of its own.

    Args:
        uri: the video.
        unit: its prompts.
        repeats: number of times, >= 1.

    Returns:
        Frames tracked, and the process's peak memory [MiB] after a few frames and at the end.
    """
    torch.set_num_threads(1)
    tracker = open_tracker("pocket", "cpu")
    exhaust(tracker.track(((f.index, f.image) for f in reader.decode(uri, max_frames=WARM_FRAMES)), unit.prompts))
    before = resident_mib("VmHWM")
    num_rows = sum(1 for _ in track_video(repeated(uri, repeats), tracker, unit.prompts))
    return num_rows, before, resident_mib("VmHWM")


def repeated(uri: str, repeats: int) -> Iterator[reader.Frame]:
    """Decode a video several times, with indices and times that keep rising.

    Args:
        uri: the video.
        repeats: number of times.
    """
    first, first_s = 0, 0.0
    for _ in range(repeats):
        frame = None
        for frame in reader.decode(uri):
            yield reader.Frame(first + frame.index, first_s + frame.time_s, frame.image)
        if frame is not None:
            first, first_s = first + frame.index + 1, first_s + frame.time_s + 0.1


def memory(uri: str, unit: CropUnit) -> None:
    """Print the memory of tracking over the length of the video.

    Args:
        uri: the video.
        unit: its prompts.
    """
    header = f"{'frames':>8}{'loaded [MiB]':>14}{'peak [MiB]':>12}{'growth [MiB]':>14}"
    print(f"\nMemory of tracking one animal\n  {header}")
    growths = []
    for repeats in (1, 4):
        num_frames, before, peak = in_process(tracking_memory, uri, unit, repeats)
        growths.append((num_frames, peak - before))
        print(f"  {num_frames:8}{before:14.0f}{peak:12.0f}{peak - before:14.1f}")
    for (few, less), (many, more) in pairwise(growths):
        print(f"  slope: {1024 * (more - less) / (many - few):.1f} KiB a frame between {few} and {many} frames")


def first_unit(archive: ArchiveConfig) -> tuple[str, CropUnit]:
    """Return the URI of the first video and its unit, as the crop stage lists them."""
    text = storage.read_bytes(storage.join(archive.root, archive.prompts)).decode()
    prompt = prompts.parse(text, name=archive.prompts)[0]
    uri = storage.join(archive.root, archive.videos, prompt.video)
    return uri, CropUnit(key=prompt.video, input="", source="", prompts=(prompt,))


def main(frames: int = 60, videos: int = 4) -> None:
    """Measure and print.

    Args:
        frames: of each video; 60 take about two minutes on two idle cores.
        videos: even, at least 4.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("sheep").setLevel(logging.WARNING)
    print_machine("torch", settings=f"1 thread per process, {videos} videos of {frames} frames")
    with tempfile.TemporaryDirectory(prefix="sheep-bench-") as folder:
        root = storage.join(folder, "archive")
        scene = SceneConfig(num_frames=frames)
        write_archive(MeadowConfig(num_animals=videos, videos_per_animal=1, num_annotated=2, scene=scene), root)
        archive = ArchiveConfig(root=root)
        clock = Clock()
        cropped = crop_beside_models(archive, storage.join(folder, "beside"), clock)
        print_table("One process, cropping", clock, cropped.rows("crops"), "frames", "tracker")
        clock = Clock()
        embed_beside_backbone(cropped, storage.join(folder, "embed"), clock)
        print_table("One process, embedding", clock, cropped.rows("crops"), "images", "backbone")
        clock = crop_on_ray(archive, storage.join(folder, "ray"))
        start_s = clock.seconds.pop("starting Ray, once")
        print_table("Cropping with Ray", clock, cropped.rows("crops"), "frames", "one process, start-up excluded")
        print(f"  starting Ray took {start_s:.1f} s once, which is in none of the rows")
        memory(*first_unit(archive))


if __name__ == "__main__":
    tyro.cli(main)
