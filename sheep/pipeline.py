"""The full pipeline in the order of the data. Read this first; every distributed run is compared with it run locally.

    archive -> crop -> finetune (unguided, guided) -> embed (backbones x views, baselines) -> search (all variants) ->
    predict -> compare -> report

Each stage is one `run(study)`. Who runs its work, this process or a Ray cluster, is `study.executor`; nothing else
differs.
"""

from sheep.compare import stage as compare
from sheep.crop import stage as crop
from sheep.embed import stage as embed
from sheep.finetune import stage as finetune
from sheep.io import progress
from sheep.predict import stage as predict
from sheep.report import stage as report
from sheep.report.stage import Outcome
from sheep.search import stage as search
from sheep.study import Study

__all__ = ["Outcome", "compare", "crop", "embed", "finetune", "predict", "report", "run", "search"]


def run(study: Study) -> Outcome:
    """Run every stage, doing only the work that is not finished yet.

    Raises:
        ConfigError: a person has to correct something in the archive or the configuration; found before any model runs.
        ContractError: a promise between stages is broken, or too many videos failed.
    """
    study.inputs.check()
    with progress.stage("crop"):
        crop.run(study)
    with progress.stage("finetune"):
        finetune.run(study)
    with progress.stage("embed"):
        embed.run(study)
    with progress.stage("search"):
        search.run(study)
    with progress.stage("predict"):
        predict.run(study)
    with progress.stage("compare"):
        compare.run(study)
    with progress.stage("report"):
        return report.run(study)
