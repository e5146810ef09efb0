"""Simulated behaviour: the rules of the ethogram, the configured rates, and labels that match the pose."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.errors import ConfigError
from sheep.synthetic.behaviour import CYCLE_S, EXCLUSIVE, LABELS, TRANSITION_S, simulate

FPS_HZ = 5.0


def labels_of(standing_frac: float, clips: int = 400, frames: int = 60) -> NDArray[np.bool_]:
    """(clips, frames, 6) bool."""
    labels = [simulate(frames, FPS_HZ, standing_frac, np.random.default_rng(seed)).labels for seed in range(clips)]
    return np.stack(labels).astype(bool)


def test_labels_follow_the_rules_of_the_ethogram() -> None:
    held = dict(zip(LABELS, np.moveaxis(labels_of(0.5), 2, 0), strict=True))
    for group in set(EXCLUSIVE.values()):
        at_once = np.sum([held[label] for label, other in EXCLUSIVE.items() if other == group], axis=0)
        assert at_once.max() == 1
    assert not (held["eating"] & ~(held["head_down"] & held["standing"])).any()
    assert not (held["moving"] & ~held["standing"]).any()
    assert (~held["lying"] & ~held["standing"]).any(), "no posture holds while the animal gets up or lies down"
    assert (~held["head_up"] & ~held["head_down"]).any(), "a head may be neither"
    assert (held["head_down"] & ~held["eating"]).any(), "a head may be down without eating"


def test_no_label_is_very_rare_or_very_frequent() -> None:
    rates = labels_of(0.5).mean(axis=(0, 1))
    assert rates.min() > 0.1, dict(zip(LABELS, rates, strict=True))
    assert rates.max() < 0.7, dict(zip(LABELS, rates, strict=True))


@pytest.mark.parametrize("standing_frac", [0.1, 0.4, 0.65, 0.9])
def test_animals_stand_for_the_configured_share(standing_frac: float) -> None:
    shares = labels_of(standing_frac)[:, :, LABELS.index("standing")].mean(axis=1)
    error = shares.std() / np.sqrt(len(shares))
    assert abs(shares.mean() - standing_frac) < 4 * error


def test_the_share_holds_in_the_first_frame_so_clips_of_any_length_are_unbiased() -> None:
    first = labels_of(0.65, clips=1500, frames=1)[:, 0, LABELS.index("standing")]
    assert abs(first.mean() - 0.65) < 4 * np.sqrt(0.65 * 0.35 / 1500)


def test_the_cycle_of_postures_has_its_stated_length() -> None:
    upright = simulate(20_000, FPS_HZ, 0.5, np.random.default_rng(0)).upright
    sat_down = np.count_nonzero((upright[:-1] > 0) & (upright[1:] == 0))
    assert sat_down == pytest.approx(20_000 / FPS_HZ / CYCLE_S, rel=0.15)
    between = np.mean((upright > 0) & (upright < 1))
    assert between == pytest.approx(2 * TRANSITION_S / CYCLE_S, rel=0.25)


def test_labels_match_the_pose() -> None:
    pose = simulate(2000, FPS_HZ, 0.5, np.random.default_rng(1))
    held = dict(zip(LABELS, pose.labels.astype(bool).T, strict=True))
    assert (pose.neck[held["head_down"]] < 0).all()
    assert (pose.neck[held["head_up"]] > 0).all()
    assert (pose.upright[held["lying"]] == 0).all()
    assert pose.upright[held["standing"]].min() == 1
    assert pose.speed[held["moving"]].min() > pose.speed[~held["moving"]].max()
    assert np.abs(pose.chew[held["eating"]]).max() > 0.5


@pytest.mark.parametrize("standing_frac", [0.0, 0.95, float("nan")])
def test_impossible_shares_are_refused(standing_frac: float) -> None:
    with pytest.raises(ConfigError, match=r"standing_frac: got .*, expected 0\.1 to 0\.9"):
        simulate(10, FPS_HZ, standing_frac, np.random.default_rng(0))
