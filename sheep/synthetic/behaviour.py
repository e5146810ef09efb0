"""What an animal does in each frame: a semi-Markov process of posture, activity and head position, and its labels.

Times are compressed. A real sheep lies for an hour and grazes for many minutes; here a posture lasts 8 to 15 s and an
activity 2 to 6 s, so that a clip of 20 s shows several bouts of each. Rates, bout lengths and the dependence between
labels therefore belong to the synthetic dataset and say nothing about living sheep.

Labels are read from the pose that is rendered, not from the hidden state: `head_down` holds once the head *is* down.
Order: head_down, lying, standing, eating, head_up, moving.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError

FloatArray = NDArray[np.float64]

LABELS = ("head_down", "lying", "standing", "eating", "head_up", "moving")
"""The poster's six behaviours, in the order of its tables. Several can hold at once."""
EXCLUSIVE = {"head_down": "head", "head_up": "head", "lying": "posture", "standing": "posture"}
"""Label -> the group of labels of which at most one holds at a time."""

CYCLE_S = 22.0
"""Mean length of one posture cycle: stand, lie down, lie, stand up."""
TRANSITION_S = 0.8
"""Length of lying down and of standing up; meanwhile neither posture label holds."""
DWELL_SHAPE = 4.0
"""Shape of the gamma distribution of every dwell time: the standard deviation is half the mean."""
HEAD_LAG_S = 0.14
"""Time constant with which the neck follows its target."""
SPEED_LAG_S = 0.12
"""Time constant with which walking starts and stops."""
HEAD_THRESHOLD = 0.5
"""Neck elevation above which the head is labelled up; below the negative value it is labelled down."""
SPEED_THRESHOLD = 0.4
"""Share of walking speed above which the animal is labelled moving."""

_STAND, _SINK, _LIE, _RISE = range(4)
_IDLE, _GRAZE, _WALK, _RUMINATE = range(4)
_UP, _NEUTRAL, _DOWN = 1.0, 0.0, -1.0

# activity -> (mean dwell [s], weight, ((head target, weight), ...))
_STANDING = {
    _IDLE: (2.8, 0.30, ((_UP, 0.65), (_NEUTRAL, 0.25), (_DOWN, 0.10))),
    _GRAZE: (4.5, 0.38, ((_DOWN, 1.0),)),
    _WALK: (3.4, 0.32, ((_UP, 0.35), (_NEUTRAL, 0.65))),
}
_LYING = {
    _IDLE: (3.5, 0.5, ((_UP, 0.40), (_NEUTRAL, 0.25), (_DOWN, 0.35))),
    _RUMINATE: (4.5, 0.5, ((_UP, 0.65), (_NEUTRAL, 0.35))),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BehaviourTrace:
    """One animal's behaviour over F frames."""

    upright: FloatArray
    """(F,) 0 lying to 1 standing."""
    neck: FloatArray
    """(F,) elevation, -1 down to 1 up."""
    speed: FloatArray
    """(F,) share of walking speed, 0 to 1."""
    chew: FloatArray
    """(F,) displacement of jaw and muzzle, -1 to 1."""
    bout: NDArray[np.int64]
    """(F,) number of the activity bout; it changes with every new activity."""
    labels: NDArray[np.uint8]
    """(F, 6) 0 or 1, in the order of LABELS."""


def _posture_means(standing_frac: float) -> tuple[float, float, float, float]:
    """Mean length [s] of each phase, such that standing takes `standing_frac` of the cycle.

    Raises:
        ConfigError: standing_frac is not within 0.1 to 0.9.
    """
    if not 0.1 <= standing_frac <= 0.9:
        raise ConfigError(f"standing_frac: got {standing_frac}, expected 0.1 to 0.9. Change the setting.")
    stand_s = standing_frac * CYCLE_S
    return stand_s, TRANSITION_S, CYCLE_S - stand_s - 2 * TRANSITION_S, TRANSITION_S


def _dwell(mean_s: float, rng: np.random.Generator) -> float:
    """Sample a dwell time [s] with the given mean."""
    return float(rng.gamma(DWELL_SHAPE, mean_s / DWELL_SHAPE))


def _phases(
    times_s: FloatArray, standing_frac: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], FloatArray]:
    """Sample the posture cycle.

    The first phase and its remaining time come from the stationary distribution (a length-biased dwell time, cut
    uniformly), so the expected share of standing is `standing_frac` in every frame and for clips of any length.

    Args:
        times_s: (F,) time of each frame [s].
        standing_frac: expected share of standing, 0.1 to 0.9.
        rng: source of randomness.

    Returns:
        (F,) phase of each frame, and (F,) the share of that phase that has passed, 0 to 1.
    """
    means = _posture_means(standing_frac)
    phase = int(rng.choice(4, p=np.array(means) / sum(means)))
    fixed = phase in (_SINK, _RISE)
    length_s = TRANSITION_S if fixed else float(rng.gamma(DWELL_SHAPE + 1, means[phase] / DWELL_SHAPE))
    start_s = -float(rng.random()) * length_s
    phases = np.empty(len(times_s), np.int64)
    passed = np.empty(len(times_s))
    for index, time_s in enumerate(times_s):
        while time_s >= start_s + length_s:
            start_s += length_s
            phase = (phase + 1) % 4
            length_s = TRANSITION_S if phase in (_SINK, _RISE) else _dwell(means[phase], rng)
        phases[index] = phase
        passed[index] = (time_s - start_s) / length_s
    return phases, passed


