"""The cohort file: which animals are in which video, and the group of each animal."""

import csv
import io
from collections.abc import Sequence

import pyarrow as pa

from sheep.annotations.matching import some
from sheep.errors import ConfigError
from sheep.io.text import parsed
from sheep.schemas import COHORT


def read_cohort(text: str, *, name: str) -> pa.Table:
    """Read the cohort file: which animals are in which video, and the group of each.

    Args:
        text: CSV with at least the columns video, animal, group.
        name: the file, for messages.

    Returns:
        COHORT, in the order of the file.

    Raises:
        ConfigError: a column or value is missing, a (video, animal) occurs twice, or an animal is in two groups.
    """
    with parsed(name):
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
        header = [(field or "").strip() for field in reader.fieldnames or ()]
        reader.fieldnames = header
        records = [(reader.line_num, record) for record in reader]
    wanted = tuple(COHORT.names)
    if not set(wanted) <= set(header):
        raise ConfigError(f"{name}: header {header}, expected the columns {', '.join(wanted)}. Add the missing ones.")
    rows: list[tuple[str, ...]] = []
    group_of: dict[str, str] = {}
    seen: set[tuple[str, ...]] = set()
    for line, record in records:
        row = tuple((record[column] or "").strip() for column in wanted)
        if not all(row):
            raise ConfigError(
                f"{name}, row {line}: {dict(zip(wanted, row, strict=True))}, expected a value in each. Fill it in."
            )
        if row[:2] in seen:
            raise ConfigError(
                f"{name}, row {line}: animal {row[1]!r} in {row[0]!r} occurs twice, expected once. Remove one row."
            )
        if group_of.setdefault(row[1], row[2]) != row[2]:
            raise ConfigError(
                f"{name}, row {line}: animal {row[1]!r} is in group {row[2]!r} and in {group_of[row[1]]!r}, "
                "expected one group. Correct it, or give different animals different names."
            )
        seen.add(row[:2])
        rows.append(row)
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(len(wanted))]
    return pa.Table.from_arrays(columns, schema=COHORT)


def check_cohort(cohort: pa.Table, videos: Sequence[str]) -> None:
    """Check that cohort and archive have the same videos.

    Args:
        cohort: COHORT.
        videos: keys of all videos of the archive.

    Raises:
        ConfigError: a row names an unknown video, or a video has no row.
    """
    named, there = set(cohort.column("video").to_pylist()), set(videos)
    if named != there:
        raise ConfigError(
            f"cohort: rows for videos that are not there: {some(sorted(named - there))}; videos without a row: "
            f"{some(sorted(there - named))}; expected the same videos in both. Correct the cohort file or the folder."
        )
