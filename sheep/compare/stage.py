"""The compare stage: runs in the driver, without workers."""

import numpy as np
import pyarrow as pa

from sheep.annotations.units import ANIMALS, Units
from sheep.compare import groups
from sheep.config import CompareConfig, digest, seed_for
from sheep.finetune.stage import read_selection
from sheep.io.ledger import open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.io.typed_json import object_json
from sheep.schemas import labels_of, row_keys, targets_of
from sheep.study import Study
from sheep.variants import variant_named

UNIT = "comparison"


def run(study: Study) -> Manifest:
    """Predictions + labels + cohort -> differences between groups.

    Raises:
        ConfigError: the predict stage is not finished, groups that cannot be compared, or the folder holds another
            configuration.
    """
    config, labels = study.config, study.label_frames
    excluded = selecting_animals(study)
    kept = [animal not in excluded for animal in labels.column("animal").to_pylist()]
    manifest = compare(
        study.manifest("predict"),
        labels.filter(pa.array(kept, pa.bool_())),
        study.inputs.cohort,
        config.compare,
        study.uri("compare"),
        seed=config.seed,
        units=study.inputs.units,
    )
    return study.finished(manifest)


def selecting_animals(study: Study) -> tuple[str, ...]:
    """Return the animals whose labels selected the backbone of the predicting variant, sorted.

    Of the checkpoints the one that reads them best was kept, so the classifier errs less on them than on others. They
    cannot stand for others, and count as unscored. Where the predicting variant uses a backbone that no label selected
    (a frozen one, or one trained without validation labels), validation animals count as scored.
    """
    variant = variant_named(study.config.predict.variant)
    if variant is None or not variant.encoder.tuned_on or not study.is_finished("finetune", variant.encoder_name):
        return ()
    selection = read_selection(study.manifest("finetune", variant.encoder_name))
    return selection.animals if selection is not None and selection.has_labels else ()


def compare(
    predicted: Manifest,
    label_frames: pa.Table,
    cohort: pa.Table,
    config: CompareConfig,
    out: str,
    *,
    seed: int,
    units: Units = ANIMALS,
) -> Manifest:
    """Predictions + labels + cohort -> differences between groups, animal by animal.

    Args:
        predicted: the predict stage.
        label_frames: labels by frame of the animals that count as scored; null where unscored.
        cohort: COHORT.
        config: reference group, permutations, confidence, alpha.
        out: the compare stage's folder.
        seed: the study's seed.
        units: which animals count together.

    Returns:
        Manifest whose facts are a `GroupComparison`; `results.read_comparison` reads it.

    Raises:
        ConfigError: an animal without a group, fewer than two groups of two animals; `out` holds another configuration.
        ContractError: labels and predictions are of different labels.
    """
    scored = label_frames.filter(pa.array(~np.isnan(targets_of(label_frames)).all(axis=1)))
    labels = {label: scored.column(label).to_pylist() for label in labels_of(scored)}
    stage = open_stage(out, "compare", config, {"seed": str(seed)})
    design = [units.word, sorted(units.unit_of.items())]
    content = digest([predicted.content(), cohort.to_pylist(), row_keys(scored), list(labels), labels, design])
    done = unchanged(stage, {UNIT: content})
    if done is not None:
        return done
    rows = predicted.read("predictions")
    permutation_seed = seed_for(seed, "compare", "permutations")
    compared = groups.compare(rows, scored, cohort, config, seed=permutation_seed, units=units)
    stage.attempt(UNIT, content).commit()
    return stage.finish({UNIT: content}, facts=object_json(compared))
