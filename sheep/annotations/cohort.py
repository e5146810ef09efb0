"""The cohort file: which animals are in which video, and the group of each animal."""

import re
from collections.abc import Sequence

import pyarrow as pa

from sheep.annotations.matching import some
from sheep.errors import ConfigError
from sheep.io.tables import read_table
from sheep.schemas import COHORT


def read_cohort(data: bytes | str, *, name: str) -> pa.Table:
    """Read the cohort file: which animals are in which video, and the group of each.

    Args:
        data: a table with at least the columns video, animal, group, in any form that `read_table` reads; or its text.
            Backslashes in `video` are read as slashes.
        name: the file, for messages.

    Returns:
        COHORT, in the order of the file.

    Raises:
        ConfigError: a column or value is missing, a (video, animal) occurs twice, an animal is in two groups, or two
            names of animals or groups are nearly the same.
    """
    wanted = tuple(COHORT.names)
    content = data.encode() if isinstance(data, str) else data
    table = read_table(content, name, wanted)
    if table is None:
        first = content.decode("utf-8", "replace").strip().partition("\n")[0][:120]
        raise ConfigError(f"{name}: header {first!r}, expected the columns {', '.join(wanted)}. Add the missing ones.")
    if table.above:
        raise ConfigError(f"{name}: {table.above[0]} above the header, expected the header first. Move it up.")
    rows: list[tuple[str, ...]] = []
    group_of: dict[str, str] = {}
    seen: set[tuple[str, ...]] = set()
    for record in table.rows:
        row = (record["video"].replace("\\", "/"), record["animal"], record["group"])
        if not all(row):
            raise ConfigError(
                f"{record.where}: {dict(zip(wanted, row, strict=True))}, expected a value in each. Fill it in."
            )
        if '"' in "".join(row):
            raise ConfigError(f"{record.where}: a quotation mark in {row}, expected none. Remove it.")
        if row[:2] in seen:
            raise ConfigError(
                f"{record.where}: animal {row[1]!r} in {row[0]!r} occurs twice, expected once. Remove one row."
            )
        if group_of.setdefault(row[1], row[2]) != row[2]:
            raise ConfigError(
                f"{record.where}: animal {row[1]!r} is in group {row[2]!r} and in {group_of[row[1]]!r}, "
                "expected one group. Correct it, or give different animals different names."
            )
        seen.add(row[:2])
        rows.append(row)
    for place, what in ((1, "animals"), (2, "groups")):
        _refuse_near([row[place] for row in rows], f"{name}: {what}")
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(len(wanted))]
    return pa.Table.from_arrays(columns, schema=COHORT)


def _refuse_near(names: Sequence[str], where: str) -> None:
    """Refuse two spellings of one name."""
    first: dict[str, str] = {}
    for one in names:
        other = first.setdefault(re.sub(r"[\s_-]+", " ", one).casefold(), one)
        if other != one:
            raise ConfigError(
                f"{where} {other!r} and {one!r} differ in case, blanks, hyphens or underscores only, expected one "
                "spelling. Correct one of them."
            )


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
