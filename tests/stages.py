"""Run single stages of a study, for tests of one stage."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sheep.compare import stage as compare_stage
from sheep.config import LearntView, StudyConfig
from sheep.crop import stage as crop_stage
from sheep.embed import stage as embed_stage
from sheep.embed.stage import Shown
from sheep.execution.base import Executor, TrainingJob, Work
from sheep.execution.local import LOCAL
from sheep.finetune import stage as finetune_stage
from sheep.io.manifest import Entry, Manifest
from sheep.io.progress import Progress
from sheep.predict import stage as predict_stage
from sheep.search import stage as search_stage
from sheep.study import Study


@dataclass(frozen=True)
class Replaced:
    """The local executor, with the given functions in place of running units or training."""

    units: Callable[[Sequence[Work]], Iterable[Entry]] = LOCAL.run_units
    training: Callable[[Any], None] = LOCAL.train
    progress: Progress = field(default_factory=Progress)

    def run_units(self, work: Sequence[Work]) -> Iterable[Entry]:
        return self.units(work)

    def train(self, job: TrainingJob) -> None:
        self.training(job)

    def run_trials(self, objective: Any, trials: Any, shared: Any) -> Any:
        return LOCAL.run_trials(objective, trials, shared)


def crop(config: StudyConfig, executor: Executor = LOCAL) -> Manifest:
    return crop_stage.run(Study(config, executor))


def finetune(config: StudyConfig, view: LearntView, executor: Executor = LOCAL) -> Manifest:
    [manifest] = finetune_stage.run(Study(config, executor), [view])
    return manifest


def embed(config: StudyConfig, which: Sequence[Shown], executor: Executor = LOCAL) -> dict[Shown, Manifest]:
    return embed_stage.run(Study(config, executor), which)


def search(config: StudyConfig, executor: Executor = LOCAL) -> Manifest:
    return search_stage.run(Study(config, executor))


def predict(config: StudyConfig, executor: Executor = LOCAL) -> Manifest:
    return predict_stage.run(Study(config, executor))


def compare(config: StudyConfig) -> Manifest:
    return compare_stage.run(Study(config))
