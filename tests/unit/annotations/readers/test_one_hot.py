"""One row per frame or time, one column of zeros and ones per behaviour."""

import pytest

from sheep.annotations.coding import Coding
from sheep.errors import ConfigError
from tests.unit.annotations.files import read, read_with_tool, xlsx


def one_hot(header: str, *rows: str, name: str = "cam1_labels.csv") -> Coding:
    [coding] = read(name, "\n".join([header, *rows]) + "\n")
    return coding


def test_deepethograms_labels() -> None:
    coding = one_hot(",background,lying,eating", "0,1,0,0", "1,0,1,0", "2,0,1,1", "3,1,0,0")
    assert (coding.media, coding.stem, coding.animal, coding.unit) == ("cam1_labels", True, "", "frame")
    assert coding.bouts == {"lying": ((1.0, 3.0),), "eating": ((2.0, 3.0),)}
    assert coding.absent == {"lying": ((0.0, 1.0), (3.0, 4.0)), "eating": ((0.0, 2.0), (3.0, 4.0))}


@pytest.mark.parametrize("empty", ["", "-1", "nan", "NA"])
def test_what_is_not_labelled_is_unscored(empty: str) -> None:
    coding = one_hot(",background,lying,eating", "0,1,0,0", f"1,{empty},{empty},0", "2,0,1,0")
    assert (coding.bouts["lying"], coding.absent["lying"]) == (((2.0, 3.0),), ((0.0, 1.0),))
    assert coding.absent["eating"] == ((0.0, 3.0),)


def test_simbas_targets_are_the_columns_behind_pose_and_features() -> None:
    header = ",Nose_x,Nose_y,Nose_p,Low_prob,Movement,Probability_lying,lying,eating"
    coding = one_hot(header, "0,1,0,1,0,0.5,0.1,0,0", "1,1,0,1,1,0.25,0.9,1,0", name="cam1_targets.csv")
    assert coding.bouts == {"lying": ((1.0, 2.0),), "eating": ()}
    header = "scorer,Nose_x,Nose_y,Nose_p,Movement,lying"
    assert one_hot(header, "0,1,1,1,0.5,1", "1,1,1,1,0.25,0").bouts == {"lying": ((0.0, 1.0),)}


def test_cbas_has_no_index() -> None:
    assert one_hot("lying,eating", "0,1", "1,0", "1,0").bouts == {"lying": ((1.0, 3.0),), "eating": ((0.0, 1.0),)}


@pytest.mark.parametrize(("yes", "no"), [("1.0", "0.0"), ("True", "False"), ("TRUE", "FALSE")])
def test_other_spellings_of_one_and_zero(yes: str, no: str) -> None:
    assert one_hot("frame;lying", f"0;{no}", f"1;{yes}").bouts == {"lying": ((1.0, 2.0),)}


def test_a_spreadsheet_is_read_as_the_text_is() -> None:
    [coding] = read("cam1.xlsx", xlsx([["Frame", "lying"], [0, 0], [1, True], [2, 1]]))
    assert coding.bouts == {"lying": ((1.0, 3.0),)}


def test_boris_binary_table_has_times_and_animals() -> None:
    rows = [f"{i / 25:.3f},{int(1 <= i < 3)},0,0,{int(i == 0)}" for i in range(5)]
    text = "\n".join(["time,m1 lying,m1 head down,m2 lying,m2 head down", *rows])
    tool, [m1, m2] = read_with_tool("cam1_binary.csv", text)
    assert "BORIS binary" in tool
    assert (m1.animal, m1.unit, m1.media) == ("m1", "s", "cam1_binary")
    assert m1.bouts == {"lying": ((0.04, 0.12),), "head down": ()}
    assert m1.absent["head down"] == ((0.0, 0.2),)
    assert (m2.animal, m2.bouts["head down"]) == ("m2", ((0.0, 0.04),))


def test_columns_that_are_no_animal_and_behaviour_are_behaviours() -> None:
    assert set(one_hot("time,lying,head down", "0,0,1", "1,1,0").bouts) == {"lying", "head down"}
    coding = one_hot("time,No focal subject lying,No focal subject eating", "0,0,1", "1,1,0")
    assert (coding.animal, set(coding.bouts)) == ("", {"lying", "eating"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",lying\n0,0\n2,1\n", "row 3: frame '2', expected 1"),
        (",lying\n0,0\n1,1\n1,1\n", "row 4: frame '1', expected 2"),
        ("frame,lying\n1,0\n2,1\n", "row 2: frame '1', expected 0"),
        ("lying,eating\n0,0\n,\n1,0\n", "row 4: a blank row before it"),
        (",lying\n0,0\n1,1\n2,x\n3,0\n", "row 4, lying: 'x', expected 0, 1 or nothing"),
        (",Nose_x,Nose_y,lying\n0,5,5,0\n1,5,5,1\n2,5,5,7\n", "row 4, lying: '7'"),
        (",lying,eating\n0,0,1\n1,1\n", "row 3: 2 cells, expected 3"),
        (",lying,lying\n0,0,1\n1,1,0\n", "columns lying occur more than once"),
        ("time,lying\n0,0\n0.04,1\n0.12,1\n0.16,0\n0.2,0\n", "row 4: 0.08 s after the row before, expected 0.04 s"),
        ("time,lying\n0,0\n0,1\n", "row 3: 0 s after"),
        ("time,lying\n0,1\n", "row 2: one row"),
        ("time,lying\n0,0\nx,1\n", "row 3, time: 'x'"),
        (',lying\n0,0\n1,1\n"2,0\n', "row 4: .*quotation mark"),
    ],
)
def test_a_wrong_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("cam1_labels.csv", text)
    assert "cam1_labels.csv" in str(caught.value)


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,4\n", "1,0\n0,1\n", "lying,eating\n", "lying,eating\n,\n", "a,b\nx,y\n"])
def test_other_numbers_are_not_read(text: str) -> None:
    with pytest.raises(ConfigError, match="its format is not known"):
        read("cam1.csv", text)
