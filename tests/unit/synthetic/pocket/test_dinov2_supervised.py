"""The supervised upper bound: the network can fit labels, and both models are scored on every set."""

import torch

from sheep.synthetic.pocket import dinov2_supervised as supervised
from sheep.synthetic.pocket.dinov2_data import generate_crops


def test_the_network_fits_its_training_crops() -> None:
    """If a network cannot overfit forty crops, its training loop is broken and its scores are meaningless."""
    torch.set_num_threads(1)
    images, labels, _ = generate_crops(3, 10, 4, "control test")
    untrained = supervised.macro(supervised.predict(*supervised.train(images, labels, 0, 0), images), labels)
    trained = supervised.macro(supervised.predict(*supervised.train(images, labels, 120, 0), images), labels)
    assert trained > 0.95
    assert trained > untrained + 0.2


def test_both_are_scored_on_every_set() -> None:
    scores = supervised.compare([11], steps=2, num_scenes=12, frames_per_scene=8, num_scored_scenes=6)
    assert set(scores) == {"network", "pixels"}
    assert all(0 < value <= 1 for values in scores.values() for value in values)
    assert f"pixels      {scores['pixels'][0]:.3f}" in supervised.table(scores)
