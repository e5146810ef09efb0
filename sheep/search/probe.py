"""The linear probe: labelled vectors in; one logistic regression per label, with scikit-learn's interface, out.

Standardisation, principal components and logistic regression are all linear, so the fitted probe is one weight vector
and one bias per label, stored as safetensors and JSON. Classes are not reweighted, so probabilities are calibrated at
the training animals' base rates. Elsewhere their mean is not a share of time: `sheep.compare` corrects it by scored
frames.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from sheep.config import ProbeConfig
from sheep.errors import ConfigError, ContractError

TENSORS_NAME = "probe.safetensors"
CONFIG_NAME = "probe.json"
FORMAT = 1

_EXACT_DIM = 512  # up to here exact components cost no more than random ones
_NEWTON_DIM = 256  # above this many inputs the Hessian costs more than L-BFGS steps


@dataclass(frozen=True, slots=True)
class Projection:
    """Vectors standardised and projected on their principal components; shared by probes of different penalties."""

    mean: NDArray[np.float64]
    """(D,) of the raw vectors."""
    to_scores: NDArray[np.float64]
    """(D, C): raw centred vector -> principal components."""
    scores: NDArray[np.float64]
    """(F, C)."""


def project(X: NDArray[np.floating], num_components: int, seed: int) -> Projection:
    """Standardise vectors and project them on their principal components.

    Args:
        X: (F, D) vectors, finite.
        num_components: C at most, fewer where there are fewer rows or dimensions; 0 keeps the standardised vectors.
        seed: of the approximate solver, which is used above 512 dimensions.

    Raises:
        ContractError: a vector is not finite.
    """
    if not np.isfinite(X).all():
        raise ContractError("probe: vectors hold values that are not finite, expected none. Check the embeddings.")
    X = np.asarray(X, dtype=np.float32)
    mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    # A constant dimension has no information, and must not have its rounding errors scaled up.
    scale[scale <= 1e-7 * (1.0 + np.abs(mean))] = 1.0
    axes = _axes((X - mean.astype(np.float32)) / scale.astype(np.float32), num_components, seed)
    to_scores = axes / scale[:, None]
    return Projection(mean, to_scores, X.astype(np.float64) @ to_scores - mean @ to_scores)


def _axes(standard: NDArray[np.float32], most: int, seed: int) -> NDArray[np.float64]:
    """Principal axes of the standardised vectors, (D, C)."""
    num_rows, dim = standard.shape
    num_components = min(most, num_rows, dim)
    if num_components in (0, dim):
        return np.eye(dim)
    solver = "covariance_eigh" if dim <= _EXACT_DIM else "randomized"
    pca = PCA(num_components, svd_solver=solver, iterated_power=3, random_state=seed % 2**32)
    return np.asarray(pca.fit(standard).components_.T, dtype=np.float64)


class Probe:
    """A linear probe for several labels that can hold at once.

    Attributes:
        weight: (L, D) float32, for raw vectors; set by `fit`.
        bias: (L,) float32; -inf or +inf for a label that was always 0 or always 1 in training.
    """

    def __init__(self, config: ProbeConfig, seed: int = 0) -> None:
        """Make a probe that is not fitted yet.

        Args:
            config: penalty and number of components.
            seed: of the components' approximate solver.
        """
        self.config = config
        self.seed = seed
        self.weight: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self.bias: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def fit(self, X: NDArray[np.floating], Y: NDArray[np.floating]) -> Self:
        """Fit from labelled vectors.

        Args:
            X: (F, D) vectors, finite.
            Y: (F, L) 0 or 1; nan is unscored, and the row is ignored for that label only.

        Returns:
            Itself. A label with one class in training predicts that class with probability 1.

        Raises:
            ContractError: lengths differ, or a vector is not finite.
            ConfigError: a label has no scored row.
        """
        if len(X) != len(Y) or not len(X):
            raise ContractError(
                f"probe: {len(X)} vectors for {len(Y)} rows of targets, expected equal numbers, at least 1. "
                "This is a bug: report it."
            )
        return self.fit_projected(project(X, self.config.num_components, self.seed), Y)

    def fit_projected(self, projection: Projection, Y: NDArray[np.floating]) -> Self:
        """Fit as `fit` does, from vectors that are already projected.

        Args:
            projection: with this probe's number of components and seed.
            Y: (F, L) as in `fit`.

        Returns:
            Itself.

        Raises:
            ConfigError: a label has no scored row.
        """
        fitted = [self._fit_label(projection.scores, Y[:, label], label) for label in range(Y.shape[1])]
        weight = projection.to_scores @ np.stack([weights for weights, _ in fitted], axis=1)  # (D, L)
        self.weight = np.ascontiguousarray(weight.T, dtype=np.float32)
        self.bias = (np.array([bias for _, bias in fitted]) - projection.mean @ weight).astype(np.float32)
        return self

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float32]:
        """Predict the probability that each label holds.

        Args:
            X: (F, D) vectors.

        Returns:
            (F, L) float32 in [0, 1].

        Raises:
            ContractError: not fitted, or vectors of another dimension than in training.
        """
        if X.ndim != 2 or X.shape[1] != self.weight.shape[1] or not len(self.bias):
            raise ContractError(
                f"probe: vectors {X.shape} for a probe of dimension {self.weight.shape[1]}, "
                f"expected (F, {self.weight.shape[1]}). Use the window and backbone the probe was fitted with."
            )
        logits = np.asarray(X, dtype=np.float32) @ self.weight.T + self.bias
        return np.asarray(expit(logits), dtype=np.float32)

    def to_bytes(self) -> dict[str, bytes]:
        """Serialise as files, name -> content. The same probe gives the same bytes."""
        about = {"format": FORMAT, "config": asdict(self.config), "seed": self.seed}
        return {
            TENSORS_NAME: save_tensors({"weight": self.weight, "bias": self.bias}),
            CONFIG_NAME: json.dumps(about, indent=2, sort_keys=True).encode(),
        }

    @classmethod
    def from_bytes(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ContractError: a file is missing, damaged or of another format.
        """
        try:
            about = json.loads(files[CONFIG_NAME])
            tensors = load_tensors(files[TENSORS_NAME])
            weight, bias = tensors["weight"], tensors["bias"]
            probe = cls(ProbeConfig(**about["config"]), int(about["seed"]))
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ContractError(
                f"probe: cannot read {sorted(files)} ({error!r}), expected {TENSORS_NAME} and {CONFIG_NAME} of a "
                "fitted probe. "
                "Run the search again."
            ) from error
        if about.get("format") != FORMAT or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ContractError(
                f"probe: format {about.get('format')}, weight {weight.shape}, bias {bias.shape}; expected format "
                f"{FORMAT}. "
                "Run the search again."
            )
        probe.weight, probe.bias = weight, bias
        return probe

    def _fit_label(
        self, scores: NDArray[np.float64], target: NDArray[np.floating], label: int
    ) -> tuple[NDArray[np.float64], float]:
        """Fit one label from projected vectors (F, C) and targets (F,): weights (C,) and bias."""
        scored = ~np.isnan(target)
        positive = target[scored] > 0.5
        if not len(positive):
            raise ConfigError(
                f"probe: label number {label} has no scored row among the training animals, expected some. "
                "Annotate it for more animals, or use fewer folds."
            )
        if positive.all() or not positive.any():
            return np.zeros(scores.shape[1]), np.inf if positive[0] else -np.inf
        solver = "newton-cholesky" if scores.shape[1] <= _NEWTON_DIM else "lbfgs"
        model = LogisticRegression(C=self.config.inverse_l2, solver=solver, tol=1e-4, max_iter=500)
        model.fit(scores[scored], positive)
        return model.coef_[0], float(model.intercept_[0])
