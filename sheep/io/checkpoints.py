"""What of one unfinished video need not be done again: the checkpoints of its tracking and its cropping.

Whoever follows a video writes, after each part of the track, the tracker's state and one object that lists all
checkpoints so far. The next try, in this run or a later one, adopts them as far as video and prompts are its own, and
goes on from there. The object is replaced whole and last, so it never names what is not there yet. It stays when the
video is finished: whoever corrects a prompt then redoes only what follows it.

    <stage>/_progress/<unit>.json
    <stage>/_progress/<unit>/<attempt>-<n>    the tracker's state after a part; the contact sheet's tiles

Two workers on one unit do no harm: each writes a whole list of its own, and a state that is gone sends the next try to
an earlier one.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from sheep import __version__
from sheep.config import digest
from sheep.io import storage
from sheep.io.ledger import Attempt
from sheep.io.manifest import Part

log = logging.getLogger(__name__)

MAX_STATES = 32
"""States kept of one video: enough to go back to near any prompt, however long it is. About 5 MB each and animal at
full size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """The end of one part of the track."""

    part: Part
    frame: int
    """The last frame of the part, its number in the file."""
    prompts: str
    """Digest of the prompts up to that frame: later ones have no say in it."""
    mark: dict[str, Any]
    """Where decoding goes on, plain JSON."""
    flags_state: dict[str, Any] = field(default_factory=dict)
    """What the quality flags remember, plain JSON; empty where the state is gone."""
    state: Part | None = None
    """The tracker's state; None where it was thinned out, and nothing can go on from here."""


class Progress:
    """The checkpoints of one unit, as one try sees and extends them."""

    def __init__(self, attempt: Attempt, source: str) -> None:
        """Read what earlier tries have left.

        Args:
            attempt: the present try; adopted parts are added to it.
            source: identity of the video. Checkpoints of another one, of other settings, or of other versions of what
                makes the bytes are not looked at.
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
        values = json.loads(storage.read_bytes(target))
        tracked = [_checkpoint(one) for one in values["tracked"]]
        tiles = _part(values["tiles"])
        if values["identity"] == self._identity:
            self.tracked, self.tiles = tracked, tiles
            self.cropped, self._of = [Part(**part) for part in values["cropped"]], values["of"]
        else:
            self._obsolete = [part for part in (*(one.state for one in tracked), tiles) if part is not None]

    def resume_track(self, prompts_until: Callable[[int], str]) -> tuple[Checkpoint, bytes] | None:
        """Keep the longest run of checkpoints that this try would have reached itself, and forget the rest.

        Args:
            prompts_until: digest of this try's prompts up to a frame.

        Returns:
            The last checkpoint kept and its tracker state; None when the track begins at its beginning.
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
        log.warning("%s: gone or damaged, going on from an earlier checkpoint", target)
        return b""

    def track_reached(self, checkpoint: Checkpoint, state: bytes) -> None:
        """Commit a part of the track: from here the next try goes on."""
        self.tracked.append(dataclasses.replace(checkpoint, state=self._put("state", state)))
        self._thin()
        self._commit()

    def _thin(self) -> None:
        """Drop states, evenly: every second when there are too many. The newest stays."""
        step = 1
        while len(self.tracked) // step >= MAX_STATES:
            step *= 2
        for number, one in enumerate(self.tracked[:-1], start=1):
            if one.state is not None and number % step:
                self._obsolete.append(one.state)
                self.tracked[number - 1] = dataclasses.replace(one, state=None, flags_state={})

    def resume_crops(self) -> tuple[int, bytes]:
        """Keep the crops that were cut along this very track; call it when the track is whole.

        Returns:
            How many parts of the track are cut already, and the tiles that were drawn on the way (empty for none).
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
            tiles: all tiles so far; None when there is none more than at the last call.
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
        values = {
            "identity": self._identity,
            "tracked": [dataclasses.asdict(one) for one in self.tracked],
            "of": self._of,
            "cropped": [dataclasses.asdict(part) for part in self.cropped],
            "tiles": None if self.tiles is None else dataclasses.asdict(self.tiles),
        }
        storage.write_bytes(storage.join(self._uri, f"{self._path}.json"), json.dumps(values).encode())
        if not self._is_further:
            self.attempt.progressed()
            self._is_further = True
        for part in self._obsolete:
            storage.remove(storage.join(self._uri, part.path))
        self._obsolete = []


def _versions() -> list[str]:
    return [__version__, *(version(name) for name in ("torch", "sam2", "av", "pyarrow"))]


def _checkpoint(values: dict[str, Any]) -> Checkpoint:
    return Checkpoint(**{**values, "part": Part(**values["part"]), "state": _part(values["state"])})


def _part(values: dict[str, Any] | None) -> Part | None:
    return None if values is None else Part(**values)
