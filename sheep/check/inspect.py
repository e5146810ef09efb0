"""One pass over a study's inputs and settings: everything that has to be corrected, in one list."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from scipy import optimize, stats

from sheep.annotations.coding import Coding
from sheep.annotations.intervals import clip, length
from sheep.annotations.labelled import Annotation
from sheep.annotations.matching import Matcher
from sheep.check import comparison, names, settings
from sheep.check.findings import CheckReport, FileFacts, GroupFacts, LabelFacts
from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.schemas import Prompt
from sheep.study import Study
from sheep.variants import variant_named
from sheep.video import reader

MAX_LENGTH_DIFFERENCE_S, MAX_LENGTH_SHARE = 1.0, 0.02
"""A media file whose stated length differs from the video's by more than both was annotated on another cut."""
POWER, ALPHA = 0.8, 0.05
"""The usual convention of power analyses."""

Value = TypeVar("Value")


def require(study: Study) -> CheckReport:
    """Check a study and refuse it where anything has to be corrected.

    Raises:
        ConfigError: with every fault in one list.
    """
    report = inspect(study)
    if len(report.errors) == 1:
        raise ConfigError(report.errors[0])
    if report.errors:
        lines = "\n".join(f"  {place}. {error}" for place, error in enumerate(report.errors, start=1))
        raise ConfigError(f"{len(report.errors)} things to correct before this study can run:\n{lines}")
    return report


def inspect(study: Study) -> CheckReport:
    """Check a study: inputs against each other, settings against inputs and weights. No model and no Ray.

    Args:
        study: nothing of it has to be finished.
    """
    errors: list[str] = []
    inputs, config = study.inputs, study.config
    for read in (
        lambda: inputs.videos,
        lambda: inputs.prompts,
        lambda: inputs.cohort,
        lambda: inputs.units,
        lambda: inputs.annotation_folder,
        lambda: inputs.ethogram,
        lambda: inputs.annotations,
    ):
        _attempt(read, errors)
    errors += settings.problems(config)
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    errors += settings.missing_gpu(config, on_cluster=on_cluster, has_gpu=any(Path("/dev").glob("nvidia[0-9]*")))
    errors += _joined(study)
    errors += _videos(study)
    groups = _groups(study)
    return CheckReport(
        num_videos=len(_attempt(lambda: inputs.videos, []) or {}),
        groups=groups,
        labels=_labels(study),
        exclusive=ethogram.exclusive if (ethogram := _attempt(lambda: inputs.ethogram, [])) else (),
        files=_files(study),
        detectable_sd=_detectable(groups),
        errors=tuple(dict.fromkeys(errors)),
        warnings=(*_warnings(study), *_weak_groups(study)),
    )


def _attempt(read: Callable[[], Value], errors: list[str]) -> Value | None:
    """Return what is read; None where a person has to correct something first, which is added to the errors."""
    try:
        return read()
    except ConfigError as error:
        errors.append(str(error))
        return None


def _joined(study: Study) -> Iterator[str]:
    """Say where prompts, cohort and annotations do not meet, as far as each can be read."""
    inputs, config = study.inputs, study.config
    prompted, cohort = _attempt(lambda: inputs.prompts, []), _attempt(lambda: inputs.cohort, [])
    if prompted is not None and cohort is not None:
        shown = {video: {one.animal for one in given} for video, given in prompted.items()}
        rows: dict[str, set[str]] = {}
        for row in cohort.to_pylist():
            rows.setdefault(row["video"], set()).add(row["animal"])
        yield from names.unmatched_animals(shown, rows, config.archive.prompts, config.archive.cohort)
    if cohort is not None:
        groups = cohort.column("group").to_pylist()
        yield from names.similar_groups(groups, config.archive.cohort)
        members: dict[str, list[str]] = {}
        for row in cohort.to_pylist():
            if row["animal"] not in members.setdefault(row["group"], []):
                members[row["group"]].append(row["animal"])
        yield from settings.groups(config, members)
    annotated = _attempt(lambda: inputs.annotated, [])
    if annotated is not None:
        yield from settings.animals(config, annotated, config.finetune.validation_animals)


def _videos(study: Study) -> Iterator[str]:
    """Say which annotations were made on another cut of their video, as far as both state a length."""
    inputs, archive = study.inputs, study.config.archive
    folder, videos = _attempt(lambda: inputs.annotation_folder, []), _attempt(lambda: inputs.videos, [])
    if folder is None or videos is None:
        return
    matcher = Matcher(videos, by_name=archive.match_by_name)
    seen: set[tuple[str, float]] = set()
    for coding in folder.codings:
        video = _attempt(lambda coding=coding: matcher.find(coding.media, coding.where), [])  # type: ignore[misc]
        if video is None or coding.media_s is None or (video, coding.media_s) in seen:
            continue
        seen.add((video, coding.media_s))
        yield from _other_cut(coding, video, storage.join(archive.root, archive.videos, video))


def _other_cut(coding: Coding, video: str, uri: str) -> Iterator[str]:
    try:
        length_s = reader.length_s(uri)
    except MediaError:
        return  # the crop stage records the video as unusable; that is no fault of the annotation
    assert coding.media_s is not None
    allowed = max(MAX_LENGTH_DIFFERENCE_S, MAX_LENGTH_SHARE * length_s)
    if not math.isnan(length_s) and abs(coding.media_s - length_s) > allowed:
        yield (
            f"{coding.where}: annotated on media of {coding.media_s:g} s, and {video!r} lasts {length_s:.1f} s, "
            "expected the same. It was made on another cut or another video of the same name: annotate this one."
        )


