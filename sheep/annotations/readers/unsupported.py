"""Formats that are recognised and not read, so that a person learns what to export instead."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sheep.annotations.readers.base import SourceFile

_PLAIN = "Export or convert to a table with the columns video, animal, label, start_s, stop_s."


@dataclass(frozen=True)
class Unsupported:
    """A format that is not read."""

    tool: str
    instead: str
    """What to do, for the user."""
    matches: Callable[[SourceFile], bool]


def tool_of(file: SourceFile) -> Unsupported | None:
    """Return the format of a file that no reader knows; None where it is not recognised either.

    Args:
        file: of the annotation folder.
    """
    return next((one for one in _FORMATS if one.matches(file)), None)


def _head(file: SourceFile) -> str:
    """Return the first 4 KiB as text, whatever they are."""
    return file.data[:4096].replace(b"\0", b"").decode("latin-1")


def _starts(pattern: str) -> Callable[[SourceFile], bool]:
    return lambda file: re.search(pattern, _head(file)) is not None


def _ends(*endings: str) -> Callable[[SourceFile], bool]:
    return lambda file: file.ending in endings


_FORMATS = (
    Unsupported("VGG Image Annotator (VIA)", _PLAIN, _starts(r"CSV_HEADER = metadata_id|_via_settings")),
    Unsupported("Bento", _PLAIN, _starts(r"^Bento annotation file")),
    Unsupported("Praat (TextGrid)", _PLAIN, _starts(r'ooTextFile"|Object class = "TextGrid"')),
    Unsupported("CalMS21", _PLAIN, _starts(r'"annotator-id_\d+"')),
    Unsupported("Solomon Coder", _PLAIN, _ends(".sof")),
    Unsupported("MATLAB", _PLAIN, _ends(".mat")),
    Unsupported(
        "Noldus The Observer (project)",
        "Export the event log as Excel or text in The Observer.",
        _ends(".odx", ".vop", ".otx"),
    ),
    Unsupported(
        "an archive program", "Unpack it into the folder.", _ends(".zip", ".gz", ".tgz", ".7z", ".rar", ".tar")
    ),
    Unsupported("JWatcher", _PLAIN, _ends(".dat", ".faf")),
)
