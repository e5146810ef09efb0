"""Checkpoints of one video's tracking and cropping, from which the next attempt resumes.

After each part of the track a worker writes the tracker's state and one object that lists all checkpoints. The next
attempt, in this run or a later one, keeps the checkpoints that match its video and prompts and resumes from the last of
them. The object is replaced whole, after the files that it names, so it never names a missing file. It stays when the
video is finished, so that a corrected prompt repeats only the frames that follow it.

    <stage>/_progress/<unit>.json
    <stage>/_progress/<unit>/<attempt>-<n>    the tracker's state after a part; the contact sheet's tiles

Two workers on one unit do no harm: each writes a complete list, and where a state is missing the next attempt resumes
from an earlier one.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from sheep import __version__
from sheep.config import digest
from sheep.io import storage
from sheep.io.ledger import Attempt
from sheep.io.manifest import Part
from sheep.io.typed_json import from_json, to_json

log = logging.getLogger(__name__)

MAX_STATES = 32
"""Tracker states kept per video: enough to resume close to any prompt, whatever the video's length. At full size a
state takes about 5 MB per animal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """The end of one part of the track."""

    part: Part
    frame: int
    """The last frame of the part, its number in the file."""
    prompts: str
    """Digest of the prompts up to that frame; later prompts do not affect it."""
    mark: Mapping[str, int]
    """Where decoding resumes: the fields of `sheep.video.decoding.Mark`."""
    flags_state: Mapping[str, object] = field(default_factory=dict)
    """State of the quality flags as plain JSON (`sheep.crop.quality.Flagger.state`); empty without `state`."""
    state: Part | None = None
    """The tracker's state; None where it was dropped (`MAX_STATES`), so that nothing resumes from this checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """The object that lists the checkpoints of one video, as JSON."""

    identity: str
    tracked: tuple[Checkpoint, ...]
    of: str
    """Digest of the track that the crops were cut along."""
    cropped: tuple[Part, ...]
    tiles: Part | None

    @classmethod
    def read(cls, uri: str) -> "_Stored":
        return from_json(cls, json.loads(storage.read_bytes(uri)), uri)


class VideoCheckpoints:
    """The checkpoints of one unit, as one attempt reads and extends them."""

    def __init__(self, attempt: Attempt, source: str) -> None:
        """Read the checkpoints of earlier attempts.

        Args:
            attempt: the present attempt; parts that it keeps are added to it.
            source: identity of the video. Checkpoints of another video, of other settings, or of other versions of the
                packages that determine the bytes are ignored.
        """
        self.attempt = attempt
        self.tracked: list[Checkpoint] = []
        self.cropped: list[Part] = []
        self.tiles: Part | None = None
        self._uri = attempt.stage.uri
        self._path = f"_progress/{attempt.stage.slug(attempt.key)}"
        self._identity = digest([attempt.stage.config_digest, attempt.key, source, _versions()])
        self._of = ""
        self._files = 0
        self._is_further = False
        self._obsolete: list[Part] = []
        self._read()

    def _read(self) -> None:
        target = storage.join(self._uri, f"{self._path}.json")
        if not storage.exists(target):
            return
        stored = _Stored.read(target)
        if stored.identity == self._identity:
            self.tracked, self.tiles = list(stored.tracked), stored.tiles
            self.cropped, self._of = list(stored.cropped), stored.of
        else:
            states = (one.state for one in stored.tracked)
            self._obsolete = [part for part in (*states, stored.tiles) if part is not None]

    def resume_track(self, prompts_until: Callable[[int], str]) -> tuple[Checkpoint, bytes] | None:
        """Keep the checkpoints up to the first one with other prompts, and drop the rest.

        Args:
            prompts_until: returns the digest of this attempt's prompts up to a frame.

        Returns:
            The last checkpoint kept and its tracker state; None when tracking starts at the first prompt.
        """
        fitting = 0
        while fitting < len(self.tracked) and self.tracked[fitting].prompts == prompts_until(
            self.tracked[fitting].frame
        ):
            fitting += 1
        kept, data = fitting, b""
        while kept and not data:
            state = self.tracked[kept - 1].state
            data = b"" if state is None else self._state(state)
            kept -= not data
        self._obsolete += [one.state for one in self.tracked[kept:] if one.state is not None]
        self.tracked = self.tracked[:kept]
        self.attempt.parts += [one.part for one in self.tracked]
        return (self.tracked[-1], data) if kept else None

    def _state(self, part: Part) -> bytes:
        target = storage.join(self._uri, part.path)
        try:
            data = storage.read_bytes(target)
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() == part.sha256:
            return data
        log.warning("%s: missing or damaged, resuming from an earlier checkpoint", target)
        return b""

    def track_reached(self, checkpoint: Checkpoint, state: bytes) -> None:
        """Commit a part of the track, so that the next attempt resumes after it.

        Args:
            checkpoint: the end of the part; its `state` is set here.
            state: the tracker's state after the part.
        """
        self.tracked.append(dataclasses.replace(checkpoint, state=self._put("state", state)))
        self._thin()
        self._commit()

    def _thin(self) -> None:
        """Drop states evenly, every second one where there are too many. The newest stays."""
        step = 1
        while len(self.tracked) // step >= MAX_STATES:
            step *= 2
        for number, one in enumerate(self.tracked[:-1], start=1):
            if one.state is not None and number % step:
                self._obsolete.append(one.state)
                self.tracked[number - 1] = dataclasses.replace(one, state=None, flags_state={})

    def resume_crops(self) -> tuple[int, bytes]:
        """Keep the crops that were cut along exactly this track; call it when the track is complete.

        Returns:
            How many parts of the track are already cut, and the tiles drawn with them (empty for none).
        """
        track = digest([one.part.sha256 for one in self.tracked])
        tiles = b"" if self._of != track or self.tiles is None else self._state(self.tiles)
        if self._of != track or (self.tiles is not None and not tiles):
            self._obsolete += [self.tiles] if self.tiles is not None else []
            self.cropped, self.tiles, self._of = [], None, track
        self.attempt.parts += self.cropped
        return len(self.cropped), tiles

    def crops_reached(self, part: Part, tiles: bytes | None) -> None:
        """Commit a part of the crops.

        Args:
            part: the crops of the next part of the track.
            tiles: all tiles drawn up to here; None when none was added since the last call.
        """
        self.cropped.append(part)
        if tiles is not None:
            self._obsolete += [self.tiles] if self.tiles is not None else []
            self.tiles = self._put("tiles", tiles)
        self._commit()

    def _put(self, name: str, data: bytes) -> Part:
        path = f"{self._path}/{self.attempt.attempt}-{self._files:05d}"
        self._files += 1
        storage.write_bytes(storage.join(self._uri, path), data)
        return Part(table=name, path=path, rows=0, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _commit(self) -> None:
        stored = _Stored(
            identity=self._identity,
            tracked=tuple(self.tracked),
            of=self._of,
            cropped=tuple(self.cropped),
            tiles=self.tiles,
        )
        storage.write_bytes(storage.join(self._uri, f"{self._path}.json"), json.dumps(to_json(stored)).encode())
        if not self._is_further:
            self.attempt.progressed()
            self._is_further = True
        for part in self._obsolete:
            storage.remove(storage.join(self._uri, part.path))
        self._obsolete = []


def named_paths(uri: str) -> Iterator[str]:
    """Yield every file that the checkpoints of a video name, relative to the stage's folder.

    Args:
        uri: of the object that lists the checkpoints.
    """
    stored = _Stored.read(uri)
    parts = [*stored.cropped, stored.tiles]
    for checkpoint in stored.tracked:
        parts += [checkpoint.part, checkpoint.state]
    yield from (part.path for part in parts if part is not None)


def _versions() -> list[str]:
    return [__version__, *(version(name) for name in ("torch", "sam2", "av", "pyarrow"))]
