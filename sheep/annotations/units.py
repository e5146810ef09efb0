"""The unit of analysis in the cohort file: animals that share a pen are not independent, and count together."""

from collections.abc import Mapping
from dataclasses import dataclass

from sheep.errors import ConfigError
from sheep.io.tables import read_table

COLUMNS = ("unit", "pen")
"""Optional columns of the cohort file that name the unit; the column's name is used in the report."""


@dataclass(frozen=True, slots=True)
class Units:
    """Which animals count together."""

    word: str
    """What a unit is, for readers: `animal`, `pen` or `unit`."""
    unit_of: Mapping[str, str]
    """Animal -> its unit; an animal that is missing is its own."""

    def of(self, animal: str) -> str:
        """Return the unit of an animal."""
        return self.unit_of.get(animal, animal)


ANIMALS = Units("animal", {})
"""Every animal is its own unit."""


def read_units(data: bytes, *, name: str) -> Units:
    """Read the unit of every animal from a cohort file.

    Args:
        data: a table with the columns animal and group, and at most one of `COLUMNS`.
        name: the file, for messages.

    Returns:
        The units; `ANIMALS` without such a column.

    Raises:
        ConfigError: both columns are there, a cell is empty, an animal is in two units, or a unit is in two groups.
    """
    table = read_table(data, name, ("animal", "group"), COLUMNS)
    given = [column for column in COLUMNS if table is not None and column in table.columns]
    if table is None or not given:
        return ANIMALS
    if len(given) > 1:
        raise ConfigError(f"{name}: columns {' and '.join(given)}, expected one of them. Remove one.")
    [column] = given
    unit_of: dict[str, str] = {}
    group_of: dict[str, str] = {}
    for row in table.rows:
        animal, group, unit = row["animal"], row["group"], row[column]
        if not unit:
            raise ConfigError(
                f"{row.where}: {column} of {animal!r} is empty, expected a name. Fill it in for every row."
            )
        if unit_of.setdefault(animal, unit) != unit:
            raise ConfigError(
                f"{row.where}: animal {animal!r} is in {column} {unit!r} and in {unit_of[animal]!r}, expected one. "
                "Correct it."
            )
        if group_of.setdefault(unit, group) != group:
            raise ConfigError(
                f"{row.where}: {column} {unit!r} is in group {group!r} and in {group_of[unit]!r}, expected one group: "
                "its animals count together. Give different ones different names, or remove the column."
            )
    return Units(column, unit_of)
