"""Names of animals and groups in prompts, annotations and cohort: the ones that do not meet, and near misses."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping

from sheep.annotations.matching import some


def plain(name: str) -> str:
    """Return what is left of a name without case, blanks, Unicode spelling and leading zeros."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_-]+", "", text))


def near_misses(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the names that a person would take for one, each group once, sorted.

    Args:
        names: any, repeated or not.
    """
    by_plain: dict[str, set[str]] = {}
    for name in names:
        by_plain.setdefault(plain(name), set()).add(name)
    for spellings in by_plain.values():
        if len(spellings) > 1:
            yield tuple(sorted(spellings))


def unmatched_animals(
    prompted: Mapping[str, Collection[str]], cohort: Mapping[str, Collection[str]], prompts_name: str, cohort_name: str
) -> Iterator[str]:
    """Say which animals of a video are in the prompts and not in the cohort, or the reverse.

    Args:
        prompted: video -> animals of the prompt file.
        cohort: video -> animals of the cohort.
        prompts_name: the prompt file, for messages.
        cohort_name: the cohort file, for messages.
    """
    for video in sorted({*prompted, *cohort}):
        there, here = set(prompted.get(video, ())), set(cohort.get(video, ()))
        for animal in sorted(there - here):
            yield (
                f"{cohort_name}: no row for animal {animal!r} in {video!r}, which {prompts_name} has, expected one."
                f"{_hint(animal, here)} Use the same name in both, or add the row."
            )
        for animal in sorted(here - there):
            yield (
                f"{prompts_name}: no prompt for animal {animal!r} in {video!r}, which {cohort_name} has, expected one."
                f"{_hint(animal, there)} Prompt it, or remove its row."
            )


def similar_groups(groups: Iterable[str], name: str) -> Iterator[str]:
    """Say which groups differ in their spelling only.

    Args:
        groups: names, repeated or not.
        name: the cohort file, for messages.
    """
    for spellings in near_misses(groups):
        yield f"{name}: groups {some(spellings)} differ in spelling only, expected one spelling. Correct the rows."


def _hint(animal: str, others: Collection[str]) -> str:
    near = sorted(other for other in others if plain(other) == plain(animal))
    if not near:
        return ""
    visible = "" if near[0].strip() != animal.strip() else " (they differ in blanks)"
    if unicodedata.normalize("NFC", near[0]) == unicodedata.normalize("NFC", animal):
        visible = " (they look the same and differ in their Unicode spelling)"
    return f" Did you mean {near[0]!r}{visible}?"
