"""Cost of a fine-tuning step, compared with lightly-train, with the bare networks, and with two workers.

    python -m benchmarks.finetune [--lightly-python /path/to/bin/python] [--batch-size 4] [--rounds 5]
    python -m benchmarks.finetune --device cuda

On the CPU: ViT-S/14 with random weights, 2 crops of 224 px and some of 98 px, the same JPEGs (336 px) for all. Each
contender is a process of its own. They take turns: all but one are stopped (SIGSTOP), loaders and threads included, so
that other load affects all of them and none prepares its next batch meanwhile. Ratios are of seconds in this run; on a
busy machine those of CPU seconds are more reliable. Nothing is asserted.

lightly-train is not a dependency of this project. Install it in an environment of its own:

    python -m venv ~/lightly && ~/lightly/bin/pip install lightly-train
"""

import contextlib
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

CHILD = Path(__file__).with_name("finetune_child.py")
STORED_PX = 336
NUM_IMAGES = 512  # no epoch ends within the run: lightly-train would restart its loader
SIZES = {"ViT-S/14": (384, 6), "ViT-B/14": (768, 12)}
BLOCKS = 12


@dataclass
class Contender:
    """One training, in one or several processes that run and stop together."""

    name: str
    images_per_step: int
    processes: Sequence["subprocess.Popen[str]"]
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def turn(self, steps: int) -> None:
        """Run for some steps while all others are stopped."""
        cpu, started = self.cpu(), time.perf_counter()
        self.signal(signal.SIGCONT)
        self.wait(steps)
        self.wall_s.append((time.perf_counter() - started) / steps)
        self.signal(signal.SIGSTOP)
        self.cpu_s.append((self.cpu() - cpu) / steps)

    def wait(self, steps: int) -> None:
        for process in self.processes:
            assert process.stdout is not None
            left = steps
            while left:
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{self.name} ended with {process.wait()}; run it alone: {process.args!r}")
                left -= line.startswith("step ")

    def signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def cpu(self) -> float:
        """CPU seconds of all its processes so far, loaders included."""
        groups, ticks = {process.pid for process in self.processes}, 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                ticks += (int(fields[11]) + int(fields[12])) * (int(fields[2]) in groups)
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> float:
        """Peak resident memory, summed over workers; of lightly-train without its loader."""
        texts = [Path(f"/proc/{process.pid}/status").read_text() for process in self.processes]
        return sum(int(found[1]) for text in texts if (found := re.search(r"VmHWM:\s+(\d+) kB", text))) / 1024


@contextlib.contextmanager
def running(
    name: str, kind: str, settings: Sequence[Mapping[str, Any]], threads: int, python: str = sys.executable
) -> Iterator[Contender]:
    """Start a contender, wait for its first two steps, and stop it until its turn."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONPATH": os.getcwd(),
    }
    processes = [
        subprocess.Popen(
            [python, str(CHILD), kind, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )
        for given in settings
    ]
    contender = Contender(name, settings[0]["config"]["batch_size"], processes)
    try:
        contender.wait(2)
        contender.signal(signal.SIGSTOP)
        yield contender
    finally:
        contender.signal(signal.SIGKILL)
        for process in processes:
            process.communicate()


def write_images(folder: Path) -> None:
    """Coloured blotches as JPEGs: their content does not affect the time."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(NUM_IMAGES):
        blotches = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        blotches.resize((STORED_PX, STORED_PX), Image.Resampling.BICUBIC).save(folder / f"{number:03}.jpg", quality=90)


def write_backbone(folder: Path, size: str) -> None:
    """A DINOv2 of the released sizes with random weights."""
    width, heads = SIZES[size]
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=BLOCKS,
        num_attention_heads=heads,
        patch_size=14,
        image_size=518,
        layerscale_value=1.0,
    )
    torch.manual_seed(0)
    Dinov2Model(config).save_pretrained(folder)


def compare(contenders: Sequence[Contender], rounds: int, steps: int) -> None:
    for number in range(rounds):
        # In turn from either end, so that a slow drift of the machine favours none.
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            contender.turn(steps)


