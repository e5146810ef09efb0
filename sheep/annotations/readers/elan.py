"""ELAN documents (.eaf): XML with a time line, and tiers of annotations on it.

Which tier is whose: a tier whose annotations hold text belongs to the animal in its PARTICIPANT, or else of the tier's
own name, and each text is a behaviour. A tier whose annotations are all empty is a behaviour of the animal in its
PARTICIPANT, or else of the video's only animal. A tier below another belongs to the animal of the uppermost one.

Source: "EAF Annotation Format 3.0" (The Language Archive): TIME_ORIGIN is the time of the media file [ms] at 0 of the
document; time slots may have no value, then annotations divide the time between their neighbours evenly;
REF_ANNOTATIONs have the time of the annotation that they refer to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote
from xml.etree import ElementTree

from sheep.annotations.coding import Coding
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.errors import ConfigError

TOOL = "ELAN"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """The annotations of one line of the time line."""

    name: str
    animal: str
    """Its participant, or its uppermost tier's; empty where none is named."""
    root: str
    """Name of the uppermost tier."""
    observer: str
    marks: tuple[tuple[float, float, str], ...]
    """Start and stop [s], and text."""


def read(file: SourceFile) -> list[Coding] | None:
    """Read a document.

    Args:
        file: any file.

    Returns:
        One coding for each animal and annotator; None where it is no .eaf.

    Raises:
        ConfigError: no XML of ELAN, a document type or entity in it, a slot without any time around it, or an
            annotation that ends before it starts, refers to none, or is empty beside others with text.
    """
    if file.ending != ".eaf":
        return None
    root = _root(file)
    media, origin_s = _media(root)
    if origin_s:
        file.note(f"times moved by the media file's time origin of {origin_s:g} s")
    tiers = _tiers(root, file, origin_s)
    for tier in tiers:
        if not tier.marks:
            file.note(f"tier {tier.name!r} left out: no annotation")
    return codings(tiers, media or file.path_stem, stem=not media, file=file)


def codings(tiers: Sequence[Tier], media: str, *, stem: bool, file: SourceFile) -> list[Coding]:
    """Turn tiers into one coding for each animal and annotator.

    Args:
        tiers: of one video.
        media: its name.
        stem: whether that is the annotation file's own.
        file: for messages.

    Raises:
        ConfigError: no annotation, one that ends before it starts, or an empty one beside others with text.
    """
    bouts: dict[tuple[str, str], dict[str, list[Interval]]] = {}
    for tier in tiers:
        is_behaviour = not any(text for _, _, text in tier.marks)
        animal = tier.animal if is_behaviour else tier.animal or tier.root
        for start, stop, text in tier.marks:
            where = f"{file.name}, tier {tier.name!r}, {start:g} to {stop:g} s"
            if not 0 <= start < stop < float("inf"):
                raise ConfigError(f"{where}: expected a start from 0 on and a later stop. Correct the annotation.")
            if not text and not is_behaviour:
                raise ConfigError(f"{where}: no text, expected a behaviour as in the tier's others. Fill it in.")
            behaviour = tier.name if is_behaviour else text
            bouts.setdefault((animal, tier.observer), {}).setdefault(behaviour, []).append((start, stop))
    if not bouts:
        raise ConfigError(f"{file.name}: no annotation in any tier, expected some. Annotate, or remove the file.")
    return [
        Coding(
            where=file.name,
            media=media,
            stem=stem,
            animal=animal,
            observer=observer,
            bouts={behaviour: join(intervals) for behaviour, intervals in found.items()},
        )
        for (animal, observer), found in bouts.items()
    ]


