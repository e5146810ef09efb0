"""One pass over a study's inputs and settings: everything that has to be corrected, in one list."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from scipy import optimize, stats

from sheep.annotations.intervals import clip, length
from sheep.annotations.labelled import Annotation
from sheep.check import comparison, names, settings, videos
from sheep.check.findings import CheckReport, FileFacts, GroupFacts, LabelFacts
from sheep.check.videos import Scans
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.schemas import Prompt
from sheep.study import Study
from sheep.variants import variant_named
from sheep.video.scan import Scan

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
    scans = _attempt(lambda: _scans(study), errors) or {}
    errors += _of_videos(study, scans)
    groups, ethogram = _groups(study), _attempt(lambda: inputs.ethogram, [])
    return CheckReport(
        num_videos=len(_attempt(lambda: inputs.videos, []) or {}),
        groups=groups,
        labels=_labels(study, scans),
        inferred=ethogram is not None and ethogram.inferred,
        exclusive=ethogram.exclusive if ethogram is not None else (),
        files=_files(study),
        detectable_sd=_detectable(groups),
        errors=tuple(dict.fromkeys(errors)),
        warnings=(*videos.unusable(scans), *_warnings(study), *_weak_groups(study)),
    )


def _attempt(read: Callable[[], Value], errors: list[str]) -> Value | None:
    """Return what is read; None if something has to be corrected first, which is added to the errors."""
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


def _of_videos(study: Study, scans: Scans) -> Iterator[str]:
    """Say where prompts and annotations do not fit the videos, as far as each can be read."""
    inputs, config = study.inputs, study.config
    given = _attempt(lambda: inputs.prompts, [])
    if given is not None:
        yield from videos.prompt_problems(given, scans, config.crop, config.archive.prompts)
    folder, found = _attempt(lambda: inputs.annotation_folder, []), _attempt(lambda: inputs.videos, [])
    if folder is not None and found is not None:
        yield from videos.other_cuts(folder.codings, lambda one: _attempt(lambda: inputs.video_of(one), []), scans)


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


def _labels(study: Study, scans: Scans) -> tuple[LabelFacts, ...]:
    """Sum up each label's scored time and share of it, by group."""
    inputs = study.inputs
    annotations, cohort = _attempt(lambda: inputs.annotations, []), _attempt(lambda: inputs.cohort, [])
    if annotations is None or cohort is None:
        return ()
    group_of = {row["animal"]: row["group"] for row in cohort.to_pylist()}
    totals: dict[str, dict[str, list[float]]] = {label: {} for label in inputs.ethogram.labels}
    shows: dict[str, set[str]] = {label: set() for label in inputs.ethogram.labels}
    for one in annotations.used:
        for label, (scored, held) in _seconds(one, scans.get(one.video)).items():
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


def _seconds(annotation: Annotation, found: "Scan | str | None") -> dict[str, tuple[float, float]]:
    """Return each label's scored and held time [s]; nan where the video's length or frame rate is not known."""
    scanned = found if isinstance(found, Scan) else None
    in_seconds = annotation.unit == "s"
    end = math.nan if scanned is None else scanned.length_s if in_seconds else scanned.num_frames
    per_unit_s = 1.0 if in_seconds else math.nan if scanned is None else 1 / scanned.rate_hz
    return {
        label: (
            math.nan if math.isnan(end) else per_unit_s * length(clip(scored, 0.0, end)),
            per_unit_s * length(annotation.bouts.get(label, ())),
        )
        for label, scored in annotation.scored.items()
    }


def _scans(study: Study) -> Scans:
    archive = study.config.archive
    return videos.scan_all(storage.join(archive.root, archive.videos), study.inputs.videos)


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
