"""The search stage: hyperparameters, probes and out-of-fold predictions of every variant, on one set of folds.

For each variant, nested cross-validation scores every candidate (a trial scores those that share a window and number of
components), the best hyperparameters are selected for each outer fold, and its probe is refitted with them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sheep.config import SearchConfig, digest, seed_for
from sheep.embed.vectors import vectors_of
from sheep.errors import ConfigError, ContractError
from sheep.evaluation import metrics
from sheep.evaluation.folds import grouped_folds, thin_groups
from sheep.execution.base import Executor
from sheep.execution.local import LOCAL
from sheep.io.ledger import StageFolder, open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.io.typed_json import object_json
from sheep.schemas import labels_of, row_keys, targets_of
from sheep.search import nested_cv
from sheep.search.nested_cv import Candidate, ProbeData, ScoreMatrix
from sheep.search.predictions import FINAL_FOLD, tabulate
from sheep.search.probe_files import Probes, WindowedProbe, write_probes
from sheep.search.results import Hyperparameters, VariantResult
from sheep.study import Study
from sheep.variants import Variant, variants_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CandidateGroup:
    """Candidates of one variant that are scored together: of one window and number of components."""

    variant: str
    source: str
    """Name of the embeddings it reads (`Variant.source`)."""
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class SearchData:
    """What every trial reads."""

    by_source: Mapping[str, ProbeData]
    """Labelled embeddings, by `Variant.source`."""
    folds: NDArray[np.int64]
    """(F,) outer fold of each row, the same for every variant."""
    seed: int
    """Of the probes."""


@dataclass(frozen=True, slots=True)
class Refit:
    """One variant, refitted with the hyperparameters that were selected."""

    probes: Probes
    chosen: tuple[Candidate, ...]
    """Of each outer fold in order, then of the final probe."""
    out_of_fold: NDArray[np.float32]
    """(F, L) probability of each row by the probe that did not see its animal."""


def score_trial(trial: CandidateGroup, data: SearchData) -> list[list[list[float]]]:
    """Score the candidates of a trial by nested cross-validation.

    Args:
        trial: the candidates.
        data: shared by all trials.

    Returns:
        For each candidate its (K, K) score matrix as plain lists, which travel.
    """
    inner = nested_cv.inner_scores(trial.candidates, data.by_source[trial.source], data.folds, seed=data.seed)
    return [scores.tolist() for scores in inner]


def run(study: Study) -> Manifest:
    """Embeddings + labels -> probes and scores, for every variant whose embeddings are there.

    Validation animals are left out: their labels selected the backbones, so they can neither be scored nor train a
    probe.

    Raises:
        ConfigError: no embeddings, fewer scored animals than folds, or the folder holds another configuration.
    """
    config, labels = study.config, study.label_frames
    kept = [animal not in study.inputs.validation for animal in labels.column("animal").to_pylist()]
    every = variants_of(config.baselines)
    embedded = {
        variant.source: study.manifest("embed", variant.source)
        for variant in every
        if study.is_finished("embed", variant.source)
    }
    ready = [variant for variant in every if variant.source in embedded]
    if not ready:
        sources = ", ".join(sorted({variant.source for variant in every}))
        raise ConfigError(f"{config.out}: no embeddings, expected at least one of embed/{{{sources}}}. Run jobs.embed.")
    manifest = search(
        embedded,
        labels.filter(pa.array(kept, pa.bool_())),
        ready,
        config.search,
        study.uri("search"),
        seed=config.seed,
        group_of=groups_of(study.inputs.cohort),
        executor=study.executor,
    )
    return study.finished(manifest)


def groups_of(cohort: pa.Table) -> dict[str, str]:
    """Return the experimental group of every animal of a COHORT table."""
    return dict(zip(cohort.column("animal").to_pylist(), cohort.column("group").to_pylist(), strict=True))


def search(
    embedded: Mapping[str, Manifest],
    label_frames: pa.Table,
    variants: Sequence[Variant],
    config: SearchConfig,
    out: str,
    *,
    seed: int,
    group_of: Mapping[str, str] | None = None,
    executor: Executor = LOCAL,
) -> Manifest:
    """Search window and probe for every variant, under the same folds.

    Args:
        embedded: embed stage by `Variant.source`.
        label_frames: labels by frame; rows without any label are left out.
        variants: the ones to search.
        config: candidates and folds.
        out: the search stage's folder.
        seed: the study's seed.
        group_of: animal -> experimental group, which folds are balanced over; None for no groups.
        executor: runs the trials.

    Returns: Manifest with a unit per variant, which holds its probes and `oof`, the out-of-fold predictions of labelled
        frames; the facts hold each variant's `VariantResult`.

    Raises:
        ConfigError: fewer labelled animals than folds; `out` holds another configuration.
        ContractError: a labelled frame has no vector.
    """
    scored = label_frames.filter(pa.array(~np.isnan(targets_of(label_frames)).all(axis=1)))
    stage = open_stage(out, "search", config, {"seed": str(seed)})
    labels = _content(scored)
    groups = (
        sorted((animal, group_of[animal]) for animal in set(scored.column("animal").to_pylist())) if group_of else []
    )
    units = {variant.name: digest([embedded[variant.source].content(), labels, groups]) for variant in variants}
    done = unchanged(stage, units)
    if done is not None:
        log.info("search out=%s nothing to do, %d variants are there", out, len(units))
        return done
    by_source = {
        source: probe_data(embedded[source], scored) for source in sorted({variant.source for variant in variants})
    }
    first = next(iter(by_source.values()))
    fold_seed = seed_for(seed, "search", "folds")
    folds = grouped_folds(first.animals, first.targets, config.num_folds, fold_seed, group_of=group_of)
    for group, count in thin_groups(first.animals, group_of or {}, config.num_folds).items():
        log.warning("group_not_in_every_fold group=%s labelled=%d folds=%d", group, count, config.num_folds)
    with threadpool_limits(1):  # the matrices are small: threads would wait for each other, and change the last bits
        data = SearchData(by_source, folds, seed_for(seed, "search", "probe"))
        refits = _search_all(variants, data, config, executor)
    facts, names = {}, labels_of(scored)
    for variant, refit in refits.items():
        targets, animals = by_source[variant.source].targets, by_source[variant.source].animals
        scores = _scores(refit, targets, animals, names, config, seed)
        table = tabulate(scored, refit.out_of_fold, names, folds)
        facts[variant.name] = _commit(stage, units, variant, refit, scores, table)
    return stage.finish(units, facts={name: object_json(result) for name, result in facts.items()})


def _search_all(
    variants: Sequence[Variant], data: SearchData, config: SearchConfig, executor: Executor
) -> dict[Variant, Refit]:
    """Score all trials at once, on any worker; then select and refit here, variant by variant."""
    trials = [
        CandidateGroup(variant.name, variant.source, group)
        for variant in variants
        for group in nested_cv.group_by_projection(nested_cv.candidates(config, temporal=variant.temporal))
    ]
    num_animals = len(set(next(iter(data.by_source.values())).animals))
    log.info(
        "search variants=%d trials=%d frames=%d animals=%d", len(variants), len(trials), len(data.folds), num_animals
    )
    inner = executor.run_trials(score_trial, trials, data)
    refits = {}
    for variant in variants:
        scored = [pair for pair in zip(trials, inner, strict=True) if pair[0].variant == variant.name]
        grid = [candidate for trial, _ in scored for candidate in trial.candidates]
        scores = [np.array(matrix, dtype=np.float64) for _, matrices in scored for matrix in matrices]
        refits[variant] = _refit(grid, scores, data.by_source[variant.source], data.folds, data.seed)
    return refits


def _refit(
    grid: Sequence[Candidate], scores: Sequence[ScoreMatrix], data: ProbeData, folds: NDArray[np.int64], seed: int
) -> Refit:
    """Refit each fold's probe with the hyperparameters selected without it.

    And the final one on every labelled animal.
    """
    selected = [grid[index] for index in nested_cv.select_per_fold(scores)]
    out_of_fold = np.zeros(data.targets.shape, dtype=np.float32)
    by_fold = {}
    for fold, candidate in enumerate(selected):
        probe, held_out = nested_cv.refit_without(candidate, data, folds, fold, seed=seed)
        out_of_fold[folds == fold] = held_out
        by_fold[fold] = WindowedProbe(candidate.window, probe)
    final = grid[nested_cv.select_final(scores)]
    by_fold[FINAL_FOLD] = WindowedProbe(final.window, nested_cv.refit_final(final, data, seed=seed))
    fold_of = {str(animal): int(fold) for animal, fold in zip(data.animals, folds, strict=True)}
    return Refit(Probes(data.labels, fold_of, by_fold), (*selected, final), out_of_fold)


def _scores(
    refit: Refit,
    targets: NDArray[np.floating],
    animals: Sequence[str],
    labels: Sequence[str],
    config: SearchConfig,
    seed: int,
) -> metrics.Scores:
    split = f"{config.num_folds} folds grouped by animal, settings chosen inside the training animals (nested)"
    return metrics.score(targets, refit.out_of_fold, animals, bootstrap(config, seed), split=split, labels=labels)


def bootstrap(config: SearchConfig, seed: int) -> metrics.Bootstrap:
    """Return how a study resamples its animals: the same ones for each variant and for every comparison of two.

    Args:
        config: level and number of resamples.
        seed: the study's seed.
    """
    return metrics.Bootstrap(
        confidence=config.advanced.confidence,
        num_resamples=config.advanced.num_resamples,
        seed=seed_for(seed, "search", "bootstrap"),
    )


def _commit(
    stage: StageFolder,
    units: Mapping[str, str],
    variant: Variant,
    refit: Refit,
    scores: metrics.Scores,
    out_of_fold: pa.Table,
) -> VariantResult:
    """Write a variant's predictions and probes, and return what its facts hold."""
    attempt = stage.attempt(variant.name, units[variant.name])
    attempt.write("oof", out_of_fold, out_of_fold.schema)
    index = write_probes(attempt, refit.probes)
    attempt.commit()
    names = [*range(len(refit.chosen) - 1), FINAL_FOLD]
    chosen = tuple(
        Hyperparameters(
            fold=fold,
            half_width_s=candidate.window.half_width_s,
            inverse_l2=candidate.probe.inverse_l2,
            num_components=candidate.probe.num_components,
        )
        for fold, candidate in zip(names, refit.chosen, strict=True)
    )
    return VariantResult(labels=labels_of(out_of_fold), probes=index, chosen=chosen, scores=scores)


