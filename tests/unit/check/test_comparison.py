"""What the comparison of groups cannot show is reported in advance."""

from dataclasses import replace

from sheep.check.comparison import weak_groups
from sheep.check.settings import groups
from sheep.config import CompareConfig, StudyConfig

CONFIG = StudyConfig(name="test")


def members(**sizes: int) -> dict[str, list[str]]:
    return {group: [f"{group}{number}" for number in range(size)] for group, size in sizes.items()}


def every(given: dict[str, list[str]]) -> list[str]:
    return [name for names in given.values() for name in names]


def test_groups_that_can_be_tested_need_no_words() -> None:
    given = members(c=4, t=4)
    assert list(weak_groups(CONFIG, given, every(given))) == []
    assert list(groups(CONFIG, given)) == []


def test_too_few_animals_to_find_anything() -> None:
    given = members(c=3, t=3)
    [line] = weak_groups(CONFIG, given, every(given))
    assert line.startswith("c (3) against t (3): with so few, p cannot fall below 0.100")
    given = members(c=5, t=3)  # 1 / 56 = .018
    assert list(weak_groups(CONFIG, given, every(given))) == []


def test_too_few_annotations_to_test_anything() -> None:
    [line] = weak_groups(CONFIG, members(c=8, t=8), ["c0", "c1", "c2", "c3", "t0", "t1"])
    assert line.startswith("c against t will not be tested: too few scored animals: 4 of 8 animals of c and 2 of 8")
    [line] = weak_groups(CONFIG, members(c=8, t=8), ["c0"])
    assert "exploratory: only 1 scored animal in group c and no labels in group t" in line


def test_a_group_of_one_is_a_warning_unless_too_little_is_left() -> None:
    given = members(a=1, c=4, t=4)
    assert list(groups(CONFIG, given)) == []
    [line] = weak_groups(CONFIG, given, every(given))
    assert "group 'a' has one animal or pen: it is left out" in line
    reference = replace(CONFIG, compare=CompareConfig(reference="a"))
    [line] = groups(reference, given)
    assert "fewer than 2 animals in a (1)" in line
    [line] = groups(CONFIG, members(c=1, t=4))
    assert "fewer than 2 animals in c (1), expected the reference and one more group" in line
