"""The behaviours of a study: which labels there are, which exclude each other, and what annotation files call them.

A study's `ethogram.csv` has the columns name, group, aliases, kind and ignore; only `name` is required. Without the
file, every state behaviour that occurs in the annotations becomes a label.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from sheep.errors import ConfigError
from sheep.io.tables import Row, require_table
from sheep.schemas import KEY

FILE = "ethogram.csv"
"""Its name, in the archive's root; the study writes the one that it used under the same name."""
RESERVED = (*KEY, "time_s", "fold", "macro", "group", "label")
"""Names of columns and rows of tables, which no label may have."""
_COLUMNS = ("name", "group", "aliases", "kind", "ignore")
_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|,;]{1,60}")
_YES, _NO = ("yes", "true", "1", "x"), ("no", "false", "0", "")

BehaviourKind = Literal["state", "point"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """One behaviour of an ethogram."""

    name: str
    """The label's name in every table and figure."""
    group: str = ""
    """Behaviours of one group exclude each other: an animal shows at most one at a time. Empty: none is excluded."""
    aliases: tuple[str, ...] = ()
    """What annotation files call it, in addition to its name."""
    kind: BehaviourKind = "state"
    """A state lasts; a point event has no duration and becomes no label."""
    ignore: bool = False
    """Whether it is left out: it may occur in annotation files and becomes no label."""


@dataclass(frozen=True)
class Ethogram:
    """The behaviours of a study, in the order of every table and figure."""

    behaviours: tuple[Behaviour, ...]
    inferred: bool = False
    """Whether it was made from the annotations, without a file."""
    _by_name: Mapping[str, Behaviour] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {name: one for one in self.behaviours for name in (one.name, *one.aliases)}
        object.__setattr__(self, "_by_name", by_name)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the behaviours that are states and not ignored: what the probe learns."""
        return tuple(one.name for one in self.behaviours if one.kind == "state" and not one.ignore)

    @property
    def exclusive(self) -> tuple[tuple[str, ...], ...]:
        """Labels of each group with at least two labels."""
        groups: dict[str, list[str]] = {}
        for one in self.behaviours:
            if one.group and one.name in self.labels:
                groups.setdefault(one.group, []).append(one.name)
        return tuple(tuple(labels) for labels in groups.values() if len(labels) > 1)

    def find(self, written: str, where: str) -> Behaviour:
        """Return the behaviour that an annotation file means.

        Args:
            written: its name in the file.
            where: starts the message.

        Raises:
            ConfigError: no behaviour has this name or alias.
        """
        if written in self._by_name:
            return self._by_name[written]
        same = [name for name in self._by_name if _plain(name) == _plain(written)]
        near = same or get_close_matches(written, self._by_name, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{where}: behaviour {written!r}, expected one of {', '.join(self._by_name)}.{hint} Add it to {FILE} as a "
            "name or an alias, or with ignore = yes."
        )

    def named(self, written: str, where: str) -> Behaviour | None:
        """Return the behaviour that a name without any bout means, None if this study does not have it.

        Args:
            written: its name in the file.
            where: starts the message.

        Raises:
            ConfigError: it differs from a name or alias in case, blanks, hyphens or underscores only.
        """
        if written in self._by_name or any(_plain(name) == _plain(written) for name in self._by_name):
            return self.find(written, where)
        return None

    def to_csv(self) -> str:
        """Write the ethogram as its file."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for one in self.behaviours:
            writer.writerow([one.name, one.group, "|".join(one.aliases), one.kind, "yes" if one.ignore else ""])
        return buffer.getvalue()


def read_ethogram(data: bytes, *, name: str) -> Ethogram:
    """Read an ethogram file.

    Args:
        data: a table with the column `name` and, optionally, `group`, `aliases` (separated by |), `kind` (state or
            point) and `ignore` (yes or no).
        name: the file, for messages.

    Raises:
        ConfigError: a column is missing, a name is empty, a label's name is reserved, a name is used twice or nearly
            so, a kind is unknown, or no label is left.
    """
    table = require_table(data, name, _COLUMNS[:1], _COLUMNS[1:])
    ethogram = Ethogram(tuple(_behaviour(row) for row in table.rows))
    _refuse_doubles(ethogram.behaviours, name)
    return _with_labels(ethogram, name)


def infer(states: Iterable[str], points: Iterable[str] = ()) -> Ethogram:
    """Make an ethogram of the behaviours that occur in annotations, sorted by name.

    Args:
        states: names of behaviours with a duration.
        points: names of point events.

    Raises:
        ConfigError: a name cannot be a label, two names differ in case, blanks, hyphens or underscores only, a
            behaviour is both state and point, or there is no state.
    """
    found, instants = set(states), set(points)
    both = sorted(found & instants)
    if both:
        raise ConfigError(
            f"annotations: {both[0]!r} is a state in one place and a point event in another, expected one kind. "
            f"Correct the annotations, or write {FILE}."
        )
    for one in sorted(found):
        _check_label(one, f"annotations: behaviour {one!r}")
    by_plain: dict[str, str] = {}
    for one in sorted(found | instants):
        other = by_plain.setdefault(_plain(one), one)
        if other != one:
            raise ConfigError(
                f"annotations: behaviours {other!r} and {one!r} differ in case, blanks, hyphens or underscores only, "
                f"expected one spelling. Correct the annotations, or write {FILE} with an alias."
            )
    behaviours = [Behaviour(name=one) for one in sorted(found)]
    behaviours += [Behaviour(name=one, kind="point") for one in sorted(instants)]
    return _with_labels(Ethogram(tuple(behaviours), inferred=True), "annotations")


def _behaviour(row: Row) -> Behaviour:
    if not row["name"]:
        raise ConfigError(f"{row.where}: no name, expected one. Fill it in, or remove the row.")
    if '"' in row["group"]:
        raise ConfigError(f"{row.where}: group {row['group']!r}, expected no quotation mark. Remove it.")
    kind = re.sub(r"\s+event$", "", row["kind"].casefold()) or "state"
    if kind not in ("state", "point"):
        raise ConfigError(f"{row.where}: kind {row['kind']!r}, expected state or point. Correct it.")
    ignore = row["ignore"].casefold()
    if ignore not in (*_YES, *_NO):
        raise ConfigError(f"{row.where}: ignore {row['ignore']!r}, expected yes or no. Correct it.")
    if kind == "state" and ignore not in _YES:  # no other becomes a label
        _check_label(row["name"], f"{row.where}: name {row['name']!r}")
    return Behaviour(
        name=row["name"],
        group=row["group"],
        aliases=tuple(alias.strip() for alias in row["aliases"].split("|") if alias.strip()),
        kind="point" if kind == "point" else "state",
        ignore=ignore in _YES,
    )


def _check_label(name: str, where: str) -> None:
    if name.casefold() in RESERVED or not _NAME.fullmatch(name):
        raise ConfigError(
            f'{where}, expected 1 to 60 characters without / \\ : * ? " < > | , ; and none of {", ".join(RESERVED)}, '
            f"which are columns of tables. Rename it, or give it another name in {FILE} and this one as an alias."
        )


def _refuse_doubles(behaviours: Sequence[Behaviour], name: str) -> None:
    seen: dict[str, str] = {}
    for one in behaviours:
        for written in (one.name, *one.aliases):
            if written in seen:
                raise ConfigError(
                    f"{name}: {written!r} belongs to {seen[written]!r} and to {one.name!r}, expected one. Remove one."
                )
            seen[written] = one.name
    plain: dict[str, str] = {}
    for one in behaviours:
        other = plain.setdefault(_plain(one.name), one.name)
        if other != one.name:
            raise ConfigError(
                f"{name}: names {other!r} and {one.name!r} differ in case, blanks, hyphens or underscores only, "
                "expected one of them. Make one an alias of the other."
            )


def _with_labels(ethogram: Ethogram, name: str) -> Ethogram:
    if not ethogram.labels:
        raise ConfigError(
            f"{name}: no behaviour that is a state and not ignored, expected at least one. Point events have no "
            "duration; make them states, or annotate a state."
        )
    return ethogram


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold()
