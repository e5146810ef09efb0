"""The predict stage: probabilities and bouts of every animal, by the probes of one variant."""

from sheep.config import PredictConfig, digest
from sheep.errors import ConfigError
from sheep.execution.base import Executor, TableUnit, run_units
from sheep.execution.local import LOCAL
from sheep.io.ledger import open_stage
from sheep.io.manifest import Manifest
from sheep.predict.job import PredictJob
from sheep.search.results import read_results
from sheep.study import Study
from sheep.variants import variant_named


def run(study: Study) -> Manifest:
    """Embeddings + probes -> probabilities and bouts, by the variant named in the configuration.

    Raises:
        ConfigError: an earlier stage is not finished, there is no such variant, or the folder holds another
            configuration.
    """
    searched, config = study.manifest("search"), study.config.predict
    variant = variant_named(config.variant)
    searchable = read_results(searched)
    if variant is None or variant.name not in searchable:
        raise ConfigError(
            f"predict.variant: got {config.variant!r}, {searched.uri} has {sorted(searchable)}. Choose one of them."
        )
    embedded = study.manifest("embed", variant.source)
    return study.finished(
        predict(
            embedded,
            searched,
            config,
            study.uri("predict"),
            exclusive=study.inputs.ethogram.exclusive,
            executor=study.executor,
        )
    )


def predict(
    embedded: Manifest,
    search: Manifest,
    config: PredictConfig,
    out: str,
    *,
    exclusive: tuple[tuple[str, ...], ...] = (),
    executor: Executor = LOCAL,
) -> Manifest:
    """Embeddings + probes -> probability per label and frame, and bouts.

    Args:
        embedded: the embed stage of the predicting variant's encoder and view.
        search: holds the variant's probes.
        config: the predicting variant, and what counts as a bout.
        out: the predict stage's folder.
        exclusive: groups of labels of which at most one holds at a time.
        executor: runs the units, one per video.

    Returns:
        Manifest with the tables `predictions` and `bouts` of every video that has embeddings.

    Raises:
        ConfigError: `out` holds another configuration.
    """
    stage = open_stage(out, "predict", config, {})
    probes = [search.content(), *exclusive]
    units = {
        entry.key: TableUnit(key=entry.key, input=digest([entry.content(), *probes]), parts=entry.parts)
        for entry in embedded.entries
        if not entry.error
    }
    job = PredictJob(stage=stage, source=embedded.uri, probes=search.uri, config=config, exclusive=exclusive)
    return run_units([(job, units)], executor)[0]