def probe_data(embedded: Manifest, scored: pa.Table) -> ProbeData:
    """Select the vectors of scored frames, in their order.

    Args:
        embedded: the embed stage of one encoder and view.
        scored: labels by frame, without unscored rows.

    Raises:
        ContractError: a scored frame has no vector.
    """
    table = embedded.read("embeddings", keys=set(scored.column("video").to_pylist()))
    row_of = {key: row for row, key in enumerate(row_keys(table))}
    keys = row_keys(scored)
    missing = [key for key in keys if key not in row_of]
    if missing:
        raise ContractError(
            f"{embedded.uri}: {len(missing)} labelled frames have no vector, first {missing[0]}, expected all. "
            "Embed the same crops."
        )
    return ProbeData(
        embeddings=vectors_of(table)[[row_of[key] for key in keys]],
        time_s=scored.column("time_s").to_numpy(),
        videos=scored.column("video").to_pylist(),
        animals=scored.column("animal").to_pylist(),
        targets=targets_of(scored),
        labels=labels_of(scored),
    )


def _content(label_frames: pa.Table) -> str:
    """Digest of all labels and their names: part of the input identity of every variant."""
    labels = {label: label_frames.column(label).to_pylist() for label in labels_of(label_frames)}
    return digest([row_keys(label_frames), list(labels), labels])
