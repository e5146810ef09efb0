"""The search stage's driver: tuned probes and out-of-fold scores for every variant, on one set of folds."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sheep import schemas
from sheep.config import SearchConfig, digest, seed_for
from sheep.embed.vectors import vectors_of
from sheep.errors import ConfigError, ContractError
from sheep.evaluation import metrics
from sheep.evaluation.folds import grouped_folds
from sheep.execution.base import Executor
from sheep.execution.local import LOCAL
from sheep.io.ledger import Attempt, open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.schemas import targets_of
from sheep.search import nested_cv
from sheep.search.nested_cv import Candidate, ProbeData
from sheep.search.predictions import FINAL_FOLD, tabulate
from sheep.search.probe_files import Probes, write_probes
from sheep.study import Study
from sheep.variants import Variant, variants_of

log = logging.getLogger(__name__)


Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trial:
    """Candidates of one variant that are judged together: of one window and number of components."""

    variant: str
    source: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class SearchData:
    """What every trial reads."""

    by_source: Mapping[str, ProbeData]
    """Labelled embeddings, by `Variant.source`."""
    folds: NDArray[np.int64]
    """(F,)."""
    seed: int


def score_trial(trial: Trial, data: SearchData) -> list[list[list[float]]]:
    """Score the candidates of a trial by nested cross-validation: plain (K, K) lists, which travel."""
    inner = nested_cv.inner_scores(trial.candidates, data.by_source[trial.source], data.folds, seed=data.seed)
    return [scores.tolist() for scores in inner]


def run(study: Study) -> Manifest:
    """Embeddings + labels -> probes and scores, for every variant whose embeddings are there.

    Validation animals are left out: their labels chose the backbones, so they can neither be scored nor train a probe.

    Raises:
        ConfigError: no embeddings, fewer scored animals than folds, or the folder holds another configuration.
    """
    config, labels = study.config, study.label_frames
    kept = [animal not in study.inputs.validation for animal in labels.column("animal").to_pylist()]
    every = variants_of(config.baselines)
    embedded = {
        one.source: study.manifest("embed", one.source) for one in every if study.is_finished("embed", one.source)
    }
    found = [variant for variant in every if variant.source in embedded]
    if not found:
        sources = ", ".join(sorted({variant.source for variant in every}))
        raise ConfigError(f"{config.out}: no embeddings, expected at least one of embed/{{{sources}}}. Run jobs.embed.")
    manifest = search(
        embedded,
        labels.filter(pa.array(kept, pa.bool_())),
        found,
        config.search,
        study.uri("search"),
        seed=config.seed,
        executor=study.executor,
    )
    return study.finished(manifest)


def search(
    embedded: Mapping[str, Manifest],
    truth: pa.Table,
    variants: Sequence[Variant],
    config: SearchConfig,
    out: str,
    *,
    seed: int,
    executor: Executor = LOCAL,
) -> Manifest:
    """Search window and probe for every variant, under the same folds.

    Args:
        embedded: embed stage by `Variant.source`.
        truth: LABEL_FRAMES; rows without any label are left out.
        variants: which to search.
        config: candidates and folds.
        out: the search stage's folder.
        seed: the study's seed.
        executor: who scores the trials.

    Returns: Manifest with a unit per variant: probes, and `oof`, the out-of-fold predictions of labelled frames; scores
        in the facts.

    Raises:
        ConfigError: fewer labelled animals than folds; `out` holds another configuration.
    """
    scored = truth.filter(pa.array(~np.isnan(targets_of(truth)).all(axis=1)))
    stage = open_stage(out, "search", config, {"seed": str(seed)})
    labels = _content(scored)
    units = {variant.name: digest([embedded[variant.source].content(), labels]) for variant in variants}
    done = unchanged(stage, units)
    if done is not None:
        log.info("search out=%s nothing to do, %d variants are there", out, len(units))
        return done
    data = {source: probe_data(embedded[source], scored) for source in sorted({variant.source for variant in variants})}
    first = next(iter(data.values()))
    folds = grouped_folds(first.animals, first.targets, config.num_folds, seed_for(seed, "search", "folds"))
    trials = [
        Trial(variant.name, variant.source, together)
        for variant in variants
        for together in nested_cv.together(nested_cv.candidates(config, temporal=variant.temporal))
    ]
    log.info(
        "search out=%s variants=%d trials=%d frames=%d animals=%d",
        out,
        len(variants),
        len(trials),
        len(folds),
        len(set(first.animals)),
    )
    facts: dict[str, Any] = {}
    with threadpool_limits(1):  # the matrices are small: threads would wait for each other, and change the last bits
        shared = SearchData(data, folds, seed_for(seed, "search", "probe"))
        found = executor.run_trials(score_trial, trials, shared)
        inner = [[np.array(one, dtype=np.float64) for one in scores] for scores in found]
        settled = {variant: _settle(variant, trials, inner, data[variant.source], folds, seed) for variant in variants}
    for variant, chosen in settled.items():
        attempt = stage.attempt(variant.name, units[variant.name])
        facts[variant.name] = _write(attempt, chosen, scored, data[variant.source], folds, config, seed)
        attempt.commit()
    return stage.finish(units, facts=facts)


@dataclass(frozen=True, slots=True)
class _Settled:
    probes: Probes
    chosen: list[Candidate]
    probability: NDArray[np.float32]


def _settle(
    variant: Variant,
    trials: Sequence[Trial],
    inner: Sequence[list[Scores]],
    data: ProbeData,
    folds: NDArray[np.int64],
    seed: int,
) -> _Settled:
    """Fit each fold's probe with the settings chosen without it, and the final one on every labelled animal."""
    own = [index for index, trial in enumerate(trials) if trial.variant == variant.name]
    tried = [candidate for index in own for candidate in trials[index].candidates]
    scores = [score for index in own for score in inner[index]]
    probe_seed = seed_for(seed, "search", "probe")
    chosen = [tried[index] for index in nested_cv.choose(scores)]
    probability = np.zeros(data.targets.shape, dtype=np.float32)
    by_fold = {}
    for fold, candidate in enumerate(chosen):
        probe, held_out = nested_cv.fit_without(candidate, data, folds, fold, seed=probe_seed)
        probability[folds == fold] = held_out
        by_fold[fold] = (candidate.window, probe)
    last = tried[nested_cv.choose_final(scores)]
    by_fold[FINAL_FOLD] = (last.window, nested_cv.fit_final(last, data, seed=probe_seed))
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
    attempt.write("oof", tabulate(scored, settled.probability, folds.astype(np.int32)), schemas.PREDICTIONS)
    scores = metrics.score(
        data.targets,
        settled.probability,
        data.animals,
        confidence=config.advanced.confidence,
        num_resamples=config.advanced.num_resamples,
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
            f"{embedded.uri}: {len(missing)} labelled frames have no vector, first {missing[0]}, expected all. Embed "
            "the same crops."
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
    return list(zip(*(table.column(name).to_pylist() for name in schemas.KEY), strict=True))


def _content(table: pa.Table) -> str:
    return digest([_keys(table), [table.column(label).to_pylist() for label in schemas.LABELS]])
