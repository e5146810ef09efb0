"""The probe equals the scikit-learn pipeline that it composes, stays calibrated, and survives storage."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sheep.config import ProbeConfig
from sheep.errors import ConfigError, ContractError
from sheep.search.probe import Probe

Vectors = NDArray[np.float32]
Targets = NDArray[np.float64]


def random_data(rng: np.random.Generator, rows: int = 800, dim: int = 20) -> tuple[Vectors, Targets]:
    vectors = (rng.normal(size=(rows, dim)) * rng.uniform(0.1, 10, dim) + rng.normal(size=dim) * 5).astype(np.float32)
    standard = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    probability = 1 / (1 + np.exp(-(2 * standard[:, :3] - [0, 2, 0])))
    return vectors, (rng.random((rows, 3)) < probability).astype(float)


@pytest.mark.parametrize("num_components", [0, 5])
def test_equals_the_pipeline_that_it_composes(num_components: int) -> None:
    vectors, targets = random_data(np.random.default_rng(0))
    config = ProbeConfig(num_components=num_components, inverse_l2=0.05)
    found = Probe(config, seed=1).fit(vectors, targets).predict_proba(vectors)
    steps = [StandardScaler(), PCA(num_components or None, svd_solver="full"), LogisticRegression(C=0.05, tol=1e-8)]
    expected = make_pipeline(*steps).fit(vectors.astype(float), targets[:, 1]).predict_proba(vectors)[:, 1]
    np.testing.assert_allclose(found[:, 1], expected, atol=2e-3)
    assert found.dtype == np.float32


def test_probabilities_are_calibrated_for_rare_labels() -> None:
    vectors, targets = random_data(np.random.default_rng(1), rows=4000)
    probe = Probe(ProbeConfig(), seed=0).fit(vectors[:2000], targets[:2000])
    found = probe.predict_proba(vectors[2000:])
    assert found.mean(axis=0) == pytest.approx(targets[2000:].mean(axis=0), abs=0.03)
    assert roc_auc_score(targets[2000:, 0], found[:, 0]) > 0.85


def test_constant_labels_and_unscored_rows() -> None:
    rng = np.random.default_rng(2)
    vectors, targets = random_data(rng)
    targets[:, 1], targets[:, 2] = 0, 1
    vectors[:, 7] = 3.25  # a dimension without information
    full = Probe(ProbeConfig(), seed=0).fit(vectors, targets)
    found = full.predict_proba(vectors * 2)
    assert (found[:, 1] == 0).all()
    assert (found[:, 2] == 1).all()
    # rows unscored for label 0 neither train it nor count as absent
    half = targets.copy()
    half[400:, 0] = np.nan
    assert Probe(ProbeConfig(), seed=0).fit(vectors, half).predict_proba(vectors)[:, 0].mean() == pytest.approx(
        targets[:, 0].mean(), abs=0.05
    )


def test_stored_probe_predicts_the_same_and_the_same_probe_gives_the_same_bytes() -> None:
    vectors, targets = random_data(np.random.default_rng(3))
    targets[:, 2] = 0
    probe = Probe(ProbeConfig(num_components=7), seed=4).fit(vectors, targets)
    files = probe.to_bytes()
    again = Probe.from_bytes(files)
    assert (again.predict_proba(vectors) == probe.predict_proba(vectors)).all()
    assert again.config == probe.config
    assert Probe(ProbeConfig(num_components=7), seed=4).fit(vectors, targets).to_bytes() == files


def test_broken_input_is_refused() -> None:
    vectors, targets = random_data(np.random.default_rng(5), rows=30)
    probe = Probe(ProbeConfig())
    with pytest.raises(ContractError, match="probe of dimension 0"):
        probe.predict_proba(vectors)
    with pytest.raises(ContractError, match="not finite"):
        probe.fit(np.full_like(vectors, np.nan), targets)
    with pytest.raises(ContractError, match="expected equal numbers"):
        probe.fit(vectors, targets[:5])
    unscored = targets.copy()
    unscored[:, 1] = np.nan
    with pytest.raises(ConfigError, match="label number 1 has no scored row"):
        probe.fit(vectors, unscored)
    with pytest.raises(ContractError, match="expected \\(F, 20\\)"):
        probe.fit(vectors, targets).predict_proba(vectors[:, :4])
    files = probe.to_bytes()
    damaged: list[dict[str, bytes]] = [{}, files | {"probe.safetensors": b"no"}, files | {"probe.json": b"{}"}]
    for broken in damaged:
        with pytest.raises(ContractError, match="Run the search again"):
            Probe.from_bytes(broken)


def test_many_dimensions_keep_what_random_components_find() -> None:
    rng = np.random.default_rng(6)
    low = rng.normal(size=(500, 6))
    vectors = (low @ rng.normal(size=(6, 700)) + 0.1 * rng.normal(size=(500, 700))).astype(np.float32)
    targets = (low[:, :1] + 0.1 * rng.normal(size=(500, 1)) > 0).astype(float)
    probe = Probe(ProbeConfig(num_components=6, inverse_l2=1.0), seed=0).fit(vectors[:300], targets[:300])
    assert roc_auc_score(targets[300:, 0], probe.predict_proba(vectors[300:])[:, 0]) > 0.98
