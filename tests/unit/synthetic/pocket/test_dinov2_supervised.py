import torch

from sheep.synthetic.pocket import dinov2_supervised as control
from sheep.synthetic.pocket.dinov2 import draw_crops


def test_the_network_learns_the_crops_it_is_shown() -> None:
    """Whoever cannot learn forty crops by heart has a broken training path, and judges nothing."""
    torch.set_num_threads(1)
    images, labels, _ = draw_crops(3, 10, 4, "control test")
    seen = control.macro(control.predict(*control.train(images, labels, 0, 0), images), labels)
    learnt = control.macro(control.predict(*control.train(images, labels, 120, 0), images), labels)
    assert learnt > 0.95
    assert learnt > seen + 0.2


def test_both_are_scored_on_every_set() -> None:
    found = control.compare([11], steps=2, num_scenes=12, frames_per_scene=8, num_scored_scenes=6)
    assert set(found) == {"network", "pixels"}
    assert all(0 < value <= 1 for values in found.values() for value in values)
    assert f"pixels      {found['pixels'][0]:.3f}" in control.table(found)
