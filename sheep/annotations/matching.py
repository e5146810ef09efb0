"""Which video of the archive an annotation file means, by the path that it names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath, PureWindowsPath

from sheep.errors import ConfigError

_SHOWN = 20
_DRIVE = re.compile(r"\w+:\\?")
"""C:, C:\\ or file:"""
_SUFFIX = re.compile(
    r"_(labels?|(simba_)?targets|simba|cbas|jabs|elan|eaf|solomon|observer|annotations?|annot|boris|binary)$", re.I
)
"""What tools and people put behind the video's name in the name of an annotation file."""


class VideoNames:
    """The keys of an archive's videos, also found by other spellings of the same path."""

    def __init__(self, videos: Iterable[str]) -> None:
        """Index the keys.

        Args:
            videos: keys of all videos of the archive.
        """
        self._keys = list(videos)
        self._by_normal = {_normal(key): key for key in self._keys}

    def __iter__(self) -> Iterator[str]:
        """Yield the keys, in their order."""
        return iter(self._keys)

    def key(self, written: str) -> str:
        """Return the key that a path means; the path itself if no key matches.

        Unicode spellings of one letter count as equal, and so do slashes and backslashes.

        Args:
            written: as a person or a program wrote it.
        """
        if written in self._by_normal.values():
            return written
        return self._by_normal.get(_normal(written.replace("\\", "/")), written)


class Matcher:
    """The videos of an archive, by file name."""

    def __init__(self, videos: Iterable[str], *, by_name: bool = False, root: str = "videos") -> None:
        """Index the videos.

        Args:
            videos: keys of all videos of the archive.
            by_name: match by the file's name alone, where folders were renamed since the videos were annotated.
            root: name of the archive's video folder.
        """
        self._videos = sorted(videos)
        self._by_name = by_name
        self._root = PurePosixPath(root).name
        self._by_stem: dict[str, list[str]] = {}
        for video in self._videos:
            self._by_stem.setdefault(_normal(PurePosixPath(video).stem), []).append(video)

    def find(self, media: str, where: str, *, stem: bool = False) -> str:
        """Return the video that a media file is.

        The name has to be equal without its ending, in case too; Unicode spellings of one letter count as equal. Of
        several such videos the one whose folders agree best with the media file's path is meant.

        Args:
            media: as an annotation file names it: a path of any system, or a name.
            where: starts the message.
            stem: `media` is the annotation file's own path without its ending. A suffix such as `_labels` is left out
                if no video has the whole name, and other folders than the video's mean nothing.

        Raises:
            ConfigError: no video has this name; several have and the folders do not decide; or both paths have folders
                that differ, compared from the innermost ones outwards until one path has no more.
        """
        path = PureWindowsPath(media)  # splits at both kinds of slashes
        folders = [_normal(part) for part in path.parts[:-1] if part.strip("/\\.") and not _DRIVE.fullmatch(part)]
        if folders and folders[-1] == self._root:
            folders = []  # directly in the video folder, so nothing is known of the folders inside
        candidates = self._candidates(path.name if stem else path.stem, media, where, stem=stem)
        shared = {video: _num_shared(folders, _folders(video)) for video in candidates}
        ranks = {
            video: (shared[video], _normal(PurePosixPath(video).name) == _normal(path.name)) for video in candidates
        }
        best = [video for video in candidates if ranks[video] == max(ranks.values())]
        if len(best) > 1:
            raise ConfigError(
                f"{where}: {media!r} matches several videos, {some(best)}, expected one. Name the video's folder in "
                "the annotation file, or give the videos different names."
            )
        [video] = best
        num_shared, theirs = shared[video], _folders(video)
        is_elsewhere = num_shared < min(len(folders), len(theirs)) and not stem and not self._by_name
        if is_elsewhere:
            got, expected = folders[-1 - num_shared], theirs[-1 - num_shared]
            raise ConfigError(
                f"{where}: {media!r} has the name of {video!r} but lies in another folder ({got!r}, expected "
                f"{expected!r}): it may be another video. Correct the path, or pass "
                "--archive.match-by-name if the folders were renamed."
            )
        return video

    def _candidates(self, name: str, media: str, where: str, *, stem: bool) -> list[str]:
        """Return the videos of this name; at least one."""
        candidates = self._by_stem.get(_normal(name), [])
        if stem and not candidates:
            candidates = self._by_stem.get(_SUFFIX.sub("", _normal(name)), [])
        if not candidates:
            rule = "the file states none, so it is named after one" if stem else "folder and ending may differ"
            raise ConfigError(
                f"{where}: no video for {media!r}, expected one with the same name, case included ({rule}), among "
                f"{some(self._videos)}.{self._near(name)} Rename one of them, or remove the file."
            )
        return candidates

    def _near(self, stem: str) -> str:
        plain = {_normal(key).casefold().strip(): key for key in self._by_stem}
        near = get_close_matches(_normal(stem).casefold().strip(), plain, n=1, cutoff=0.8)
        return f" Nearest: {self._by_stem[plain[near[0]]][0]!r}." if near else ""


def some(names: Sequence[str]) -> str:
    """List names for a message: at most 20 of them, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(map(repr, names[:_SHOWN])) or "none") + more


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folders(video: str) -> list[str]:
    return [_normal(part) for part in PurePosixPath(video).parts[:-1]]


def _num_shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the equal folders of two paths, from the innermost one outwards."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
