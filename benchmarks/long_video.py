"""A long video through the crop job: is memory flat, and do two killed workers leave the bytes of an uninterrupted run?

    python -m benchmarks.long_video [--frames 9000] [--folder FOLDER]

A synthetic clip of 5 frames/s is repeated forwards and backwards until it is long enough (9,000 frames are 30 minutes).
`python -m jobs.crop` tracks its sheep with the pocket SAM-2 and one worker, twice: uninterrupted, and with the worker
killed (SIGKILL) in the middle of tracking and in the middle of cutting. Prints the worker's resident memory during the
run and whether all files are equal. Linux only.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from sheep.io import storage
from sheep.io.manifest import Manifest, read_manifest
from sheep.synthetic.archive import Clip, MeadowConfig, encode, write_clip
from sheep.synthetic.scene import SceneConfig
from sheep.video.reader import decode

SHARES = (0.1, 0.5, 1.0)
"""Shares of each pass at which memory is measured."""
DEATHS = {"track": 0.45, "cut": 0.55}
"""Share of each pass after which the worker is killed."""
NUM_PARTS = 40
FPS_HZ = 5.0


def write_video(frames: int, root: str) -> None:
    """Render a clip of 20 s, and write it forwards and backwards as one long video with its prompt."""
    config = MeadowConfig(seed=8, scene=SceneConfig(num_frames=100, num_others=(1, 1), fps_hz=FPS_HZ))
    clip = Clip(name="clip", animal="ewe", group="control", annotated=False, standing_frac=0.5)
    prompt = write_clip(config, clip, storage.join(root, "drawn"))
    images = [frame.image for frame in decode(storage.join(root, "drawn", "videos", "clip.mp4"))]
    storage.write_bytes(storage.join(root, "videos", "long.mp4"), encode(to_and_fro(images, frames), FPS_HZ))
    header = "video,animal,frame,kind,x,y,x0,y0,x1,y1"
    row = ",".join(str(value) for value in ("long.mp4", *prompt[1:]))
    storage.write_bytes(storage.join(root, "prompts.csv"), f"{header}\n{row}\n".encode())


def to_and_fro(images: list[NDArray[np.uint8]], frames: int) -> Iterator[NDArray[np.uint8]]:
    round_trip = [*images, *images[-2:0:-1]]
    return (round_trip[number % len(round_trip)] for number in range(frames))


class Run:
    """One crop job in a process of its own, watched from outside."""

    def __init__(self, root: str, out: str, frames: int, deaths: dict[str, float]) -> None:
        self.out, self.frames, self.deaths = out, frames, dict(deaths)
        self.rss_mib: dict[tuple[str, float], float] = {}
        self.seconds = 0.0
        self.peak_mib = 0.0
        self._killed: list[int] = []
        size = ["--crop.advanced.rows-per-part", str(max(1, frames // NUM_PARTS)), "--crop.device", "cpu"]
        where = ["--archive.root", root, "--out", out, "--cluster.crop-workers", "1"]
        self._command = [sys.executable, "-m", "jobs.crop", "meadow", *where, *size]

    def go(self, log: str) -> Manifest:
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        started = time.monotonic()
        with open(log, "wb") as file:
            process = subprocess.Popen(self._command, env=environment, stdout=file, stderr=subprocess.STDOUT)
            while process.poll() is None:
                self._look(process.pid)
                time.sleep(0.2)
        self.seconds = time.monotonic() - started
        if process.returncode:
            sys.exit(f"{' '.join(self._command)} ended with {process.returncode}:\n{Path(log).read_text()[-2000:]}")
        return read_manifest(storage.join(self.out, "crop"))

    def _look(self, job: int) -> None:
        worker = worker_of(job)
        if worker is None or worker in self._killed:
            return
        rss = status_mib(worker, "VmRSS")
        self.peak_mib = max(self.peak_mib, rss)
        for name, done in self._done().items():
            for share in SHARES:
                if done >= share and (name, share) not in self.rss_mib:
                    self.rss_mib[name, share] = rss
            if self.deaths.get(name, 2.0) <= done:
                del self.deaths[name]
                self._killed.append(worker)
                os.kill(worker, signal.SIGKILL)
                print(f"  killed the worker, pid {worker}, with {done:.0%} of its checkpoints in pass {name!r}")

    def _done(self) -> dict[str, float]:
        """Share of each pass that is behind a checkpoint."""
        for file in Path(self.out, "crop", "_progress").glob("*.json"):
            values = json.loads(file.read_text())
            tracked = sum(one["part"]["rows"] for one in values["tracked"])
            cut = sum(part["rows"] for part in values["cropped"])
            return {"track": tracked / self.frames, "cut": cut / self.frames}
        return {}


def worker_of(job: int) -> int | None:
    """Process id of the actor that crops, among a job's descendants."""
    parents: dict[int, int] = {}
    actors = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(folder.name)] = int(stat.rsplit(")", 1)[1].split()[1])
        if command.startswith(b"ray::") and b"_Actor" in command:
            actors.append(int(folder.name))
    return next((actor for actor in actors if descends(actor, job, parents.get)), None)


def descends(process: int | None, ancestor: int, parent: Callable[[int], int | None]) -> bool:
    while process and process != ancestor:
        process = parent(process)
    return process == ancestor


def status_mib(process: int, field: str) -> float:
    try:
        found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def held(manifest: Manifest) -> list[tuple[str, int, str]]:
    """Every file of the video: table, rows, digest of its bytes."""
    return [(part.table, part.rows, part.sha256) for entry in manifest.entries for part in entry.parts]


def main(frames: int = 9000, folder: str = "") -> None:
    """Measure and print.

    Args:
        frames: of the video; 9,000 take about 10 minutes a run on one quiet core.
        folder: where video, output and logs go; empty for a temporary one.
    """
    with tempfile.TemporaryDirectory(prefix="sheep-long-") as temporary:
        root = folder or temporary
        if not storage.exists(storage.join(root, "prompts.csv")):
            write_video(frames, root)
        print(f"{frames} frames, {frames / FPS_HZ / 60:.1f} min at {FPS_HZ:g} frames/s, {os.cpu_count()} cores")
        found = {}
        for name, deaths in (("unbroken", {}), ("killed twice", DEATHS)):
            run = Run(root, storage.join(root, name.replace(" ", "-")), frames, deaths)
            found[name] = held(run.go(storage.join(root, f"{name.replace(' ', '-')}.log")))
            rate = frames / run.seconds
            print(f"{name}: {run.seconds:.0f} s, {rate:.1f} frames/s start-up included, peak {run.peak_mib:.0f} MiB")
            for pass_name in DEATHS:
                at = "  ".join(f"{s:.0%}: {run.rss_mib.get((pass_name, s), float('nan')):.0f} MiB" for s in SHARES)
                print(f"  worker's memory in pass {pass_name!r} at  {at}")
        equal = found["unbroken"] == found["killed twice"]
        print(f"{len(found['unbroken'])} files; the same bytes in both runs: {'yes' if equal else 'NO'}")
        if not equal:
            sys.exit(1)


if __name__ == "__main__":
    tyro.cli(main)
