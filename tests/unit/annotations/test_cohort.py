"""The cohort file: what is read, and how every mistake is reported."""

import pytest

from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.errors import ConfigError

TEXT = "video,animal,group\nv1.mp4,a,control\nv1.mp4,b,treated\nv2.mp4,a,control\n"


def test_a_cohort_is_read_and_compared_with_the_videos() -> None:
    cohort = read_cohort(
        "\ufeffvideo, animal, group, note\nv1.mp4,a,control,x\nv1.mp4,b,treated,\nv2.mp4,a,control,\n", name="c"
    )
    assert cohort.to_pylist()[1] == {"video": "v1.mp4", "animal": "b", "group": "treated"}
    check_cohort(cohort, ["v2.mp4", "v1.mp4"])
    with pytest.raises(ConfigError, match=r"not there: 'v2.mp4'.*without a row: 'v3.mp4'"):
        check_cohort(cohort, ["v1.mp4", "v3.mp4"])


@pytest.mark.parametrize(
    "data",
    [
        ("\ufeff" + TEXT.replace(",", ";").replace("\n", "\r\n")).encode(),
        TEXT.encode("utf-16"),
        TEXT.replace("video,animal,group", "Video,Animal,Group").encode(),
        (TEXT + ",,\n,,\n").encode(),
        TEXT.rstrip().encode(),
    ],
)
def test_the_form_does_not_matter(data: bytes) -> None:
    assert read_cohort(data, name="c").equals(read_cohort(TEXT, name="c"))


def test_windows_1252_backslashes_and_words_for_nothing_are_kept() -> None:
    data = "video,animal,group\nday1\\v1.mp4,a,ged\xfcngt\nv2.mp4,b,NA\n".encode("cp1252")
    assert [tuple(row.values()) for row in read_cohort(data, name="c").to_pylist()] == [
        ("day1/v1.mp4", "a", "ged\xfcngt"),
        ("v2.mp4", "b", "NA"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,animal\nv,a\n", "columns group are missing, got 'video, animal', expected video,animal,group"),
        ("video,animal,group\nv,a,\n", "row 2.*expected a value"),
        ("video,animal,group\nv,a,c\nv,a,c\n", "row 3.*occurs twice"),
        ("video,animal,group\nv,a,c\nw,a,t\n", "row 3.*'t' and in 'c'"),
        ('video,animal,group\nv,a,"c\nw,a,t\n', "row 2.*quotation mark"),
        ('video,animal,group\nv,a,con"trol\n', "row 2: a quotation mark in"),
        ("video,animal,group\nv,a,control\nw,b,Control\n", "groups 'control' and 'Control' differ in case"),
        ("video,animal,group\nv,a 1,control\nw,A-1,control\n", "animals 'a 1' and 'A-1' differ in case"),
        ("video,animal,group,note\nv,a,c,\nw,b,c", "row 3: 3 cells and no line end.*cut off"),
        ("x,,\nvideo,animal,group\nv,a,control\n", "above the header, expected the header first"),
        ("", "columns video, animal, group are missing"),
    ],
)
def test_a_broken_cohort_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_cohort(text, name="cohort.csv")
    assert "cohort.csv" in str(caught.value)
