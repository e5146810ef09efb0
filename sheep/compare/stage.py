"""The compare stage: runs in the driver, no worker."""

import pyarrow as pa

from sheep.compare import groups
from sheep.config import CompareConfig, digest, seed_for
from sheep.io.ledger import open_stage, unchanged
from sheep.io.manifest import Manifest
from sheep.study import Study


def run(study: Study) -> Manifest:
    """Predictions + cohort -> differences between groups.

    Raises:
        ConfigError: the predict stage is not finished, groups that cannot be compared, or the folder holds another
            configuration.
    """
    config = study.config
    found = compare(
        study.manifest("predict"), study.inputs.cohort, config.compare, study.uri("compare"), seed=config.seed
    )
    return study.finished(found)


def compare(predicted: Manifest, cohort: pa.Table, config: CompareConfig, out: str, *, seed: int) -> Manifest:
    """Predictions + cohort -> differences between groups, animal by animal.

    Returns: Manifest whose facts hold `comparisons` (one per label and group) and `proportions` (one per animal), as
        plain values.

    Raises:
        ConfigError: an animal without a group, a group of fewer than two animals; `out` holds another configuration.
    """
    stage = open_stage(out, "compare", config, {"seed": str(seed)})
    units = {"comparison": digest([predicted.content(), cohort.to_pylist()])}
    done = unchanged(stage, units)
    if done is not None:
        return done
    rows = predicted.read("predictions")
    found = groups.compare(rows, cohort, config, seed=seed_for(seed, "compare", "permutations"))
    group_of = dict(zip(cohort.column("animal").to_pylist(), cohort.column("group").to_pylist(), strict=True))
    shares = [{**row, "group": group_of[row["animal"]]} for row in groups.proportions(rows).to_pylist()]
    stage.attempt("comparison", units["comparison"]).commit()
    return stage.finish(units, facts={"comparisons": [one.to_json() for one in found], "proportions": shares})
