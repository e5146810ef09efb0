"""The inputs of a study: videos, prompts, annotations and cohort.

Each is read once, checked against the others, and typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from sheep import prompts
from sheep.annotations import ethogram, labelled
from sheep.annotations.coding import Coding
from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.annotations.ethogram import Ethogram, read_ethogram
from sheep.annotations.labelled import Annotations
from sheep.annotations.matching import Matcher
from sheep.annotations.readers import Folder, read_files
from sheep.annotations.units import Units, read_units
from sheep.config import ArchiveConfig, FinetuneConfig, StudyConfig, seed_for
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.io.manifest import Manifest
from sheep.schemas import Prompt
from sheep.video import reader


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Which animal is used for what. Decided here and nowhere else."""

    annotated: tuple[str, ...]
    """Animals with an annotation, sorted."""
    validation: tuple[str, ...]
    """Annotated animals whose labels choose the fine-tuned weights: in no training batch, fold, probe or score.
    Sorted."""
    training_videos: tuple[str, ...]
    """Videos whose images fine-tuning may use, sorted."""
    is_transductive: bool
    """Whether these show animals that are scored."""

    @property
    def scored(self) -> tuple[str, ...]:
        """Annotated animals that train and test the probe, each in one fold."""
        return tuple(animal for animal in self.annotated if animal not in self.validation)


class StudyInputs:
    """An archive's inputs, read when first asked for and kept."""

    def __init__(self, config: StudyConfig) -> None:
        """Nothing is read yet."""
        self._config = config
        self._archive: ArchiveConfig = config.archive

    @cached_property
    def videos(self) -> dict[str, str]:
        """Video -> identity of its content.

        Raises:
            ConfigError: no videos.
        """
        return reader.find(storage.join(self._archive.root, self._archive.videos))

    @cached_property
    def prompts(self) -> dict[str, list[Prompt]]:
        """Video -> its prompts, at least one for each.

        Raises:
            ConfigError: prompts are missing, invalid, or on a frame that is not tracked.
        """
        file = storage.join(self._archive.root, self._archive.prompts)
        found = prompts.by_video(prompts.read(_bytes(file, "prompt file"), name=file), list(self.videos), name=file)
        for given in found.values():
            prompts.start_frame(given, self._config.crop.stride_frames)
        return found

    @cached_property
    def annotation_folder(self) -> Folder:
        """Every file of the annotation folder: what it states, or why it was ignored.

        Raises:
            ConfigError: a file of annotations that cannot be read, or none that states anything.
        """
        uri = storage.join(self._archive.root, self._archive.annotations)
        folder = read_files(storage.find(uri), lambda name: _bytes(storage.join(uri, name), "annotation file"))
        if not folder.codings:
            ignored = "".join(f" {one.name}: {'; '.join(one.notes)}." for one in folder.files)
            raise ConfigError(
                f"{uri}: no annotations, expected files such as BORIS exports.{ignored} Check the archive's annotation "
                "folder."
            )
        return folder

    @cached_property
    def ethogram(self) -> Ethogram:
        """The study's behaviours: the archive's ethogram file, or every state behaviour of the annotations.

        Raises:
            ConfigError: the file is invalid, or nothing is left to learn.
        """
        uri = storage.join(self._archive.root, ethogram.FILE)
        if storage.exists(uri):
            return read_ethogram(_bytes(uri, "ethogram"), name=uri)
        codings = self.annotation_folder.codings
        states = {name for one in codings for name, intervals in one.bouts.items() if intervals}
        return ethogram.infer(states, {name for one in codings for name in one.points})

    def video_of(self, coding: Coding) -> str:
        """Return the video that a coding is of.

        Args:
            coding: of a file of the annotation folder.

        Raises:
            ConfigError: no video matches, or several do.
        """
        return self._matcher.find(coding.media, coding.where, stem=coding.stem)

    @cached_property
    def annotations(self) -> Annotations:
        """Every annotation, of a video, an animal and labels of this study.

        Raises:
            ConfigError: a coding matches no video, no prompted animal or no behaviour.
        """
        animals_in = {video: list(dict.fromkeys(one.animal for one in given)) for video, given in self.prompts.items()}
        return labelled.resolve(self.annotation_folder.codings, self.video_of, animals_in, self.ethogram)

    @cached_property
    def cohort(self) -> pa.Table:
        """COHORT.

        Raises:
            ConfigError: the cohort file is missing or invalid, has a row for no video, or lacks a row for a video.
        """
        file = storage.join(self._archive.root, self._archive.cohort)
        return check_cohort(read_cohort(_bytes(file, "cohort file"), name=file), self.videos)

    @cached_property
    def units(self) -> Units:
        """Which animals count together in the comparison of groups: those of one pen, where the cohort file says so.

        Raises:
            ConfigError: an animal is in two units, or a unit in two groups.
        """
        file = storage.join(self._archive.root, self._archive.cohort)
        return read_units(_bytes(file, "cohort file"), name=file)

    @cached_property
    def annotated(self) -> tuple[str, ...]:
        """Animals with an annotation, sorted."""
        return tuple(sorted({annotation.animal for annotation in self.annotations.used}))

    @cached_property
    def validation(self) -> tuple[str, ...]:
        """The validation animals of fine-tuning, sorted.

        Raises:
            ConfigError: fewer annotated animals than asked for.
        """
        return tuple(choose_validation(self.annotated, self.cohort, self._config.finetune, self._config.seed))

    def roles(self, cropped: Manifest) -> Roles:
        """Decide what each animal is used for.

        Fine-tuning uses animals without labels, so that every score is of animals it never saw. Without any it uses all
        videos but those that show a validation animal, and the scores are transductive.
        """
        usable = {entry.key for entry in cropped.entries if not entry.error}
        unlabelled = sorted(usable - self._showing(self.annotated))
        training = unlabelled or sorted(usable - self._showing(self.validation))
        return Roles(
            annotated=self.annotated,
            validation=self.validation,
            training_videos=tuple(training),
            is_transductive=not unlabelled,
        )

    def label_frames(self, cropped: Manifest) -> pa.Table:
        """Labels by frame for every tracked frame, null where unscored."""
        keys = cropped.read("crops", columns=["video", "animal", "frame", "time_s"])
        return labelled.label_frames(keys, self.annotations.used, self.ethogram.labels)

    @cached_property
    def _matcher(self) -> Matcher:
        return Matcher(self.videos, by_name=self._archive.match_by_name, root=self._archive.videos)

    def _showing(self, animals: Sequence[str]) -> set[str]:
        rows = zip(self.cohort.column("video").to_pylist(), self.cohort.column("animal").to_pylist(), strict=True)
        return {video for video, animal in rows if animal in animals}