def _root(file: SourceFile) -> ElementTree.Element:
    # ELAN writes neither a document type nor entities; with them a small file may expand to gigabytes or name others.
    if "<!DOCTYPE" in file.text or "<!ENTITY" in file.text:
        raise ConfigError(f"{file.name}: a document type or entity, expected none. Save it with ELAN again.")
    try:
        root = ElementTree.fromstring(file.text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(
            f"{file.name}: no XML ({error}), expected an ELAN document. Save it with ELAN again."
        ) from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise ConfigError(f"{file.name}: {root.tag}, expected ANNOTATION_DOCUMENT. Save it with ELAN again.")
    units = next((header.get("TIME_UNITS", "milliseconds") for header in root.iter("HEADER")), "milliseconds")
    if units != "milliseconds":
        raise ConfigError(f"{file.name}: times in {units}, expected milliseconds. Save it with ELAN again.")
    return root


def _media(root: ElementTree.Element) -> tuple[str, float]:
    """Return the first video's path, empty where none is linked, and its time at 0 of the document [s]."""
    linked = list(root.iter("MEDIA_DESCRIPTOR"))
    videos = [one for one in linked if one.get("MIME_TYPE", "video").startswith("video")] or linked
    if not videos:
        return "", 0.0
    path = videos[0].get("MEDIA_URL") or videos[0].get("RELATIVE_MEDIA_URL") or ""
    return unquote(path.removeprefix("file://")), float(_int(videos[0].get("TIME_ORIGIN", "0")) or 0) / 1000


def _tiers(root: ElementTree.Element, file: SourceFile, origin_s: float) -> list[Tier]:
    slots = {one.get("TIME_SLOT_ID", ""): _int(one.get("TIME_VALUE")) for one in root.iter("TIME_SLOT")}
    elements = {one.get("TIER_ID", ""): one for one in root.iter("TIER")}
    times: dict[str, tuple[float, float]] = {}
    for element in elements.values():
        times |= _aligned(element, slots, file)
    parents = {one.get("ANNOTATION_ID", ""): one.get("ANNOTATION_REF", "") for one in root.iter("REF_ANNOTATION")}
    tiers = []
    for name, element in elements.items():
        uppermost = _uppermost(name, elements)
        marks = []
        for one in (*element.iter("ALIGNABLE_ANNOTATION"), *element.iter("REF_ANNOTATION")):
            if len(one.findall("ANNOTATION_VALUE")) > 1:
                raise ConfigError(
                    f"{file.name}, tier {name!r}: an annotation with two texts, expected one. Remove one."
                )
            start, stop = _time(one.get("ANNOTATION_ID", ""), times, parents, file)
            marks.append(
                (start / 1000 + origin_s, stop / 1000 + origin_s, (one.findtext("ANNOTATION_VALUE") or "").strip())
            )
        tiers.append(
            Tier(
                name=name,
                animal=element.get("PARTICIPANT") or elements[uppermost].get("PARTICIPANT") or "",
                root=uppermost,
                observer=element.get("ANNOTATOR") or "",
                marks=tuple(marks),
            )
        )
    return tiers


def _aligned(
    tier: ElementTree.Element, slots: Mapping[str, int | None], file: SourceFile
) -> dict[str, tuple[float, float]]:
    """Return the start and stop [ms] of each annotation with slots; those without time divide what is between."""
    order = {slot: place for place, slot in enumerate(slots)}
    ends = {}
    for one in tier.iter("ALIGNABLE_ANNOTATION"):
        ends[one.get("ANNOTATION_ID", "")] = (one.get("TIME_SLOT_REF1", ""), one.get("TIME_SLOT_REF2", ""))
    where = f"{file.name}, tier {tier.get('TIER_ID')!r}"
    unknown = sorted({slot for pair in ends.values() for slot in pair} - set(order))
    if unknown:
        raise ConfigError(f"{where}: no time slot {unknown[0]!r}, expected one. Save it with ELAN again.")
    chain = list(
        dict.fromkeys(slot for pair in sorted(ends.values(), key=lambda pair: order[pair[0]]) for slot in pair)
    )
    timed = [place for place, slot in enumerate(chain) if slots[slot] is not None]
    time: dict[str, float] = {}
    for place, slot in enumerate(chain):
        before = [one for one in timed if one <= place][-1:]
        after = [one for one in timed if one >= place][:1]
        if not before or not after:
            raise ConfigError(f"{where}: time slot {slot!r} has no time, nor has one beside it. Align the annotation.")
        low, high = slots[chain[before[0]]] or 0, slots[chain[after[0]]] or 0
        share = (place - before[0]) / max(1, after[0] - before[0])
        time[slot] = low + share * (high - low)
    return {name: (time[start], time[stop]) for name, (start, stop) in ends.items()}


def _time(
    name: str, times: Mapping[str, tuple[float, float]], parents: Mapping[str, str], file: SourceFile
) -> tuple[float, float]:
    """Follow an annotation to the one that has a time."""
    seen = set()
    while name not in times:
        if name in seen or name not in parents:
            raise ConfigError(f"{file.name}: annotation {name!r} refers to none with a time. Save it with ELAN again.")
        seen.add(name)
        name = parents[name]
    return times[name]


def _uppermost(name: str, elements: Mapping[str, ElementTree.Element]) -> str:
    seen = {name}
    while (parent := elements[name].get("PARENT_REF", "")) in elements and parent not in seen:
        seen.add(parent)
        name = parent
    return name


def _int(text: str | None) -> int | None:
    """Return a whole number; None if absent."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