def show(title: str, contenders: Sequence[Contender], baseline: Contender) -> None:
    """Print medians over rounds; ratios are medians of the rounds' own ratios."""
    print(f"\n{title}; relative to: {baseline.name}")
    print(
        "  "
        f"{'':34}{'s/step':>8}{'images/s':>10}{'relative':>10}{'(range)':>14}{'CPU s/step':>12}"
        f"{'relative':>10}{'peak MiB':>10}"
    )
    for one in contenders:
        wall, cpu = statistics.median(one.wall_s), statistics.median(one.cpu_s)
        speed = [theirs / mine for theirs, mine in zip(baseline.wall_s, one.wall_s, strict=True)]
        saved = statistics.median(theirs / mine for theirs, mine in zip(baseline.cpu_s, one.cpu_s, strict=True))
        print(
            f"  {one.name:34}{wall:8.2f}{one.images_per_step / wall:10.2f}{statistics.median(speed):10.2f}"
            f"{f'{min(speed):.2f}-{max(speed):.2f}':>14}{cpu:12.2f}{saved:10.2f}{one.peak_mib():10.0f}"
        )


def on_cpu(settings: dict[str, Any], lightly_python: str, threads: int, rounds: int, steps: int) -> None:
    """Ours against the limit and lightly-train; then two workers of one thread each against one."""
    with tempfile.TemporaryDirectory(prefix="sheep-bench-") as name:
        folder = Path(name)
        write_images(folder / "images")
        write_backbone(folder / "backbone", "ViT-S/14")
        alone = {
            "images": str(folder / "images"),
            "backbone": str(folder / "backbone"),
            "out": str(folder / "lightly"),
            "config": settings,
            "rank": 0,
            "world": 1,
        }
        with contextlib.ExitStack() as stack:
            mine = stack.enter_context(running("ours", "ours", [alone], threads))
            limit = stack.enter_context(running("bare student and teacher", "bare", [alone], threads))
            contenders = [mine, limit]
            if lightly_python:
                # The path as given: resolving the link would leave the environment it belongs to.
                theirs = running("lightly-train", "lightly", [alone], threads, lightly_python)
                contenders.append(stack.enter_context(theirs))
            compare(contenders, rounds, steps)
            show(f"One process, {threads} threads", contenders, contenders[-1])
            show("Share of the limit", contenders[:2], limit)
        if not lightly_python:
            print("  lightly-train: this row is missing; see --help for how to make its environment and name it.")
        with contextlib.ExitStack() as stack:
            pair = [{**alone, "rank": rank, "world": 2, "meeting": str(folder / "meeting")} for rank in range(2)]
            one = stack.enter_context(running("one worker", "ours", [alone], 1))
            two = stack.enter_context(running("two workers", "ours", pair, 1))
            compare([one, two], rounds, steps)
            show("torch.distributed (gloo), 1 thread per worker, same global batch", [one, two], one)


def flop_per_image(width: int, num_prototypes: int, hidden_patches: float, num_local: int) -> float:
    """Floating-point operations of one image's step.

    The student three times (forward, backward twice), the teacher once.
    """

    def network(px: int, looked_at: float) -> float:
        tokens = (px // 14) ** 2 + 1
        spared = 2 * 9 * width**2 * (tokens - looked_at)  # of the last block, after its attention
        return -spared + 2 * BLOCKS * (12 * width**2 * tokens + 2 * tokens**2 * width) + 2 * 3 * 14**2 * width * tokens

    inner, bottle = min(2048, 4 * width), min(256, width)
    head = 2 * (width * inner + inner**2 + inner * bottle + bottle * num_prototypes)
    whole = 2 * network(224, 1 + hidden_patches / 2)  # hidden in one view of two
    heads = (3 * (2 + num_local) + 2 + 4 * hidden_patches) * head
    return 4 * whole + 3 * num_local * network(98, 1) + heads


def device_limits() -> tuple[float, float]:
    """Measured here: FLOP/s of a large bfloat16 product, bytes/s of a large copy."""
    one = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    half, other = torch.empty(2, 2**27, device="cuda")

    def seconds(work: Any) -> float:
        work()
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(10):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) / 10

    return 2 * 8192**3 / seconds(lambda: one @ one), 2 * half.nbytes / seconds(lambda: half.copy_(other))


