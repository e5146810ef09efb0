"""The arms of the study, and the search stage: embeddings + labels -> tuned probes and out-of-fold scores per arm.

An arm is an encoder, what it is shown, and whether the probe sees the neighbouring frames. Encoders are the backbones and the
controls, which should lose. All arms share one set of folds grouped by animal, so that they are compared on the same held-out
animals. Settings are chosen inside the training animals of
each fold (nested); the scores are of animals that neither probe nor choice has seen.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sheep import metrics, search, splits, tables
from sheep.config import LearntView, SearchConfig, View, digest, seed_for
from sheep.errors import ContractError
from sheep.ledger import Attempt, Manifest, open_stage, unchanged
from sheep.predictions import FINAL_FOLD, tabulate
from sheep.search import Candidate, ProbeData
from sheep.stages import targets_of
from sheep.units import Probes, vectors_of, write_probes

log = logging.getLogger(__name__)

Backbone = Literal["frozen", "unguided", "guided"]
Encoder = Literal["frozen", "unguided", "guided", "untrained", "pixels", "geometry"]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of the study's table."""

    encoder: Encoder
    """A backbone: as it came, fine-tuned on whole frames, or fine-tuned on SAM-2's crops. Or a control: the same architecture with
    random weights, the crop's pixels, or place and size alone."""
    view: View
    """What is embedded."""
    temporal: bool
    """Whether the probe sees a temporal window."""

    @property
    def control(self) -> bool:
        """Whether it stands there to be beaten."""
        return self.encoder not in BACKBONES

    @property
    def source(self) -> str:
        """Name of the embeddings it reads; arms with and without a window share them."""
        return f"{self.encoder}-{self.view}"

    @property
    def name(self) -> str:
        """Name used for folders, tables and flags."""
        return f"{self.source}-{'window' if self.temporal else 'single'}"


BACKBONES: tuple[Backbone, ...] = ("frozen", "unguided", "guided")
LEARNT_VIEWS: tuple[LearntView, ...] = ("frame", "crop")
"""What fine-tuning learns from: unguided, guided."""
SHOWN_VIEWS: tuple[View, ...] = ("frame", "crop", "masked")
"""What a backbone is shown when it embeds."""
CONTROLS: tuple[tuple[Encoder, View], ...] = (("untrained", "crop"), ("pixels", "crop"), ("geometry", "track"))
"""Encoders that know nothing of animals, and what each is shown."""


def arms_of(controls: bool) -> tuple[Arm, ...]:
    """Every arm of a study, with or without the controls."""
    sources: list[tuple[Encoder, View]] = [(name, view) for name in BACKBONES for view in SHOWN_VIEWS]
    sources += CONTROLS if controls else ()
    return tuple(Arm(name, view, temporal) for name, view in sources for temporal in (False, True))


@dataclass(frozen=True, slots=True)
class Trial:
    """Candidates of one arm that are judged together: of one window and number of components."""

    arm: str
    source: str
    candidates: tuple[Candidate, ...]


Judge = Callable[[Mapping[str, ProbeData], NDArray[np.int64], Sequence[Trial], int], list[list[Scores]]]
"""Scores every trial: embeddings by source, folds (F,), trials, seed -> (K, K) inner scores of each one's candidates."""


def judge_here(
    data: Mapping[str, ProbeData], folds: NDArray[np.int64], trials: Sequence[Trial], seed: int
) -> list[list[Scores]]:
    """Score trials one after the other, here."""
    return [search.inner_scores(trial.candidates, data[trial.source], folds, seed=seed) for trial in trials]


def run(
    embedded: Mapping[str, Manifest],
    truth: pa.Table,
    arms: Sequence[Arm],
    config: SearchConfig,
    out: str,
    *,
    seed: int,
    judge: Judge = judge_here,
) -> Manifest:
    """Search window and probe for every arm, under the same folds.

    Args:
        embedded: embed stage by `Arm.source`.
        truth: LABEL_FRAMES; rows without any label are left out.
        arms: which to search.
        config: candidates and folds.
        out: the search stage's folder.
        seed: the study's seed.
        judge: who scores the trials.

    Returns:
        Manifest with a unit per arm: probes, and `oof`, the out-of-fold predictions of labelled frames; scores in the facts.

    Raises:
        ConfigError: fewer labelled animals than folds; `out` holds another configuration.
    """
    scored = truth.filter(pa.array(~np.isnan(targets_of(truth)).all(axis=1)))
    stage = open_stage(out, "search", config, {"seed": str(seed)})
    labels = _content(scored)
    units = {arm.name: digest([embedded[arm.source].content(), labels]) for arm in arms}
    done = unchanged(stage, units)
    if done is not None:
        log.info("search out=%s nothing to do, %d arms are there", out, len(units))
        return done
    data = {source: probe_data(embedded[source], scored) for source in sorted({arm.source for arm in arms})}
    first = next(iter(data.values()))
    folds = splits.grouped_folds(first.animals, first.targets, config.num_folds, seed_for(seed, "search", "folds"))
    trials = [
        Trial(arm.name, arm.source, together)
        for arm in arms
        for together in search.together(search.candidates(config, temporal=arm.temporal))
    ]
    log.info(
        "search out=%s arms=%d trials=%d frames=%d animals=%d",
        out,
        len(arms),
        len(trials),
        len(folds),
        len(set(first.animals)),
    )
    facts: dict[str, Any] = {}
    with threadpool_limits(1):  # the matrices are small: threads would wait for each other, and change the last bits
        inner = judge(data, folds, trials, seed_for(seed, "search", "probe"))
        settled = {arm: _settle(arm, trials, inner, data[arm.source], folds, seed) for arm in arms}
    for arm, found in settled.items():
        attempt = stage.attempt(arm.name, units[arm.name])
        facts[arm.name] = _write(attempt, found, scored, data[arm.source], folds, config, seed)
        attempt.commit()
    return stage.finish(units, facts=facts)


