"""Names that a person would take for one."""

import pytest

from sheep.check.names import near_misses, plain, similar_groups, unmatched_animals


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1", "01"),
        ("ewe 7", "ewe07"),
        ("M\u00fcnch", "Mu\u0308nch"),
        ("Dog_A", "dogA"),
        ("pen-3", "PEN 3"),
        ("a ", "a"),
    ],
)
def test_spellings_of_one_name_are_near(first: str, second: str) -> None:
    assert plain(first) == plain(second)
    assert list(near_misses([first, second, first])) == [tuple(sorted((first, second)))]


def test_other_names_are_not_near() -> None:
    assert list(near_misses(["ewe1", "ewe2", "ewe10", "ewe20", "ewe1"])) == []
    assert list(similar_groups(["NA", "None", "nan", "control"], "cohort.csv")) == []


def test_a_difference_that_cannot_be_seen_is_said() -> None:
    [one, other] = unmatched_animals({"v.mp4": ["Mu\u0308"]}, {"v.mp4": ["M\u00fc"]}, "prompts.csv", "cohort.csv")
    assert one.startswith("cohort.csv: no row for animal")
    assert other.startswith("prompts.csv: no prompt for animal")
    for message in (one, other):
        assert "they look the same and differ in their Unicode spelling" in message
    [blank, _] = unmatched_animals({"v.mp4": ["a "]}, {"v.mp4": ["a"]}, "prompts.csv", "cohort.csv")
    assert "they differ in blanks" in blank