def _pick(
    table: dict[int, tuple[float, float, tuple[tuple[float, float], ...]]], last: int, rng: np.random.Generator
) -> int:
    """Sample the next activity by weight, never the last one again.

    Args:
        table: the activities of a posture, see `_STANDING`.
        last: the activity that ends; -1 for none.
        rng: source of randomness.
    """
    names = [name for name in table if name != last]
    weights = np.array([table[name][1] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def simulate(num_frames: int, fps_hz: float, standing_frac: float, rng: np.random.Generator) -> BehaviourTrace:
    """Sample one animal's behaviour.

    Args:
        num_frames: F, at least 1.
        fps_hz: frames per second, above 0.
        standing_frac: expected share of frames labelled standing, 0.1 to 0.9.
        rng: the only source of randomness.

    Raises:
        ConfigError: standing_frac is out of range.
    """
    times_s = np.arange(num_frames) / fps_hz
    phases, passed = _phases(times_s, standing_frac, rng)
    smooth = passed * passed * (3 - 2 * passed)
    upright = np.select([phases == _STAND, phases == _SINK, phases == _LIE], [1.0, 1 - smooth, 0.0], smooth)
    activity = np.empty(num_frames, np.int64)
    target = np.empty(num_frames)
    bout = np.zeros(num_frames, np.int64)
    end_s, now, head, posture, count = -1.0, -1, _NEUTRAL, -1, 0
    for index, time_s in enumerate(times_s):
        group = _STAND if phases[index] in (_STAND, _RISE) else _LIE
        if group != posture or time_s >= end_s:
            table = _STANDING if group == _STAND else _LYING
            now = _pick(table, now if group == posture else -1, rng)
            heads = table[now][2]
            head = heads[int(rng.choice(len(heads), p=[weight for _, weight in heads]))][0]
            # The first bout starts at frame 0, unlike the posture, whose first phase is already under way.
            end_s, posture, count = time_s + _dwell(table[now][0], rng), group, count + 1
        activity[index], target[index], bout[index] = now, head, count
    walking = (activity == _WALK) & (phases == _STAND)
    return _posed(times_s, phases, upright, activity, target, walking, bout, rng)


def _follow(target: FloatArray, lag: float) -> FloatArray:
    """Smooth a target with a first-order lag.

    Args:
        target: (F,).
        lag: share of the difference that remains after one frame, 0 to 1.
    """
    out = np.empty_like(target)
    value = target[0]
    for index, goal in enumerate(target):
        value = goal + (value - goal) * lag
        out[index] = value
    return out


def _posed(
    times_s: FloatArray,
    phases: NDArray[np.int64],
    upright: FloatArray,
    activity: NDArray[np.int64],
    target: FloatArray,
    walking: NDArray[np.bool_],
    bout: NDArray[np.int64],
    rng: np.random.Generator,
) -> BehaviourTrace:
    """Smooth the targets into a pose and read the labels from it.

    Args:
        times_s: (F,) time of each frame [s].
        phases: (F,) phase of the posture cycle.
        upright: (F,) 0 lying to 1 standing.
        activity: (F,) current activity.
        target: (F,) neck elevation that the animal aims for.
        walking: (F,) whether it walks.
        bout: (F,) number of the activity bout.
        rng: source of randomness.
    """
    step_s = times_s[1] - times_s[0] if len(times_s) > 1 else 1.0
    # While it lies down or stands up, an animal does not lower its head.
    settled = np.where(np.isin(phases, (_SINK, _RISE)), np.maximum(target, _NEUTRAL), target)
    neck = _follow(settled, float(np.exp(-step_s / HEAD_LAG_S)))
    speed = _follow(walking.astype(np.float64), float(np.exp(-step_s / SPEED_LAG_S)))
    speed[phases != _STAND] = 0.0
    grazing = (activity == _GRAZE) & (phases == _STAND)
    rate_hz, start = rng.uniform(1.1, 1.7), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * rate_hz * times_s + start)
    down, up = neck < -HEAD_THRESHOLD, neck > HEAD_THRESHOLD
    standing, lying = phases == _STAND, phases == _LIE
    eating = grazing & down
    chew = np.where(eating, wave, np.where(activity == _RUMINATE, 0.35 * wave, 0.0))
    labels = np.stack([down, lying, standing, eating, up, standing & (speed > SPEED_THRESHOLD)], axis=1)
    return BehaviourTrace(upright=upright, neck=neck, speed=speed, chew=chew, bout=bout, labels=labels.astype(np.uint8))
