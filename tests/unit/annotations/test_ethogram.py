"""The study's own behaviours: read, inferred, refused, written."""

import pytest

from sheep.annotations.ethogram import Behaviour, Ethogram, infer, read_ethogram
from sheep.errors import ConfigError


def ethogram(text: str) -> Ethogram:
    return read_ethogram(text.encode(), name="ethogram.csv")


def test_every_column_is_read() -> None:
    found = ethogram(
        "name,group,aliases,kind,ignore\n"
        "lying,posture,Lying | rest,State,\n"
        "standing,posture,,state event,no\n"
        "eating,,feed,,\n"
        "lick,,,Point event,\n"
        "camera,,,,yes\n"
    )
    assert found.labels == ("lying", "standing", "eating")
    assert found.exclusive == (("lying", "standing"),)
    assert found.behaviours[0] == Behaviour(name="lying", group="posture", aliases=("Lying", "rest"))
    assert found.find("rest", "x").name == "lying"
    assert (found.find("lick", "x").kind, found.find("camera", "x").ignore) == ("point", True)
    assert not found.inferred


def test_only_the_name_is_required_and_the_form_does_not_matter() -> None:
    assert ethogram("name\nlying\neating\n").labels == ("lying", "eating")
    assert read_ethogram("\ufeffGroup;Name\np;lying\n;\np;eating\n".encode("utf-16"), name="e.csv").exclusive == (
        ("lying", "eating"),
    )


def test_a_group_of_one_label_excludes_nothing() -> None:
    assert ethogram("name,group,ignore\nlying,posture,\nstanding,posture,yes\n").exclusive == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns name are missing"),
        ("label\nlying\n", "columns name are missing"),
        ('name,group\nlying,p"\n', "row 2: group 'p\"', expected no quotation mark"),
        ("lying,\nname,group\nstanding,p\n", "above the header, expected the header first"),
        ("name,group\nlying,p\n,p\n", "row 3: no name"),
        ("name\nlying\nlying\n", "'lying' belongs to 'lying' and to 'lying'"),
        ("name,aliases\nlying,rest\nstanding,rest\n", "'rest' belongs to 'lying' and to 'standing'"),
        ("name,aliases\nlying,\nstanding,lying\n", "'lying' belongs to"),
        ("name\nhead down\nHead_Down\n", "'head down' and 'Head_Down' differ in case, blanks"),
        ("name,kind\nlying,event\n", "row 2: kind 'event', expected state or point"),
        ("name,ignore\nlying,maybe\n", "row 2: ignore 'maybe', expected yes or no"),
        ("name,kind\nlick,point\n", "no behaviour that is a state"),
        ("name,ignore\nlying,yes\n", "no behaviour that is a state"),
        ("name\n", "no behaviour that is a state"),
        *(
            (f"name\n{name}\n", f"row 2: name '{name}'")
            for name in ("video", "Frame", "fold", "macro", "time_s", "a/b")
        ),
        (f"name\n{'x' * 61}\n", "expected 1 to 60 characters"),
        ('name,group\nlying,"open\nstanding,p\n', "row 2: .*quotation mark"),
    ],
)
def test_a_wrong_ethogram_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ethogram(text)
    assert "ethogram.csv" in str(caught.value)


def test_names_of_columns_may_be_ignored_or_point_events() -> None:
    assert ethogram("name,kind,ignore\nframe,,yes\nvideo,point,\nlying,,\n").labels == ("lying",)


def test_an_unknown_behaviour_is_refused_with_the_nearest_name() -> None:
    found = ethogram("name,aliases\nlying,rest\nhead_down,\n")
    for written, near in (("Head down", "head_down"), ("Lying", "lying"), ("layin", "lying")):
        with pytest.raises(ConfigError, match=rf"x: behaviour '{written}', expected one of .*Did you mean '{near}'"):
            found.find(written, "x")
    with pytest.raises(ConfigError, match=r"'swimming', expected one of lying, rest, head_down\. Add it"):
        found.find("swimming", "x")


def test_a_behaviour_that_never_holds_may_be_unknown_but_not_nearly_known() -> None:
    found = ethogram("name,aliases\nlying,rest\n")
    assert found.named("swimming", "x") is None
    assert found.named("rest", "x") == found.behaviours[0]
    with pytest.raises(ConfigError, match="Did you mean 'lying'"):
        found.named("Lying", "x")


def test_without_a_file_every_state_is_a_label() -> None:
    found = infer(["standing", "lying", "lying"], ["lick"])
    assert (found.labels, found.exclusive, found.inferred) == (("lying", "standing"), (), True)
    assert found.find("lick", "x").kind == "point"


@pytest.mark.parametrize(
    ("states", "points", "message"),
    [
        (["lying", "Lying"], [], "'Lying' and 'lying' differ in case, blanks"),
        (["head down", "head-down"], [], "differ in case, blanks"),
        (["lying"], ["LYING"], "differ in case, blanks"),
        (["lying"], ["lying"], "'lying' is a state in one place and a point event in another"),
        (["video"], [], "behaviour 'video'.*another name in ethogram.csv"),
        (["a,b"], [], "behaviour 'a,b'"),
        ([], ["lick"], "no behaviour that is a state"),
        ([], [], "no behaviour that is a state"),
    ],
)
def test_what_cannot_be_inferred_is_refused(states: list[str], points: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"annotations: .*{message}"):
        infer(states, points)


@pytest.mark.parametrize(
    "found",
    [
        infer(["lying", "eating"], ["lick, fast/slow", "frame"]),
        Ethogram(
            (
                Behaviour(name="lying", group="pos,tu;re", aliases=("Lying", 'the "rest"', "a,b;c")),
                Behaviour(name="z\xfcngeln", kind="point"),
                Behaviour(name="camera moved", ignore=True),
            )
        ),
    ],
)
def test_what_is_written_reads_the_same(found: Ethogram) -> None:
    assert ethogram(found.to_csv()).behaviours == found.behaviours
