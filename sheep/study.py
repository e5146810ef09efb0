"""One study: its configuration, its inputs, who runs the work, and the folder of each stage.

Every stage is a function `run(study)`. It reads the archive through `study.inputs` and the output of earlier stages
through `study.manifest`, and both are read once.
"""

from functools import cached_property

import pyarrow as pa

from sheep.config import StudyConfig
from sheep.execution.base import Executor
from sheep.execution.local import LOCAL
from sheep.inputs import Roles, StudyInputs
from sheep.io import storage
from sheep.io.manifest import Manifest, is_finished, read_manifest


class Study:
    """What every stage gets."""

    def __init__(self, config: StudyConfig, executor: Executor = LOCAL) -> None:
        """Nothing is read yet.

        Args:
            config: the study.
            executor: who runs the work.
        """
        self.config = config
        self.executor = executor
        self.inputs = StudyInputs(config)
        self._manifests: dict[str, Manifest] = {}

    def uri(self, *names: str) -> str:
        """URI of a stage's folder, e.g. `uri("embed", "frozen-crop")`."""
        return storage.join(self.config.out, *names)

    def manifest(self, *names: str) -> Manifest:
        """Manifest of a finished stage, read once.

        Raises:
            ConfigError: the stage is not finished.
        """
        uri = self.uri(*names)
        if uri not in self._manifests:
            self._manifests[uri] = read_manifest(uri)
        return self._manifests[uri]

    def finished(self, manifest: Manifest) -> Manifest:
        """Keep the manifest that a stage has just written, for those that follow."""
        self._manifests[manifest.uri] = manifest
        return manifest

    def is_finished(self, *names: str) -> bool:
        """Tell whether a stage has its manifest."""
        return self.uri(*names) in self._manifests or is_finished(self.uri(*names))

    @cached_property
    def roles(self) -> Roles:
        """What each animal is used for."""
        return self.inputs.roles(self.manifest("crop"))

    @cached_property
    def label_frames(self) -> pa.Table:
        """Labels by frame of every tracked frame."""
        return self.inputs.label_frames(self.manifest("crop"))
