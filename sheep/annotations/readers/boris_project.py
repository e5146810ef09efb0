"""BORIS projects (.boris, .boris.gz): JSON with the ethogram, the subjects and every observation."""

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

from sheep.annotations.coding import Coding
from sheep.annotations.ethogram import Behaviour
from sheep.annotations.intervals import Interval
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import LATE_S, Event, Medium, Observation, codings, late_cut
from sheep.errors import ConfigError
from sheep.io.text import parsed

TOOL = "BORIS project"
_MAX_BYTES = 2**28
"""A compressed project that unpacks to more is refused: 256 MiB, about a million events."""

_KEYS = ("file", "type", "time offset", "events", "media_info", "observation time interval")
"""Of an observation, as far as they are read here."""

Object = Mapping[str, Any]
"""A JSON object of the project; its keys are BORIS's."""


def read(file: SourceFile) -> list[Coding] | None:
    """Read every observation of media files in a project.

    Behaviours of the project's ethogram that an observation never shows count as absent there, as in BORIS.

    Args:
        file: any file.

    Returns:
        One coding for each observation, subject and media file; None if it is not a project.

    Raises:
        ConfigError: the file is not BORIS JSON, or what `boris.codings` refuses.
    """
    if not file.name.lower().endswith((".boris", ".boris.gz")):
        return None
    project = _project(file)
    try:
        kinds = {one.name: one.kind for one in behaviours(project)}
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file.name}: {type(error).__name__} {error} in behaviors_conf, expected BORIS's ethogram. Save it "
            "with a current BORIS."
        ) from error
    made: list[Coding] = []
    for name, observation in project["observations"].items():
        where = f"{file.name}, observation {name!r}"
        if not isinstance(observation, dict):
            raise ConfigError(f"{where}: no JSON object, expected an observation. Save the project with BORIS again.")
        if str(observation.get("type", "MEDIA")).upper() != "MEDIA":
            file.note(f"observation {name!r} left out: of {observation.get('type')}, not of media files")
            continue
        made += _codings(where, name, observation, kinds, file)
    return made


def behaviours(project: Object) -> list[Behaviour]:
    """Return the behaviours of a project's ethogram, in its order.

    Args:
        project: the project's JSON.
    """
    found = []
    for one in project["behaviors_conf"].values():
        kind = "point" if str(one["type"]).lower().startswith("point") else "state"
        found.append(Behaviour(name=str(one["code"]).strip(), kind=kind))  # type: ignore[arg-type]
    return found


def _project(file: SourceFile) -> Object:
    data = file.data
    if file.name.lower().endswith(".gz"):
        try:
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, _MAX_BYTES)
        except (zlib.error, gzip.BadGzipFile) as error:
            raise ConfigError(f"{file.name}: cannot be unpacked ({error}). Save the project again.") from error
        if unpacker.unconsumed_tail:
            raise ConfigError(f"{file.name}: unpacks to more than {_MAX_BYTES} bytes. Export tabular events instead.")
    try:
        with parsed(file.name):
            project: Object = json.loads(data)
        if not all(isinstance(project[key], dict) for key in ("behaviors_conf", "observations")):
            raise TypeError("behaviors_conf and observations")
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{file.name}: {type(error).__name__} {error}, expected a BORIS project. Save it with a current BORIS."
        ) from error
    return project


def _codings(where: str, name: str, given: Object, kinds: Mapping[str, str], file: SourceFile) -> list[Coding]:
    unlike = sorted(key for key in given if key not in _KEYS and key.casefold() in _KEYS)
    if unlike:
        raise ConfigError(f"{where}: {unlike[0]!r}, expected it in lower case. Save it with BORIS again.")
    try:
        media = _media(given)
        end_s = sum(float("inf") if one.length_s is None else one.length_s for one in media)
        offset_s = float(given["time offset"] or 0)
        if float(given.get("media_info", {}).get("offset", {}).get("1", 0) or 0):
            raise ConfigError(f"{where}: player 1 has an offset, expected none. Remove it, or export tabular events.")
        events = _events(where, given["events"], kinds, offset_s, end_s)
        interval = _interval(given, offset_s)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{where}: {type(error).__name__} {error}, expected an observation of BORIS 7 or later. Save it again."
        ) from error
    if not media:
        raise ConfigError(f"{where}: no media file of player 1, expected the video. Add it in BORIS.")
    others = [name for player, files in given["file"].items() if str(player) != "1" for name in files or ()]
    if others:
        file.note(f"observation {name!r}: labels go to player 1's video, not to {', '.join(map(str, others))}")
    observation = Observation(
        where=where,
        name=name,
        media=media,
        events=events,
        duration_s=None,
        interval_s=interval,
        behaviours=tuple(behaviour for behaviour, kind in kinds.items() if kind == "state"),
    )
    return codings(observation)


def _media(given: Object) -> tuple[Medium, ...]:
    info = given.get("media_info", {}).get("length", {})
    names = [str(one) for one in given["file"].get("1", [])]
    return tuple(Medium(name=one, length_s=float(info[one]) if info.get(one) else None) for one in names)


def _interval(given: Object, offset_s: float) -> Interval | None:
    """Return the part of the media [s] that the observation is limited to; an end of 0 is the media's."""
    start, stop = (float(value) for value in given.get("observation time interval") or (0, 0))
    if not start and not stop:
        return None
    return (start - offset_s, stop - offset_s if stop else float("inf"))


def _events(
    where: str, given: list[list[Any]], kinds: Mapping[str, str], offset_s: float, end_s: float
) -> tuple[Event, ...]:
    """Give every state event its START or STOP: in a project they alternate, in the order of time."""
    events = []
    is_open: dict[tuple[str, str, str], bool] = {}
    for place, one in sorted(enumerate(given, start=1), key=lambda pair: float(pair[1][0])):
        time_s, (animal, behaviour, modifier) = float(one[0]) - offset_s, (str(part).strip() for part in one[1:4])
        if behaviour not in kinds:
            raise ConfigError(
                f"{where}, event {place}: behaviour {behaviour!r}, expected one of the project's ethogram. Correct it."
            )
        status = "POINT"
        if kinds[behaviour] == "state":
            key = (animal, behaviour, modifier)
            status = "STOP" if is_open.get(key) else "START"
            is_open[key] = status == "START"
        event = Event(
            where=f"{where}, event {place}",
            animal=animal,
            behaviour=behaviour,
            modifiers=(modifier,),
            status=status,
            time_s=max(0.0, time_s) if time_s > -LATE_S else time_s,
        )
        events.append(late_cut(event, end_s))
    return tuple(events)