def _groups(study: Study) -> tuple[GroupFacts, ...]:
    cohort = _attempt(lambda: study.inputs.cohort, [])
    if cohort is None:
        return ()
    annotated = set(_attempt(lambda: study.inputs.annotated, []) or ())
    animals: dict[str, set[str]] = {}
    videos: dict[str, set[str]] = {}
    for row in cohort.to_pylist():
        animals.setdefault(row["group"], set()).add(row["animal"])
        videos.setdefault(row["group"], set()).add(row["video"])
    return tuple(
        GroupFacts(
            group=group,
            num_animals=len(members),
            num_annotated=len(members & annotated),
            num_videos=len(videos[group]),
        )
        for group, members in sorted(animals.items())
    )


def _labels(study: Study) -> tuple[LabelFacts, ...]:
    """Sum up each label's scored time and share of it, by group."""
    inputs, archive = study.inputs, study.config.archive
    annotations, cohort = _attempt(lambda: inputs.annotations, []), _attempt(lambda: inputs.cohort, [])
    if annotations is None or cohort is None:
        return ()
    group_of = {row["animal"]: row["group"] for row in cohort.to_pylist()}
    totals: dict[str, dict[str, list[float]]] = {label: {} for label in inputs.ethogram.labels}
    shows: dict[str, set[str]] = {label: set() for label in inputs.ethogram.labels}
    lengths: dict[str, float] = {}
    for one in annotations.used:
        if one.video not in lengths:
            lengths[one.video] = _length(storage.join(archive.root, archive.videos, one.video))
        for label, (scored, held) in _seconds(one, lengths[one.video]).items():
            total = totals[label].setdefault(group_of.get(one.animal, ""), [0.0, 0.0])
            total[0] += scored
            total[1] += held
            if held > 0:
                shows[label].add(one.animal)
    return tuple(
        LabelFacts(
            label=label,
            minutes_scored={group: total[0] / 60 for group, total in sorted(groups.items())},
            share={group: total[1] / total[0] if total[0] else math.nan for group, total in sorted(groups.items())},
            num_animals=len(shows[label]),
        )
        for label, groups in totals.items()
    )


def _seconds(annotation: Annotation, length_s: float) -> dict[str, tuple[float, float]]:
    """Return each label's scored and held time, in the annotation's unit; nan where the video's end is not known."""
    end = length_s if annotation.unit == "s" else math.inf
    found = {}
    for label, scored in annotation.scored.items():
        total = length(clip(scored, 0.0, end))
        found[label] = (total if math.isfinite(total) else math.nan, length(annotation.bouts.get(label, ())))
    return found


def _length(uri: str) -> float:
    try:
        length_s = reader.length_s(uri)
    except MediaError:
        return math.inf
    return math.inf if math.isnan(length_s) else length_s


def _files(study: Study) -> tuple[FileFacts, ...]:
    folder = _attempt(lambda: study.inputs.annotation_folder, [])
    files = folder.files if folder is not None else ()
    return tuple(FileFacts(name=one.name, tool=one.tool, notes=one.notes) for one in files)


def _detectable(groups: Iterable[GroupFacts]) -> float:
    """Return the detectable difference of the two smallest groups, in standard deviations of the animals.

    Of the two-sided t test with equal variances, whose square is F distributed.
    """
    sizes = sorted(group.num_animals for group in groups)[:2]
    if len(sizes) < 2 or sizes[0] < 2:
        return math.nan
    freedom, scale = sum(sizes) - 2, math.sqrt(sizes[0] * sizes[1] / sum(sizes))
    limit = stats.t.ppf(1 - ALPHA / 2, freedom)

    def lacking(noncentrality: float) -> float:
        return float(stats.ncf.sf(limit**2, 1, freedom, noncentrality**2)) - POWER

    # With 2 + 2 animals, the fewest, the noncentrality is 5.8.
    return float(optimize.brentq(lacking, 1e-6, 20.0)) / scale


def _warnings(study: Study) -> Iterator[str]:
    """Say what may be meant and should be looked at."""
    inputs = study.inputs
    prompted, annotations = _attempt(lambda: inputs.prompts, []), _attempt(lambda: inputs.annotations, [])
    if prompted is None or annotations is None:
        return
    animals: list[str] = [one.animal for given in prompted.values() for one in _of(given)]
    for spellings in names.near_misses(animals):
        yield f"prompts: animals {', '.join(map(repr, spellings))} differ in spelling only: are they one animal?"
    scored = {(one.video, one.animal) for one in annotations.used}
    for video in sorted({one.video for one in annotations.used}):
        for animal in sorted({one.animal for one in prompted[video]}):
            if (video, animal) not in scored:
                yield (
                    f"annotations: {animal!r} in {video!r} is not annotated, and another animal there is. If it was "
                    "watched and did nothing, list it in a table with video, animal, start_s and stop_s."
                )


def _weak_groups(study: Study) -> Iterator[str]:
    """Say what the comparison of groups will leave out, not test, or never find."""
    inputs = study.inputs
    cohort, units = _attempt(lambda: inputs.cohort, []), _attempt(lambda: inputs.units, [])
    annotated = _attempt(lambda: inputs.annotated, [])
    if cohort is None or units is None or annotated is None:
        return
    members: dict[str, list[str]] = {}
    for row in cohort.to_pylist():
        unit = units.of(row["animal"])
        if unit not in members.setdefault(row["group"], []):
            members[row["group"]].append(unit)
    variant = variant_named(study.config.predict.variant)
    is_tuned = variant is not None and variant.encoder.tuned_on is not None
    selecting = (_attempt(lambda: inputs.validation, []) or ()) if is_tuned else ()
    scored = {units.of(animal) for animal in annotated if animal not in selecting}
    yield from comparison.weak_groups(study.config, members, scored)


def _of(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    yield from {one.animal: one for one in prompts}.values()
