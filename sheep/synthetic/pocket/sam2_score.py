"""Score a SAM-2 on unseen synthetic scenes, with baselines that need no network.

Animals are tracked by `sheep.models.sam2.tracker`, as in a study. A high J alone does not show that a network tracks:
one that segments any sheep scores well in a video of one sheep. So it is also prompted on another animal and on the
ground, run without its memory, and tested while the animal is absent.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from sheep.config import seed_for
from sheep.models.sam2.tracker import Tracker, load
from sheep.schemas import Prompt
from sheep.synthetic.pocket.sam2_data import Bools, Ids, evaluation_prompts, inscribed_ellipse, jaccard, remove_focal
from sheep.synthetic.scene import Scene, SceneConfig, draw_scene, render

_LATE = 10
"""Last frames, scored separately: there a mask copied from frame 0 no longer fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Track:
    """The result of tracking one animal through F frames."""

    masks: Bools
    """(F, H, W)."""
    scores: NDArray[np.float64]
    """(F,) object scores, above 0 for present."""
    seconds: float
    """Wall time of all frames."""


class _Add(Protocol):
    """Collects values of a measure."""

    def __call__(self, name: str, values: Sequence[float] | NDArray[Any]) -> None:
        """Add values of the measure `name`."""
        ...


def evaluate(weights: str, *, num_videos: int, num_frames: int, seed: int, thorough: bool = False) -> dict[str, float]:
    """Score weights on unseen scenes (192 x 256 px, 0 to 3 other animals), prompted in frame 0.

    Args:
        weights: a name for `sheep.models.sam2.tracker.load`.
        num_videos: scenes.
        num_frames: frames of each.
        seed: of scenes and prompts, in a namespace apart from training.
        thorough: also score without memory, with the animal absent for a third of the video, and the colour baseline.

    Returns:
        Mean J (intersection over union) over the frames in which the animal is visible, by prompt: `box`; `point`, any
        pixel of the animal; `ground`, a pixel of no animal, scored against the focal animal (0 is right); `other`, a
        box around another animal, scored against that animal. `_frame0` and `_late` are frame 0 and the last frames.

        Baselines: `ellipse_frame0`, inscribed in the box; `copy` and `copy_late`, the true first mask unmoved;
        `colour`, see `by_colour`.

        `score_right` is the share of frames whose object score agrees with the ground truth; `switched` the share in
        which the mask covers more of another animal than of the prompted one; `no_memory` J by box without memory;
        `gone_right` the share of frames called absent while the animal is absent; `back` J by box after its return;
        `ms_per_frame` wall time by box.
    """
    tracker = load(weights, device="cpu")
    sums: dict[str, list[float]] = {}

    def add(name: str, values: Sequence[float] | NDArray[Any]) -> None:
        sums.setdefault(name, []).extend(float(value) for value in values)

    for video in range(num_videos):
        rng = np.random.default_rng(seed_for(seed, "pocket_sam2/eval", str(video)))
        scene = draw_scene(SceneConfig(num_frames=num_frames), rng)
        images, ids = _rendered(scene)
        for kind, animal, prompt in evaluation_prompts(ids[0], rng):
            track = _follow(tracker, images, prompt)
            truth = ids == animal
            scores = jaccard(track.masks, truth)
            add(kind, scores)
            if kind in ("box", "point"):
                add(f"{kind}_frame0", scores[:1])
                add(f"{kind}_late", jaccard(track.masks[-_LATE:], truth[-_LATE:]))
            if kind == "box":
                _add_baselines(add, track, ids, prompt)
                if thorough:
                    add("colour", jaccard(by_colour(images, truth[0]), truth))
                    with _without_memory(tracker):
                        add("no_memory", jaccard(_follow(tracker, images, prompt).masks, truth))
                    _add_absence(add, tracker, scene, ids, prompt)
    return {name: round(float(np.mean(values)), 4) for name, values in sorted(sums.items())}


def _add_baselines(add: _Add, track: _Track, ids: Ids, prompt: Prompt) -> None:
    """Add the measures of a track that was prompted by a box on the focal animal, and the baselines.

    Args:
        add: collects them.
        track: the result.
        ids: (F, H, W) ground truth.
        prompt: the box.
    """
    truth = ids == 1
    add("ms_per_frame", [1000 * track.seconds / len(ids)])
    add("score_right", (track.scores > 0) == truth.any((1, 2)))
    add("switched", _is_elsewhere(track.masks, ids, 1))
    copied = np.repeat(truth[:1], len(ids), 0)
    add("copy", jaccard(copied, truth))
    add("copy_late", jaccard(copied[-_LATE:], truth[-_LATE:]))
    add("ellipse_frame0", jaccard(inscribed_ellipse(prompt.xy, truth.shape[1:])[None], truth[:1]))


