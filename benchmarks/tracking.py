"""Speed and memory of the tracker, compared with sam2's own predictor and transformers' streaming session.

    python -m benchmarks.tracking [--lengths 300 1000 3000] [--tiny-frames 24] [--repeats 2]

Every row of the first tables is a process of its own, video file in, masks out. Network sizes are the pocket SAM-2's
and those of hiera-tiny at 256 px, with random weights; transformers' has the same sizes and other random weights. Each
network operation runs on one thread; the tracker overlaps decoding, image encoder and animals, so it uses a second core
if present. Figures are ratios of measurements taken in turn in this run; on a busy or another machine they differ.
Nothing is asserted.
"""

import contextlib
import copy
import logging
import multiprocessing
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sam2
import sam2.sam2_video_predictor as official
import torch
import tyro
from omegaconf import OmegaConf

from benchmarks.timed import Timed
from sheep.config import ArchiveConfig, CropConfig, StudyConfig
from sheep.crop import stage as crop_stage
from sheep.crop.job import CropUnit
from sheep.execution.base import Work
from sheep.io import storage
from sheep.io.manifest import Entry
from sheep.models.sam2 import loading, predictor
from sheep.models.sam2.tracker import Tracker
from sheep.schemas import Prompt
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, encode, write_archive
from sheep.synthetic.scene import SceneConfig, draw_scene, render
from sheep.video import reader

TINY_PX = 256
WARM_FRAMES = 6
AHEAD = CropConfig().advanced.ahead_frames
CLICKS = ((0.3, 0.5), (0.5, 0.5), (0.7, 0.6))
"""Positions of clicks, as shares of width and height: the content there does not affect speed."""
SYSTEMS = ("sheep", "sam2", "transformers")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One process: a system, a network, a video file."""

    system: str
    net: str
    path: str
    warm: str
    """A few frames, tracked before the clock starts."""
    num_frames: int
    animals: int = 1
    threads: int = 1
    """Of each network operation."""
    cores: int = 0
    """0 uses all cores."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Time and memory of one process."""

    seconds: float
    growth_mib: float
    """Peak resident memory above what it was with the network loaded and warmed up."""


def measure(case: Case) -> Run:
    """Track one video; in a process of its own."""
    logging.disable(logging.WARNING)
    if case.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: case.cores])
    torch.set_num_threads(case.threads)
    official.tqdm = lambda order, desc: order
    track = partial({"sheep": by_sheep, "sam2": by_sam2, "transformers": by_transformers}[case.system], case)
    model = load_transformers(case.net) if case.system == "transformers" else load(case.net)
    track(model, case.warm)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_mib("VmRSS")
    started = time.perf_counter()
    num_masks = track(model, case.path)
    seconds = time.perf_counter() - started
    assert num_masks == case.num_frames, (num_masks, case)
    return Run(seconds=seconds, growth_mib=resident_mib("VmHWM") - before)


def resident_mib(what: str) -> float:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "this needs Linux"
    return int(found[1]) / 1024


