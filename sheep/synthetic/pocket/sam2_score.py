"""What a SAM-2 is worth on unseen scenes of the meadow, beside what needs no network.

Followed as in a study, by `sheep.models.sam2.tracker`.

A high J alone does not show that a network tracks: one that finds any sheep scores well where there is one sheep. So it
is also asked for another animal, for nothing (a click on the ground), without its memory, and while the animal is gone.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from sheep.config import seed_for
from sheep.models.sam2.tracker import Tracker, load
from sheep.schemas import Prompt
from sheep.synthetic.pocket.sam2_data import draw_ellipse, draw_questions, jaccard, take_away
from sheep.synthetic.scene import Scene, SceneConfig, draw_scene, render

_LATE = 10
"""Last frames, scored apart: where a mask copied from frame 0 has gone stale."""

Ids = NDArray[np.uint8]
Images = Sequence[NDArray[np.uint8]]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """masks: (F, H, W); scores: (F,) object scores; seconds: wall time of all frames."""

    masks: Masks
    scores: NDArray[np.float64]
    seconds: float


def evaluate(weights: str, *, num_videos: int, num_frames: int, seed: int, thorough: bool = False) -> dict[str, float]:
    """Score weights on the focal animal of unseen scenes (192 x 256 px, 0 to 3 others), prompted in frame 0.

    Args:
        weights: what `sheep.models.sam2.tracker.load` takes.
        num_videos: scenes.
        num_frames: frames of each.
        seed: of scenes and prompts; a namespace of its own, apart from training.
        thorough: also without memory, with the animal gone for a third of the video, and the baseline by colour.

    Returns: Mean J (intersection over union) over the frames in which the animal can be seen, by prompt: `box`, `point`
        (any pixel of the animal), `ground` (a pixel of no animal; a network that obeys scores 0), `other` (a box on
        another animal, scored against that animal); with `_frame0` and `_late` for frame 0 and the last ten frames.
        Baselines: `ellipse_frame0` (inscribed in the box), `copy` and `copy_late` (the true first mask, unmoved),
        `colour` (see `by_colour`). `score_right`: share of frames whose object score agrees with the truth. `switched`:
        share of frames in which the mask covers more of another animal than of the one asked for. `no_memory`: J by box
        with the memory shut off. `gone_right`: share of frames called absent while the animal is away; `back`: J by box
        after its return. `ms_per_frame` by box, wall time.
    """
    tracker = load(weights, device="cpu")
    sums: dict[str, list[float]] = {}

    def add(name: str, values: Sequence[float] | NDArray[Any]) -> None:
        sums.setdefault(name, []).extend(float(value) for value in values)

    for video in range(num_videos):
        rng = np.random.default_rng(seed_for(seed, "pocket_sam2/eval", str(video)))
        scene = draw_scene(SceneConfig(num_frames=num_frames), rng)
        images, ids = _painted(scene)
        for kind, animal, prompt in draw_questions(ids[0], rng):
            answer = _follow(tracker, images, prompt)
            truth = ids == animal
            scores = jaccard(answer.masks, truth)
            add(kind, scores)
            if kind in ("box", "point"):
                add(f"{kind}_frame0", scores[:1])
                add(f"{kind}_late", jaccard(answer.masks[-_LATE:], truth[-_LATE:]))
            if kind != "box":
                continue
            add("ms_per_frame", [1000 * answer.seconds / num_frames])
            add("score_right", (answer.scores > 0) == truth.any((1, 2)))
            add("switched", _is_elsewhere(answer.masks, ids, animal))
            still = np.repeat(truth[:1], num_frames, 0)
            add("copy", jaccard(still, truth))
            add("copy_late", jaccard(still[-_LATE:], truth[-_LATE:]))
            add("ellipse_frame0", jaccard(draw_ellipse(prompt.xy, truth.shape[1:])[None], truth[:1]))
            if thorough:
                add("colour", jaccard(by_colour(images, truth[0]), truth))
                with _without_memory(tracker):
                    add("no_memory", jaccard(_follow(tracker, images, prompt).masks, truth))
                _add_absence(add, tracker, scene, images, ids, prompt)
    return {name: round(float(np.mean(values)), 4) for name, values in sorted(sums.items())}


def by_colour(images: Images, first: Masks) -> Masks:
    """Follow an animal by its colours alone, as a threshold would.

    Args:
        images: F frames (H, W, 3).
        first: (H, W) the true mask of frame 0.

    Returns: (F, H, W): pixels that a Gaussian over the mask's colours explains better than one over the rest; of their
        connected pieces the one that shares most pixels with the frame before, or the frame before where none shares
        any.
    """
    pixels = images[0].reshape(-1, 3).astype(float)
    inside = first.ravel()
    fits = [_gaussian(pixels[inside]), _gaussian(pixels[~inside])]
    found = [first]
    for image in images:
        colours = image.reshape(-1, 3).astype(float)
        on, off = (_log_density(colours, *fit) for fit in fits)
        pieces, _ = label((on > off).reshape(first.shape))
        shared = np.bincount(pieces[found[-1]], minlength=2)
        shared[0] = 0
        found.append(pieces == shared.argmax() if shared.any() else found[-1])
    return np.stack(found[1:])


def _gaussian(colours: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return colours.mean(0), np.cov(colours.T) + 4.0 * np.eye(3)  # sensor noise keeps it regular


def _log_density(
    colours: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    away = colours - mean
    distance: NDArray[np.float64] = np.einsum("ij,ij->i", away @ np.linalg.inv(covariance), away)
    return -0.5 * (distance + float(np.linalg.slogdet(covariance)[1]))


def _painted(scene: Scene) -> tuple[list[NDArray[np.uint8]], Ids]:
    frames = list(render(scene))
    return [frame.image for frame in frames], np.stack([frame.ids for frame in frames])


def _follow(tracker: Tracker, images: Images, prompt: Prompt) -> _Answer:
    begun = time.perf_counter()
    found = [masks[0] for masks in tracker.track(enumerate(images), [prompt])]
    seconds = time.perf_counter() - begun
    scores = np.array([mask.object_score for mask in found])
    return _Answer(masks=np.stack([mask.mask for mask in found]), scores=scores, seconds=seconds)


def _is_elsewhere(masks: Masks, ids: Ids, animal: int) -> NDArray[np.bool_]:
    """Frames in which the mask covers more of some other animal than of this one, among those that show this one."""
    flags = []
    for mask, plane in zip(masks, ids, strict=True):
        if (plane == animal).any():
            covered = np.bincount(plane[mask], minlength=animal + 1)
            covered[0] = 0
            flags.append(bool(covered.max() > covered[animal]))
    return np.array(flags, bool)


@contextmanager
def _without_memory(tracker: Tracker) -> Iterator[None]:
    """Let SAM-2 see each frame by itself: with no memories sam2 returns the frame's own features."""
    kept = tracker.model.num_maskmem
    tracker.model.num_maskmem = 0
    try:
        yield
    finally:
        tracker.model.num_maskmem = kept