def by_colour(images: Sequence[NDArray[np.uint8]], first: Bools) -> Bools:
    """Track an animal by its colours alone, as a threshold would.

    Args:
        images: F frames (H, W, 3).
        first: (H, W) the true mask of frame 0.

    Returns:
        (F, H, W): the pixels that a Gaussian over the mask's colours explains better than one over the rest. Of their
        connected components the one that shares most pixels with the frame before, or the mask before where none shares
        any.
    """
    pixels = images[0].reshape(-1, 3).astype(float)
    inside = first.ravel()
    fits = [_gaussian(pixels[inside]), _gaussian(pixels[~inside])]
    masks = [first]
    for image in images:
        colours = image.reshape(-1, 3).astype(float)
        on, off = (_log_density(colours, *fit) for fit in fits)
        components, _ = label((on > off).reshape(first.shape))
        shared = np.bincount(components[masks[-1]], minlength=2)
        shared[0] = 0
        masks.append(components == shared.argmax() if shared.any() else masks[-1])
    return np.stack(masks[1:])


def _gaussian(colours: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit mean (3,) and covariance (3, 3) of colours (N, 3); a floor for the sensor noise keeps it invertible."""
    return colours.mean(0), np.cov(colours.T) + 4.0 * np.eye(3)


def _log_density(
    colours: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the log density of a Gaussian, up to a constant.

    Args:
        colours: (N, 3).
        mean: (3,).
        covariance: (3, 3).
    """
    away = colours - mean
    distance: NDArray[np.float64] = np.einsum("ij,ij->i", away @ np.linalg.inv(covariance), away)
    return -0.5 * (distance + float(np.linalg.slogdet(covariance)[1]))


def _rendered(scene: Scene) -> tuple[list[NDArray[np.uint8]], Ids]:
    frames = list(render(scene))
    return [frame.image for frame in frames], np.stack([frame.ids for frame in frames])


def _follow(tracker: Tracker, images: Sequence[NDArray[np.uint8]], prompt: Prompt) -> _Track:
    """Track one animal from frame 0.

    Args:
        tracker: the network.
        images: F frames (H, W, 3).
        prompt: in frame 0.
    """
    begun = time.perf_counter()
    masks = [animals[0] for animals in tracker.track(enumerate(images), [prompt])]
    seconds = time.perf_counter() - begun
    scores = np.array([mask.object_score for mask in masks])
    return _Track(masks=np.stack([mask.mask for mask in masks]), scores=scores, seconds=seconds)


def _is_elsewhere(masks: Bools, ids: Ids, animal: int) -> NDArray[np.bool_]:
    """Tell for each frame that shows an animal whether the mask covers more of another one.

    Args:
        masks: (F, H, W).
        ids: (F, H, W) ground truth.
        animal: id of the prompted animal.
    """
    flags = []
    for mask, plane in zip(masks, ids, strict=True):
        if (plane == animal).any():
            covered = np.bincount(plane[mask], minlength=animal + 1)
            covered[0] = 0
            flags.append(bool(covered.max() > covered[animal]))
    return np.array(flags, bool)


@contextmanager
def _without_memory(tracker: Tracker) -> Iterator[None]:
    """Let SAM-2 see each frame on its own: without memories sam2 returns the frame's own features."""
    kept = tracker.model.num_maskmem
    tracker.model.num_maskmem = 0
    try:
        yield
    finally:
        tracker.model.num_maskmem = kept


def _add_absence(add: _Add, tracker: Tracker, scene: Scene, ids: Ids, prompt: Prompt) -> None:
    """Remove the focal animal from the middle third of the video and track it again; pasture and other animals stay.

    Args:
        add: collects the measures.
        tracker: the network.
        scene: the scene.
        ids: (F, H, W) ground truth of the scene with the animal.
        prompt: a box on the focal animal in frame 0.
    """
    start, stop = len(ids) // 3, 2 * len(ids) // 3
    images, _ = _rendered(remove_focal(scene, slice(start, stop)))
    track = _follow(tracker, images, prompt)
    add("gone_right", track.scores[start:stop] <= 0)
    add("back", jaccard(track.masks[stop:], ids[stop:] == 1))


_ROWS = (
    ("a box around the animal", "box"),
    ("a click on the animal", "point"),
    ("a box around another animal, scored against that one", "other"),
    ("a click on the ground, scored against the animal (0 is right)", "ground"),
    ("the box, without memory", "no_memory"),
    ("the box, after the animal was absent for a third of the video", "back"),
    ("baseline: true first mask, copied", "copy"),
    ("baseline: true first mask, tracked by colour", "colour"),
    ("baseline: ellipse inscribed in the box", "ellipse"),
)


def table(scores: Mapping[str, float]) -> str:
    """Format the result of `evaluate` for a terminal: J by prompt and part of the video."""
    width = max(len(text) for text, _ in _ROWS)
    lines = [f"{'J':<{width}}  all frames  frame 0  last {_LATE}"]
    for text, name in _ROWS:
        cells = [scores.get(key) for key in (name, f"{name}_frame0", f"{name}_late")]
        shown = ["" if cell is None else f"{cell:.3f}" for cell in cells]
        lines.append(f"{text:<{width}}  {shown[0]:>10}  {shown[1]:>7}  {shown[2]:>7}".rstrip())
    shares = {
        "object score right": "score_right",
        "called absent while it is absent": "gone_right",
        "more on another animal than on the prompted one": "switched",
    }
    lines += [f"share of frames, {text}: {scores[name]:.3f}" for text, name in shares.items() if name in scores]
    return "\n".join([*lines, f"ms per frame: {scores['ms_per_frame']:.0f}"])