def choose_validation(animals: Sequence[str], cohort: pa.Table, config: FinetuneConfig, seed: int) -> list[str]:
    """Draw the annotated animals that only decide which fine-tuned weights are saved, evenly over groups.

    They are in no fold of the search and in no batch of the training, so that choosing by their labels does not bias
    the scores.

    Args:
        animals: those with annotations, sorted.
        cohort: COHORT.
        config: how many.
        seed: the study's seed.

    Raises:
        ConfigError: fewer annotated animals than asked for.
    """
    if config.validation_animals > len(animals):
        raise ConfigError(
            f"finetune.validation_animals: got {config.validation_animals}, expected at most the {len(animals)} "
            "annotated "
            "animals. Annotate more animals, or lower it."
        )
    group_of = dict(zip(cohort.column("animal").to_pylist(), cohort.column("group").to_pylist(), strict=True))
    # "guard" is an earlier name of these animals: with another string, studies of before would draw other ones.
    order = np.random.default_rng(seed_for(seed, "finetune", "guard")).permutation(len(animals))
    drawn = [animals[place] for place in order]
    groups = [group_of.get(animal, "") for animal in drawn]
    # The first of every group, then the second of every group, and so on.
    turn = [groups[:place].count(group) for place, group in enumerate(groups)]
    ranked = sorted(range(len(drawn)), key=lambda place: (turn[place], place))
    return sorted(drawn[place] for place in ranked[: config.validation_animals])


def _bytes(uri: str, what: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise ConfigError(f"{uri}: no {what} there, expected one. Check the archive's root and the name.") from error
