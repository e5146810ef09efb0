"""The videos of an archive, by their endings, and every file beside them that is left out, with the reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from fsspec.implementations.local import LocalFileSystem

from sheep.io import storage

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".mts",
    ".m2ts", ".m2t", ".ts", ".mod", ".tod", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogm", ".mxf", ".dv",
    ".rm", ".rmvb", ".nut", ".gxf", ".y4m",
)  # fmt: skip
"""Endings taken for videos, in lower case. Streams without a container (.h264, .mjpeg) have no times: left out."""
_NUM_NAMED = 3
_APPLE_DOUBLE = "._"  # what macOS writes beside a file on a disk of another kind: no video, with the video's ending


@dataclass(frozen=True, slots=True)
class Listing:
    """The content of a video folder."""

    videos: dict[str, str]
    """Video key (path relative to the folder) -> identity of its content, sorted."""
    left_out: dict[str, str]
    """Path of every other file or link -> why it is left out, sorted."""

    @property
    def summary(self) -> str:
        """Number of files left out for each reason, and the first of them; empty if absent."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            by_reason.setdefault(reason, []).append(name)
        return "; ".join(
            f"{len(names)} {reason} ({', '.join(names[:_NUM_NAMED])}{', ...' if len(names) > _NUM_NAMED else ''})"
            for reason, names in sorted(by_reason.items())
        )


def listing(root: str) -> Listing:
    """List the videos of a folder and its subfolders, also of those that are links on a disk.

    Args:
        root: URI of the video folder.

    Raises:
        ConfigError: access refused.
    """
    fs, _ = storage.filesystem(root)
    videos: dict[str, str] = {}
    left_out: dict[str, str] = {}
    found = _through_links(root) if isinstance(fs, LocalFileSystem) else _whole(root)
    for name, identity, reason in found:
        reason = reason or _reason(name)
        if reason:
            left_out[name] = reason
        else:
            videos[name] = identity
    return Listing(dict(sorted(videos.items())), dict(sorted(left_out.items())))


def _reason(name: str) -> str:
    """Return why a file is left out, by its name; empty if it is taken."""
    if os.path.basename(name).startswith(_APPLE_DOUBLE):
        return "AppleDouble files of macOS"
    if not name.lower().endswith(SUFFIXES):
        return "with an extension that no video has"
    return "with '?versionId=' in the key, which S3 clients take for a version" if "?versionId=" in name else ""


def _whole(root: str) -> Iterator[tuple[str, str, str]]:
    for name, identity in storage.find(root).items():
        yield name, identity, ""


def _through_links(root: str) -> Iterator[tuple[str, str, str]]:
    """List a folder on a disk as (path, identity, reason to leave it out), and each linked folder once."""
    _, path = storage.filesystem(root)
    seen, waiting = {os.path.realpath(path)}, [""]
    while waiting:
        folder = waiting.pop(0)
        links: list[tuple[str, str, str]] = []
        for name, identity in storage.find(storage.join(root, folder)).items():
            key = f"{folder}/{name}" if folder else name
            full = os.path.join(path, key)
            if os.path.isdir(full):
                links.append((os.path.realpath(full), key, identity))
            else:
                yield key, identity, "" if os.path.exists(full) else "links to nothing"
        for target, key, identity in sorted(links):  # a folder comes before those within it
            if any(target == one or target.startswith(f"{one}{os.sep}") for one in seen):
                yield key, identity, "links to folders that are listed already"
            else:
                seen.add(target)
                waiting.append(key)
