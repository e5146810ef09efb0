"""Neurodata Without Borders (.nwb): bouts as TimeIntervals, read by pynwb, an optional package.

Source: NWB 2 schema, TimeIntervals (start_time, stop_time [s] and columns of the lab's own); ndx-ethogram's bouts are
TimeIntervals with the column `label`.
"""

import io
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from sheep.annotations.coding import Coding
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.errors import ConfigError

TOOL = "NWB"
_LABELS = ("label", "behavior", "behaviour", "behavior_name", "event")
_NOT_BOUTS = ("trials", "epochs", "invalid_times")
"""NWB's own tables, of the experiment and not of behaviour."""


def read(file: SourceFile) -> list[Coding] | None:
    """Read the tables of intervals that name a behaviour.

    The video is the first external file of an ImageSeries, or else the one that the file is named after. The animal is
    the file's subject, and empty where it has none. Tables of other intervals are noted.

    Args:
        file: any file.

    Returns:
        One coding for each table; None where it is no .nwb.

    Raises:
        ConfigError: pynwb is missing, it cannot read the file, or no table names behaviours.
    """
    if file.ending != ".nwb":
        return None
    try:
        h5py, pynwb = import_module("h5py"), import_module("pynwb")
    except ImportError as error:
        raise ConfigError(
            f"{file.name}: NWB is read by pynwb, which is not installed. Install it with pip install "
            "pynwb, or write a table with the columns video, animal, label, start_s, stop_s."
        ) from error
    try:
        with (
            h5py.File(io.BytesIO(file.data), "r") as stored,
            pynwb.NWBHDF5IO(file=stored, load_namespaces=True) as opened,
        ):
            return _codings(opened.read(), file)
    except ConfigError:
        raise
    except Exception as error:  # pynwb, hdmf and h5py document no common one
        raise ConfigError(f"{file.name}: pynwb cannot read it ({error}), expected NWB 2. Write it again.") from error


def _codings(content: Any, file: SourceFile) -> list[Coding]:
    media = next((str(one) for one in _external_files(content)), "")
    subject = getattr(content.subject, "subject_id", "") or ""
    made = []
    for table in _tables(content):
        label = next((one for one in _LABELS if one in table.colnames), "")
        if not label or table.name in _NOT_BOUTS:
            file.note(f"intervals {table.name!r} left out: no column of behaviours")
            continue
        bouts: dict[str, list[Interval]] = {}
        where = f"{file.name}, intervals {table.name!r}"
        rows = zip(table[label][:], table["start_time"][:], table["stop_time"][:], strict=True)
        for number, (name, start, stop) in enumerate(rows, start=1):
            if not (0 <= start < stop < float("inf") and str(name).strip()):
                raise ConfigError(f"{where}, row {number}: {name!r} from {start:g} to {stop:g} s, expected a bout.")
            bouts.setdefault(str(name).strip(), []).append((float(start), float(stop)))
        made.append(
            Coding(
                where=where,
                media=media or file.path_stem,
                stem=not media,
                animal=str(subject),
                bouts={name: join(intervals) for name, intervals in bouts.items()},
            )
        )
    if not made:
        raise ConfigError(
            f"{file.name}: no intervals with a column {' or '.join(_LABELS)}, expected bouts as TimeIntervals. Write "
            "them, or remove the file."
        )
    return made


def _tables(content: Any) -> Iterator[Any]:
    """Yield every TimeIntervals: of the file, and in its processing modules."""
    for one in content.objects.values():
        if {"start_time", "stop_time"} <= set(getattr(one, "colnames", None) or ()):
            yield one


def _external_files(content: Any) -> Iterator[Any]:
    for one in content.objects.values():
        files = getattr(one, "external_file", None)
        if files is not None:
            yield from files
