"""Tracks from clicks, from motion and from one exemplar, on synthetic videos with ground truth.

    python -m benchmarks.prompts [--videos 12] [--seed 1907] [--frames 60] [--exemplars 1] [--pictures FOLDER]

Pocket models on fresh meadow videos (60 frames at 3 Hz, as in the demo). Most hold other animals beside the
focal one, so that a good prompt can be on another animal than intended: J is given against the focal animal and against
the animal that was prompted. The exemplar is the clicked prompt of one video; that video itself is left
out of its figures.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sheep import prompts
from sheep.config import ArchiveConfig, CropConfig, PromptConfig, seed_for
from sheep.crop.geometry import bounds
from sheep.io import storage
from sheep.models.sam2 import tracker as sam2_tracker
from sheep.prompts import detect
from sheep.schemas import Prompt
from sheep.synthetic.archive import Clip, MeadowConfig, clips, write_archive
from sheep.synthetic.scene import SceneConfig, draw_coat, draw_scene, render
from sheep.video import reader

CROP = CropConfig(device="cpu")


@dataclass(frozen=True)
class Outcome:
    right: bool
    """The prompt is on the focal animal."""
    score: float
    listed: bool
    """Listed for review."""
    focal: float
    """J, mean over the frames from the prompt on."""
    prompted: float
    start_frac: float
    """Share of the video before the prompt, which gets no rows."""


def ids_of(config: MeadowConfig, clip: Clip) -> NDArray[np.uint8]:
    """Render the masks of all animals of a video: (F, H, W), 0 for none, 1 for the focal animal.

    The archive stores the focal animal's only.
    """
    coat = draw_coat(np.random.default_rng(seed_for(config.seed, "meadow", f"coat {clip.animal}")))
    rng = np.random.default_rng(seed_for(config.seed, "meadow", clip.name))
    scene = draw_scene(replace(config.scene, standing_frac=clip.standing_frac), rng, coat=coat)
    return np.stack([frame.ids for frame in render(scene)])


def prompted_animal(prompt: Prompt, ids: NDArray[np.uint8]) -> int:
    """Return the prompted animal: under the point, or of the largest box overlap; 0 for none (less than a fifth)."""
    if prompt.kind == "point":
        return int(ids[int(prompt.xy[1]), int(prompt.xy[0])])
    boxes = {int(one): bounds(ids == one) for one in np.unique(ids) if one}
    shared = {one: iou(prompt.xy, box) for one, box in boxes.items() if box}
    best = max(shared, key=lambda one: shared[one], default=0)
    return best if shared.get(best, 0.0) >= 0.2 else 0


def iou(box: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    sides = [min(box[axis + 2], other[axis + 2]) - max(box[axis], other[axis]) for axis in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (box, other)]
    return float(shared / (sum(areas) - shared))


def judge(
    tracker: sam2_tracker.Tracker, prompt: Prompt, images: Sequence[NDArray[np.uint8]], ids: NDArray[np.uint8]
) -> tuple[int, float, float]:
    """Track from a prompt; the animal it is on, J against the focal one, and against that one."""
    who = prompted_animal(prompt, ids[prompt.frame])
    scores: dict[int, list[float]] = {1: [], who: []}
    frames = ((index, images[index]) for index in range(prompt.frame, len(images)))
    for (found,) in tracker.track(frames, [prompt]):
        for animal, reached in scores.items():
            truth = (ids[found.frame] == animal) if animal else np.zeros_like(found.mask)
            union = np.count_nonzero(truth | found.mask)
            if union:
                reached.append(np.count_nonzero(truth & found.mask) / union)
    means = {animal: float(np.mean(reached)) if reached else 0.0 for animal, reached in scores.items()}
    return who, means[1], means[who] if who else 0.0


def show(folder: Path, name: str, prompt: Prompt, score: float, image: NDArray[np.uint8]) -> None:
    drawn = Image.fromarray(image)
    pen = ImageDraw.Draw(drawn)
    x, y = prompt.xy[:2]
    box = prompt.xy if prompt.kind == "box" else (x - 2, y - 2, x + 2, y + 2)
    pen.rectangle(list(box), outline=(255, 0, 0))
    pen.text((2, 2), f"{prompt.video} {prompt.frame} {score:.2f}", fill=(255, 255, 255))
    folder.mkdir(parents=True, exist_ok=True)
    drawn.save(folder / f"{name}-{Path(prompt.video).stem}.png")


def report(name: str, outcomes: Sequence[Outcome], num_videos: int) -> None:
    focal, prompted = (np.array([getattr(one, key) for one in outcomes]) for key in ("focal", "prompted"))
    right = np.array([one.right for one in outcomes], dtype=bool)
    listed = np.array([one.listed for one in outcomes], dtype=bool)
    scores = np.array([one.score for one in outcomes])

    def mean(values: NDArray[np.float64]) -> str:
        return f"{values.mean():.2f}" if len(values) else "-"

    print(
        f"{name:<9} {len(outcomes):>3}/{num_videos:<3} {right.mean():>6.0%} {focal.mean():>7.3f} "
        f"{np.median(focal):>7.3f} {prompted.mean():>9.3f} {np.median(prompted):>7.3f} {mean(scores[right]):>7} "
        f"{mean(scores[~right]):>6} {listed.mean():>7.0%} {mean(right[~listed].astype(float)):>9} "
        f"{mean(focal[~listed]):>9} {np.mean([one.start_frac for one in outcomes]):>7.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1907)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--exemplars", type=int, default=1)
    parser.add_argument("--pictures")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scene = SceneConfig(num_frames=asked.frames, fps_hz=3.0)
    config = MeadowConfig(seed=asked.seed, num_animals=asked.videos, videos_per_animal=1, num_annotated=2, scene=scene)
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory())
        write_archive(config, root)
        compare(config, root, asked.exemplars, Path(asked.pictures) if asked.pictures else None)


def compare(config: MeadowConfig, root: str, num_exemplars: int, pictures: Path | None) -> None:
    listed_clips = clips(config)
    archive = ArchiveConfig(root=root)
    ids = {f"{clip.name}.mp4": ids_of(config, clip) for clip in listed_clips}
    images = {key: [frame.image for frame in reader.decode(storage.join(root, "videos", key))] for key in ids}
    tracker = sam2_tracker.load("pocket", device="cpu")
    clicked = prompts.read(storage.read_bytes(storage.join(root, "prompts.csv")), name="prompts.csv")

    def outcome(name: str, prompt: Prompt, score: float, listed: bool) -> Outcome:
        who, focal, prompted = judge(tracker, prompt, images[prompt.video], ids[prompt.video])
        if pictures:
            show(pictures, name, prompt, score, images[prompt.video][prompt.frame])
        start = prompt.frame / len(images[prompt.video])
        return Outcome(who == 1, score, listed, focal, prompted, start)

    print(f"{len(ids)} videos of {config.scene.num_frames} frames, seed {config.seed}, pocket models; ", end="")
    alone = sum(set(np.unique(one)) <= {0, 1} for one in ids.values())
    print(f"in {alone} the focal animal is alone. J is the mean over a video's frames from the prompt on.")
    print("listed: for review, by its score. right and J kept: of the prompts that are not listed.")
    print(
        f"{'prompts':<9} {'found':>7} {'right':>6} {'J focal':>7} {'median':>7} {'J prompted':>9} {'median':>6} "
        f"{'score r':>7} {'wrong':>6} {'listed':>7} {'right kept':>9} {'J kept':>8} {'before':>7}"
    )
    report("clicked", [outcome("clicked", one, 1.0, False) for one in clicked], len(ids))
    found = detect.prompt(replace(archive, prompts="motion.csv"), CROP, PromptConfig(how="motion"))
    rows = zip(found.prompts, found.scores, strict=True)
    report("motion", [outcome("motion", one, score, one.video in found.doubts) for one, score in rows], len(ids))
    reached = []
    for number in range(num_exemplars):
        exemplar = f"exemplar{number}.csv"
        storage.write_bytes(storage.join(root, exemplar), prompts.to_csv(clicked[number : number + 1]))
        given = PromptConfig(how="exemplar", exemplar=exemplar, device="cpu")
        found = detect.prompt(replace(archive, prompts=f"by_{exemplar}"), CROP, given)
        rows = zip(found.prompts, found.scores, strict=True)
        reached += [
            outcome(f"exemplar{number}", one, score, one.video in found.doubts)
            for one, score in rows
            if one.video != clicked[number].video
        ]
    report("exemplar", reached, num_exemplars * (len(ids) - 1))


if __name__ == "__main__":
    main()