def _add_absence(add: Any, tracker: Tracker, scene: Scene, images: Images, ids: Ids, prompt: Prompt) -> None:
    """Take the focal animal out of the middle third of the video; the pasture and the others stay."""
    start, stop = len(images) // 3, 2 * len(images) // 3
    shown, _ = _painted(take_away(scene, slice(start, stop)))
    answer = _follow(tracker, shown, prompt)
    add("gone_right", answer.scores[start:stop] <= 0)
    add("back", jaccard(answer.masks[stop:], ids[stop:] == 1))


_ROWS = (
    ("a box on the animal", "box"),
    ("a click on the animal", "point"),
    ("a box on another animal, scored against that one", "other"),
    ("a click on the ground, scored against the animal (0 is right)", "ground"),
    ("the box, memory shut off", "no_memory"),
    ("the box, after the animal was away for a third of the video", "back"),
    ("baseline: first true mask, copied", "copy"),
    ("baseline: first true mask, followed by colour", "colour"),
    ("baseline: ellipse inscribed in the box", "ellipse"),
)


def table(scores: Mapping[str, float]) -> str:
    """Lay out what `evaluate` returns, J by prompt and part of the video, for a terminal."""
    width = max(len(words) for words, _ in _ROWS)
    lines = [f"{'J':<{width}}  all frames  frame 0  last {_LATE}"]
    for words, name in _ROWS:
        cells = [scores.get(key) for key in (name, f"{name}_frame0", f"{name}_late")]
        texts = ["" if cell is None else f"{cell:.3f}" for cell in cells]
        lines.append(f"{words:<{width}}  {texts[0]:>10}  {texts[1]:>7}  {texts[2]:>7}".rstrip())
    shares = {
        "object score right": "score_right",
        "called absent while it is away": "gone_right",
        "more on another animal than on its own": "switched",
    }
    lines += [f"share of frames, {words}: {scores[name]:.3f}" for words, name in shares.items() if name in scores]
    return "\n".join([*lines, f"ms per frame: {scores['ms_per_frame']:.0f}"])
