"""The compare stage: runs in the driver, without workers."""

import pyarrow as pa

from sheep.compare import groups
from sheep.config import CompareConfig, digest, seed_for
from sheep.io.ledger import open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.study import Study

UNIT = "comparison"


def run(study: Study) -> Manifest:
    """Predictions + cohort -> differences between groups.

    Raises:
        ConfigError: the predict stage is not finished, groups that cannot be compared, or the folder holds another
            configuration.
    """
    config = study.config
    manifest = compare(
        study.manifest("predict"), study.inputs.cohort, config.compare, study.uri("compare"), seed=config.seed
    )
    return study.finished(manifest)


def compare(predicted: Manifest, cohort: pa.Table, config: CompareConfig, out: str, *, seed: int) -> Manifest:
    """Predictions + cohort -> differences between groups, animal by animal.

    Args:
        predicted: the predict stage.
        cohort: COHORT.
        config: reference group, permutations, confidence, alpha.
        out: the compare stage's folder.
        seed: the study's seed.

    Returns:
        Manifest whose facts are a `GroupComparison`; `groups.read_comparison` reads it.

    Raises:
        ConfigError: an animal without a group, a group of fewer than two animals; `out` holds another configuration.
    """
    stage = open_stage(out, "compare", config, {"seed": str(seed)})
    units = {UNIT: digest([predicted.content(), cohort.to_pylist()])}
    done = unchanged(stage, units)
    if done is not None:
        return done
    rows = predicted.read("predictions")
    compared = groups.compare(rows, cohort, config, seed=seed_for(seed, "compare", "permutations"))
    stage.attempt(UNIT, units[UNIT]).commit()
    return stage.finish(units, facts=compared.to_json())
