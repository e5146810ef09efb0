"""Which probes predict an animal."""

import numpy as np
import pytest

from sheep.config import ProbeConfig, WindowConfig
from sheep.predict.job import _mean
from sheep.search.predictions import FINAL_FOLD
from sheep.search.probe import Probe
from sheep.search.probe_files import Probes, WindowedProbe


def constant(bias: float, half_width_s: float) -> WindowedProbe:
    probe = Probe(ProbeConfig())
    probe.weight = np.zeros((1, 2 if half_width_s == 0 else 10), dtype=np.float32)
    probe.bias = np.array([bias], dtype=np.float32)
    return WindowedProbe(WindowConfig(half_width_s=half_width_s), probe)


def test_an_animal_without_a_fold_is_predicted_by_the_mean_over_folds() -> None:
    by_fold = {0: constant(-2.0, 0.0), 1: constant(0.0, 1.0), 2: constant(1.0, 0.0), FINAL_FOLD: constant(9.0, 0.0)}
    probes = Probes(("lying",), {"a": 0, "b": 1}, by_fold)
    assert probes.predicting("b") == [by_fold[1]]
    unlabelled = probes.predicting("c")
    assert unlabelled == [by_fold[0], by_fold[1], by_fold[2]]
    vectors, time_s = np.ones((3, 2)), np.arange(3.0)
    expected = np.mean([1 / (1 + np.exp(-bias)) for bias in (-2.0, 0.0, 1.0)])
    assert _mean(unlabelled, vectors, time_s) == pytest.approx(np.full((3, 1), expected))
    assert _mean(probes.predicting("a"), vectors, time_s).dtype == np.float32
