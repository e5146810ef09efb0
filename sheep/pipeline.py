"""The full pipeline in the order of the data. Read this first; every distributed run is compared with it run locally.

    archive -> crop -> finetune (unguided, guided) -> embed (backbones x views, baselines) -> search (all variants) ->
    predict -> compare -> report

Each stage is one `run(study)`. Who runs its work, this process or a Ray cluster, is `study.executor`; nothing else
differs.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from sheep.annotations import ethogram
from sheep.check.inspect import require
from sheep.compare import stage as compare
from sheep.crop import stage as crop
from sheep.embed import stage as embed
from sheep.finetune import stage as finetune
from sheep.io import storage
from sheep.predict import stage as predict
from sheep.report import stage as report
from sheep.report.stage import Outcome
from sheep.search import stage as search
from sheep.study import Study
from sheep.variants import LEARNT_VIEWS

__all__ = ["STAGES", "Outcome", "compare", "crop", "embed", "finetune", "predict", "report", "run", "search"]

log = logging.getLogger(__name__)

STAGES: tuple[tuple[str, Callable[[Study], object], int], ...] = (
    ("crop", crop.run, 1),
    ("finetune", finetune.run, len(LEARNT_VIEWS)),
    ("embed", embed.run, 1),
    ("search", search.run, 1),
    ("predict", predict.run, 1),
    ("compare", compare.run, 1),
)
"""All stages but the report: name, driver, and how many tasks its progress has."""


def run(study: Study, session: AbstractContextManager[None] | None = None) -> Outcome:
    """Check the study, then run every stage, doing only the work that is not finished yet.

    Args:
        study: its executor runs the work.
        session: entered once the study is checked, so that no machine is asked for before; e.g. a Ray session.

    Raises:
        ConfigError: something has to be corrected in the archive or the configuration; found before any model runs.
        ContractError: a promise between stages is broken, or too many videos failed.
    """
    checked = require(study)
    for warning in checked.warnings:
        log.warning("check %s", warning)
    storage.write_bytes(study.uri(ethogram.FILE), study.inputs.ethogram.to_csv().encode())
    with session or nullcontext():
        for number, (name, stage, num_tasks) in enumerate(STAGES, start=1):
            with study.executor.progress.stage(name, number, len(STAGES) + 1, num_tasks=num_tasks):
                stage(study)
        with study.executor.progress.stage("report", len(STAGES) + 1, len(STAGES) + 1):
            return report.run(study)