@dataclass(frozen=True, slots=True)
class _Settled:
    probes: Probes
    chosen: list[Candidate]
    probability: NDArray[np.float32]


def _settle(
    arm: Arm,
    trials: Sequence[Trial],
    inner: Sequence[list[Scores]],
    data: ProbeData,
    folds: NDArray[np.int64],
    seed: int,
) -> _Settled:
    """Fit each fold's probe with the settings chosen without it, and the final one on every labelled animal."""
    own = [index for index, trial in enumerate(trials) if trial.arm == arm.name]
    tried = [candidate for index in own for candidate in trials[index].candidates]
    scores = [score for index in own for score in inner[index]]
    probe_seed = seed_for(seed, "search", "probe")
    chosen = [tried[index] for index in search.choose(scores)]
    probability = np.zeros(data.targets.shape, dtype=np.float32)
    by_fold = {}
    for fold, candidate in enumerate(chosen):
        probe, held_out = search.fit_without(candidate, data, folds, fold, seed=probe_seed)
        probability[folds == fold] = held_out
        by_fold[fold] = (candidate.window, probe)
    last = tried[search.choose_final(scores)]
    by_fold[FINAL_FOLD] = (last.window, search.fit_final(last, data, seed=probe_seed))
    fold_of = {str(animal): int(fold) for animal, fold in zip(data.animals, folds, strict=True)}
    return _Settled(Probes(fold_of, by_fold), [*chosen, last], probability)


def _write(
    attempt: Attempt,
    settled: _Settled,
    scored: pa.Table,
    data: ProbeData,
    folds: NDArray[np.int64],
    config: SearchConfig,
    seed: int,
) -> dict[str, Any]:
    attempt.write("oof", tabulate(scored, settled.probability, folds.astype(np.int32)), tables.PREDICTIONS)
    scores = metrics.score(
        data.targets,
        settled.probability,
        data.animals,
        confidence=config.confidence,
        num_resamples=config.num_resamples,
        seed=seed_for(seed, "search", "bootstrap"),
    )
    names = [*range(config.num_folds), FINAL_FOLD]
    chosen = [
        {
            "fold": fold,
            "half_width_s": c.window.half_width_s,
            "inverse_l2": c.probe.inverse_l2,
            "num_components": c.probe.num_components,
        }
        for fold, c in zip(names, settled.chosen, strict=True)
    ]
    split = f"{config.num_folds} folds grouped by animal, settings chosen inside the training animals (nested)"
    return {
        "probes": write_probes(attempt, settled.probes),
        "chosen": chosen,
        "scores": {**scores.to_json(), "split": split},
    }


def probe_data(embedded: Manifest, scored: pa.Table) -> ProbeData:
    """Take the vectors of scored frames, in their order.

    Raises:
        ContractError: a scored frame has no vector.
    """
    table = embedded.read("embeddings", keys=set(scored.column("video").to_pylist()))
    row_of = {key: row for row, key in enumerate(_keys(table))}
    missing = [key for key in _keys(scored) if key not in row_of]
    if missing:
        raise ContractError(
            f"{embedded.uri}: {len(missing)} labelled frames have no vector, first {missing[0]}, expected all. Embed the same crops."
        )
    return ProbeData(
        embeddings=vectors_of(table)[[row_of[key] for key in _keys(scored)]],
        time_s=scored.column("time_s").to_numpy(),
        videos=scored.column("video").to_pylist(),
        animals=scored.column("animal").to_pylist(),
        frames=scored.column("frame").to_numpy(),
        targets=targets_of(scored),
    )


def _keys(table: pa.Table) -> list[tuple[str, str, int]]:
    return list(zip(*(table.column(name).to_pylist() for name in tables.KEY), strict=True))


def _content(table: pa.Table) -> str:
    return digest([_keys(table), [table.column(label).to_pylist() for label in tables.LABELS]])