def load(net: str) -> predictor.StreamingPredictor:
    """The pocket SAM-2 with its weights, or hiera-tiny's architecture at another size with random ones."""
    if net == "pocket":
        return loading.load("pocket", device="cpu")
    config = OmegaConf.load(Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml")
    config.model.image_size = TINY_PX
    for attention in ("self_attention", "cross_attention"):
        config.model.memory_attention.layer[attention].feat_sizes = [TINY_PX // 16] * 2
    with tempfile.TemporaryDirectory() as folder:
        OmegaConf.save(config, Path(folder) / "tiny.yaml")
        torch.manual_seed(0)
        model = loading.build(Path(folder) / "tiny.yaml")
    model.fill_hole_area = 0
    return model.eval()


def clicked(path: str, animals: int) -> list[Prompt]:
    height, width = reader.size_px(path)
    places = [(x * width, y * height) for x, y in CLICKS[:animals]]
    return [Prompt(video="v", animal=f"a{i}", frame=0, kind="point", xy=xy) for i, xy in enumerate(places)]


def by_sheep(case: Case, model: predictor.StreamingPredictor, path: str) -> int:
    frames = ((frame.index, frame.image) for frame in reader.decode(path, ahead=AHEAD))
    return sum(1 for _ in Tracker(model).track(frames, clicked(path, case.animals)))


def by_sam2(case: Case, model: predictor.StreamingPredictor, path: str) -> int:
    """Run sam2 as its notebook does: load the whole video (decord), click, propagate, masks to numpy."""
    twin: Any = copy.copy(model)
    twin.__class__ = official.SAM2VideoPredictor
    state = twin.init_state(path)
    for number, prompt in enumerate(clicked(path, case.animals)):
        xy = np.asarray(prompt.xy, np.float32)
        twin.add_new_points_or_box(state, 0, number, xy[None], np.ones(1, np.int32))
    return sum(1 for _, _, logits in twin.propagate_in_video(state) if (logits[:, 0] > 0).numpy().shape)


def load_transformers(net: str) -> Any:
    from transformers import Sam2VideoConfig, Sam2VideoModel

    side = 192 if net == "pocket" else TINY_PX
    maps = {"backbone_feature_sizes": [[side // stride] * 2 for stride in (4, 8, 16)]}
    common = {"image_size": side, "memory_attention_rope_feat_sizes": [side // 16] * 2}
    backbone: dict[str, Any] = {"model_type": "sam2_hiera_det_model", "image_size": [side, side]}
    vision: dict[str, Any] = {"model_type": "sam2_vision_model", "backbone_config": backbone, **maps}
    prompt, decoder = {"image_size": side}, {}
    if net == "pocket":
        backbone |= {"hidden_size": 24, "blocks_per_stage": [1, 2, 4], "embed_dim_per_stage": [24, 48, 96]}
        backbone |= {"num_attention_heads_per_stage": [1, 2, 4], "window_size_per_stage": [8, 4, 8]}
        backbone |= {"num_query_pool_stages": 2, "global_attention_blocks": [4, 5, 6]}
        backbone |= {"window_positional_embedding_background_size": [8, 8]}
        vision |= {"backbone_channel_list": [96, 48, 24], "fpn_hidden_size": 96, "fpn_top_down_levels": [1, 2]}
        prompt |= {"hidden_size": 96}
        decoder = {"hidden_size": 96, "mlp_dim": 192, "num_attention_heads": 4, "attention_downsample_rate": 1}
        common |= {"num_maskmem": 5, "max_object_pointers_in_encoder": 8, "multimask_output_in_sam": False}
        common |= {"memory_attention_hidden_size": 96, "memory_attention_num_layers": 2}
        common |= {"memory_attention_feed_forward_hidden_size": 192, "memory_encoder_hidden_size": 96}
        common |= {"memory_encoder_output_channels": 48, "mask_downsampler_embed_dim": 96}
        common |= {"memory_fuser_embed_dim": 96, "memory_fuser_intermediate_dim": 384}
    torch.manual_seed(0)
    parts = {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}
    model = Sam2VideoModel(Sam2VideoConfig(**common, **parts)).eval()
    if net == "pocket":  # it fixes memories to 64 channels
        for layer in model.memory_attention.layers:
            layer.cross_attn_image.k_proj = torch.nn.Linear(48, 96)
            layer.cross_attn_image.v_proj = torch.nn.Linear(48, 96)
    return model


@torch.inference_mode()
def by_transformers(case: Case, model: Any, path: str) -> int:
    """Its streaming session as shipped, fed with our decoding; masks scaled to the video and to numpy."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    side = model.config.image_size
    height, width = reader.size_px(path)
    session = Sam2VideoInferenceSession(video_height=height, video_width=width, dtype=torch.float32)
    for number, (x, y) in enumerate(CLICKS[: case.animals]):
        point = {"point_coords": torch.tensor([[[[x * side, y * side]]]]), "point_labels": torch.ones(1, 1, 1).int()}
        session.add_point_inputs(session.obj_id_to_idx(number), 0, point)
    session.obj_with_new_inputs = list(range(case.animals))
    done = 0
    for frame in reader.decode(path, ahead=AHEAD):
        pixels = predictor.prepare(frame.image, side)
        masks = model(inference_session=session, frame=pixels, frame_idx=frame.index).pred_masks
        logits = torch.nn.functional.interpolate(masks, (height, width), mode="bilinear", align_corners=False)
        done += bool((logits[:, 0] > 0).numpy().shape)
    return done


def alone(case: Case) -> Run:
    """Run `measure` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def in_turn(cases: dict[str, Case], repeats: int) -> dict[str, Run]:
    """Measure cases in turn, and again in the other order; the fastest run of each counts."""
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for number in range(repeats):
        for name in list(cases)[:: 1 - 2 * (number % 2)]:
            runs[name].append(alone(cases[name]))
    return {name: min(found, key=lambda run: run.seconds) for name, found in runs.items()}


def table(title: str, cases: dict[str, Case], runs: dict[str, Run], baseline: str) -> None:
    print(f"\n{title}\n  {'':38}{'frames/s':>10}{'x ' + baseline:>16}{'growth [MiB]':>14}")
    for name, run in runs.items():
        speed, other = cases[name].num_frames / run.seconds, cases[baseline].num_frames / runs[baseline].seconds
        print(f"  {name:38}{speed:10.2f}{speed / other:16.2f}{run.growth_mib:14.1f}", flush=True)


def speed_and_memory(videos: dict[int, str], warm: str, net: str, repeats: int, *, threads: int) -> None:
    growths: dict[str, dict[int, float]] = {system: {} for system in SYSTEMS}
    for num_frames, path in videos.items():
        case = partial(Case, net=net, path=path, warm=warm, num_frames=num_frames)
        cases = {system: case(system=system) for system in SYSTEMS}
        if num_frames == min(videos):
            if threads > 1:
                cases |= {f"sam2, {threads} threads": case(system="sam2", threads=threads)}
            cases |= {f"{system}, on one core": case(system=system, cores=1) for system in SYSTEMS[:2]}
        runs = in_turn(cases, repeats if num_frames == min(videos) else 1)
        table(f"{net}, {num_frames} frames, one animal", cases, runs, "sam2")
        for system in SYSTEMS:
            growths[system][num_frames] = runs[system].growth_mib
    few, many = min(videos), max(videos)
    for system, found in growths.items() if many > few else ():
        print(f"  {system}: {1024 * (found[many] - found[few]) / (many - few):.1f} KiB a frame, {few} to {many} frames")


def animals(path: str, warm: str, num_frames: int, repeats: int) -> None:
    case = partial(Case, net="pocket", path=path, warm=warm, num_frames=num_frames)
    cases = {f"{system}, {n}": case(system=system, animals=n) for system in SYSTEMS[:2] for n in (1, 3)}
    runs = in_turn(cases, repeats)
    table(f"pocket, {num_frames} frames, 1 and 3 animals", cases, runs, "sam2, 1")
    for system in SYSTEMS[:2]:
        print(
            f"  {system}: 3 animals take {runs[f'{system}, 3'].seconds / runs[f'{system}, 1'].seconds:.2f} "
            "times one's time"
        )


def forward_share(net: str, path: str, num_frames: int) -> None:
    """Time the network alone on prepared inputs, and the whole tracker, in turns of one video."""
    model = load(net)
    tracker, prompts = Tracker(model), clicked(path, 1)
    images = [frame.image for frame in reader.decode(path, max_frames=num_frames)]
    took = {"decoding": 0.0, "preparing": 0.0, "image encoder": 0.0, "memory, decoder, mask": 0.0, "whole tracker": 0.0}

    def time_it(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        took[name] += 1000 * (time.perf_counter() - started) / num_frames
        return result

    time_it("decoding", lambda: exhaust(reader.decode(path, max_frames=num_frames)))
    pixels = time_it("preparing", lambda: [predictor.prepare(image, model.image_size) for image in images])
    tracking = tracker.start(prompts)
    for number, image in enumerate(images):
        encoded = tracker.encode(image)
        time_it("image encoder", partial(model.encode, pixels[number]))
        time_it("memory, decoder, mask", partial(tracking.step, number, encoded))
    frames = ((frame.index, frame.image) for frame in reader.decode(path, max_frames=num_frames, ahead=AHEAD))
    time_it("whole tracker", lambda: exhaust(tracker.track(frames, prompts)))
    network = took["image encoder"] + took["memory, decoder, mask"]
    print(f"\n{net}, where the time goes [ms a frame]")
    for name, milliseconds in took.items():
        print(f"  {name:38}{milliseconds:10.2f}")
    print(
        f"  the network alone, step after step, takes {network / took['whole tracker']:.2f} of the whole tracker's time"
    )


def job_beside_tracker(folder: str, num_frames: int) -> None:
    """Crop videos in this process, and around each one run the bare tracker on the file."""
    root = storage.join(folder, "archive")
    scene = SceneConfig(num_frames=num_frames)
    write_archive(MeadowConfig(num_animals=4, videos_per_animal=1, num_annotated=2, scene=scene), root)
    tracker = Tracker(load("pocket"))
    seconds = {"bare tracker": 0.0, "crop job": 0.0}

    def run_units(work: Sequence[Work]) -> Iterator[Entry]:
        do = work[0][0].open()
        for number, (_, unit) in enumerate(work):
            assert isinstance(unit, CropUnit)
            path = storage.join(root, "videos", unit.key)
            for name in list(seconds)[:: 1 - 2 * (number % 2)]:
                started = time.perf_counter()
                if name == "crop job":
                    entry = do(unit)
                else:
                    frames = ((frame.index, frame.image) for frame in reader.decode(path, ahead=AHEAD))
                    exhaust(tracker.track(frames, unit.prompts))
                seconds[name] += time.perf_counter() - started
            yield entry

    config = CropConfig(device="cpu")
    study = StudyConfig(name="tracking", archive=ArchiveConfig(root=root), crop=config, out=folder)
    manifest = crop_stage.run(Study(study, Timed(run_units)))
    rows = manifest.rows("crops")
    print(f"\nThe crop job (tracks, second decoding, crops, sheet) beside the bare tracker, {rows} frames")
    for name, taken in seconds.items():
        print(f"  {name:38}{rows / taken:10.2f} frames/s{seconds['bare tracker'] / taken:10.2f}")


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def write_video(path: Path, num_frames: int) -> str:
    """A scene of 60 frames of the meadow, forwards and backwards, as often as needed."""
    scene = SceneConfig(num_frames=60)
    images = [frame.image for frame in render(draw_scene(scene, np.random.default_rng(0)))]
    order = [*images, *images[::-1]]
    path.write_bytes(encode((order[number % len(order)] for number in range(num_frames)), scene.fps_hz))
    return str(path)


def main(
    lengths: tuple[int, ...] = (300, 1000, 3000), tiny_frames: int = 24, repeats: int = 2, threads: int = 2
) -> None:
    """Measure and print.

    Args:
        lengths: of the videos for the pocket network, in frames.
        tiny_frames: of the video for hiera-tiny; 0 leaves it out.
        repeats: of the runs on the shortest video; the fastest counts.
        threads: of each network operation in one more row of sam2's predictor; 1 leaves it out. Very slow on a
            busy machine.
    """
    torch.set_num_threads(1)
    official.tqdm = lambda order, desc: order
    logging.getLogger("sheep").setLevel(logging.WARNING)
    load_before = os.getloadavg()[0]
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}")
    print(f"{os.cpu_count()} cores, load {load_before:.1f} before")
    if load_before > 0.5:
        print("Something else is running: the figures below are of a busy machine.")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sheep-bench-")))
        warm = write_video(folder / "warm.mp4", WARM_FRAMES)
        videos = {length: write_video(folder / f"{length}.mp4", length) for length in sorted(lengths)}
        speed_and_memory(videos, warm, "pocket", repeats, threads=threads)
        shortest = min(videos)
        animals(videos[shortest], warm, shortest, repeats)
        forward_share("pocket", videos[shortest], shortest)
        if tiny_frames:
            tiny = write_video(folder / "tiny.mp4", tiny_frames)
            speed_and_memory({tiny_frames: tiny}, warm, "tiny", 1, threads=threads)
            forward_share("tiny", tiny, min(tiny_frames, 12))
        job_beside_tracker(str(folder), 60)


if __name__ == "__main__":
    tyro.cli(main)