def on_gpu(settings: dict[str, Any], steps: int) -> None:
    """Step time, images/s and memory in bfloat16 of ViT-S and ViT-B.

    And the least that arithmetic and memory traffic allow.
    """
    from sheep.config import AdvancedFinetuneConfig, FinetuneConfig
    from sheep.finetune.dataset import Arrays
    from sheep.finetune.trainer import train

    flop_per_s, bytes_per_s = device_limits()
    drop_path, shared = settings["drop_path"], {name: value for name, value in settings.items() if name != "drop_path"}
    print(
        f"{torch.cuda.get_device_name()}: {flop_per_s / 1e12:.0f} TFLOP/s in bfloat16, "
        f"{bytes_per_s / 1e12:.2f} TB/s, measured"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (256, STORED_PX, STORED_PX, 3), dtype=np.uint8)
    names = [str(number % 8) for number in range(256)]
    source = Arrays(pixels=pixels, animals=names, videos=names)
    print(
        "  "
        f"{'':12}{'ms/step':>9}{'images/s':>10}{'peak GiB':>10}{'floor ms':>10}"
        f"{'of floor':>10}{'FLOP ms':>9}{'bytes ms':>9}"
    )
    for size, (width, _) in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="sheep-bench-") as folder:
            write_backbone(Path(folder) / "backbone", size)
            torch.cuda.reset_peak_memory_stats()
            stamps: list[float] = []

            def stamp(measures: dict[str, float], stamps: list[float] = stamps) -> None:
                torch.cuda.synchronize()
                stamps.append(time.perf_counter())

            config = FinetuneConfig(
                backbone=f"{folder}/backbone",
                steps=10 + steps,
                validate_every=0,
                device="cuda",
                advanced=AdvancedFinetuneConfig(precision="bfloat16", drop_path=drop_path),
                **shared,
            )
            train(source, config.backbone, config, 0, f"{folder}/out", report=stamp)
            num_weights = sum(value.numel() for value in Dinov2Model.from_pretrained(config.backbone).parameters())
        step_s = (stamps[-1] - stamps[9]) / steps
        hidden = config.advanced.mask_frac * (config.global_px // 14) ** 2
        by_flop = (
            config.batch_size * flop_per_image(width, config.num_prototypes, hidden, config.num_local) / flop_per_s
        )
        # AdamW reads four and writes three values a weight, the teacher's step reads two and writes one, gradients are
        # written and read.
        by_bytes = 12 * 4 * num_weights / bytes_per_s
        print(
            "  "
            f"{size:12}{1e3 * step_s:9.1f}{config.batch_size / step_s:10.0f}"
            f"{torch.cuda.max_memory_allocated() / 2**30:10.1f}"
            f"{1e3 * (by_flop + by_bytes):10.1f}{(by_flop + by_bytes) / step_s:10.2f}"
            f"{1e3 * by_flop:9.1f}{1e3 * by_bytes:9.1f}"
        )


def main(
    device: Literal["cpu", "cuda"] = "cpu",
    lightly_python: str = "",
    batch_size: int = 0,
    num_local: int = 4,
    drop_path: float = 0.0,
    threads: int = 2,
    rounds: int = 4,
    steps: int = 2,
) -> None:
    """Measure and print; about five minutes on two quiet cores.

    Args:
        device: `cpu` compares with lightly-train and the limit, `cuda` measures ViT-S and ViT-B.
        lightly_python: Python of an environment with lightly-train; its row is missing without.
        batch_size: images a step; 4 on the CPU and 64 on a GPU where it is 0.
        num_local: crops of 98 px an image.
        drop_path: stochastic depth, of ours and of lightly-train.
        threads: of each process on the CPU.
        rounds: turns of each contender.
        steps: in a turn; more than the two batches that wait for ours. On a GPU, steps measured, times 10.
    """
    settings: dict[str, Any] = {
        "batch_size": batch_size or (64 if device == "cuda" else 4),
        "global_px": 224,
        "local_px": 98,
        "num_local": num_local,
        "num_prototypes": 1024,
        "head_steps": 0,
        "drop_path": drop_path,
    }
    # As an interrupt: contenders are in sessions of their own and would otherwise remain, stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    load = os.getloadavg()[0]
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}")
    print(
        f"{os.cpu_count()} cores, load {load:.1f} before; batch {settings['batch_size']}, 2 x 224 px + {num_local} "
        "x 98 px"
    )
    if device == "cuda":
        on_gpu(settings, 10 * steps)
        return
    if load > 0.5:
        print("Something else is running: the figures below are of a busy machine.")
    on_cpu(settings | {"steps": 1_000_000, "device": "cpu"}, lightly_python, threads, rounds, steps)


if __name__ == "__main__":
    tyro.cli(main)
