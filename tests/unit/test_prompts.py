"""Prompt files: what is read, and every way a person can get one wrong."""

import re

import pytest

from sheep import prompts
from sheep.errors import ConfigError
from sheep.tables import Prompt

HEADER = "video,animal,frame,kind,x,y,x0,y0,x1,y1\n"


def point(video: str = "a.mp4", animal: str = "ewe", frame: int = 0, xy: tuple[float, ...] = (5.0, 6.5)) -> Prompt:
    return Prompt(video=video, animal=animal, frame=frame, kind="point", xy=xy)


def box(video: str = "a.mp4", animal: str = "ewe", frame: int = 0, xy: tuple[float, ...] = (1, 2, 30, 40)) -> Prompt:
    return Prompt(video=video, animal=animal, frame=frame, kind="box", xy=xy)


def read(*lines: str) -> list[Prompt]:
    return prompts.parse(HEADER + "\n".join(lines) + "\n", name="prompts.csv")


def test_points_and_boxes_come_sorted() -> None:
    found = read("b.mp4,ewe,0,point,5,6.5,,,,", "a.mp4,ram,12,box,,,1,2,30,40", "a.mp4,ewe,0,point,5,6.5,,,,")
    assert found == [point(), box(animal="ram", frame=12), point(video="b.mp4")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_point_and_box_the_box_is_kept(order: tuple[int, int]) -> None:
    lines = ("a.mp4,ewe,3,point,5,6.5,,,,", "a.mp4,ewe,3,box,,,1,2,30,40")
    assert read(*(lines[i] for i in order)) == [box(frame=3)]


def test_column_order_extra_columns_and_a_byte_order_mark_do_not_matter() -> None:
    text = "\ufeffanimal,video,who clicked,kind,frame,x0,y0,x1,y1,x,y\r\newe,a.mp4,me,point,0,,,,,5,6.5\r\n"
    assert prompts.parse(text, name="prompts.csv") == [point()]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a.mp4,ewe,0,circle,5,6,,,,"], "line 2: kind 'circle', expected point or box"),
        (["a.mp4,ewe,0,Point,5,6,,,,"], "line 2: kind 'Point'"),
        (["a.mp4,ewe,0"], "line 2: kind None"),
        (["a.mp4,ewe,0,point,5,6,,,,", "a.mp4,ram,0,point,5,left,,,,"], "line 3: could not convert.*'left'"),
        (["a.mp4,ewe,0,point,,,1,2,3,4"], "line 2: could not convert string to float: ''.*numbers in x, y"),
        (["a.mp4,ewe,0,box,5,6,,,,"], "numbers in x0, y0, x1, y1"),
        (["a.mp4,ewe,0.5,point,5,6,,,,"], "line 2: .*'0.5', expected an integer frame"),
        (["a.mp4,ewe,-1,point,5,6,,,,"], "line 2: frame -1"),
        (["a.mp4,ewe,0,point,nan,6,,,,"], r"coordinates \(nan, 6.0\), expected.*finite"),
        (["a.mp4,ewe,0,box,,,1,2,inf,40"], "finite"),
        (["a.mp4,ewe,0,box,,,30,2,1,40"], r"line 2: box \(30.0, 2.0, 1.0, 40.0\), expected x0 < x1 and y0 < y1"),
        (["a.mp4,ewe,0,box,,,1,2,30,2"], "expected x0 < x1 and y0 < y1"),
        ([",ewe,0,point,5,6,,,,"], "line 2: video '', animal 'ewe', expected a name in both"),
        (["a.mp4,,0,point,5,6,,,,"], "animal ''"),
        (["a.mp4,ewe,0,point,5,6,,,,"] * 2, "line 3: 'ewe' in a.mp4 has more than one prompt"),
        (["a.mp4,ewe,0,point,5,6,,,,", "a.mp4,ewe,9,box,,,1,2,3,4"], "line 3: .*more than one prompt"),
        (
            ["a.mp4,ewe,0,point,5,6,,,,", "a.mp4,ewe,0,box,,,1,2,3,4", "a.mp4,ewe,0,point,9,9,,,,"],
            "line 4: .*more than one prompt",
        ),
    ],
)
def test_a_wrong_line_is_named(lines: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=r"^prompts\.csv, ") as caught:
        read(*lines)
    assert re.search(said, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("text", ["", "video,animal\na.mp4,ewe\n", HEADER.replace(",", ";") + "a.mp4;ewe;0\n"])
def test_a_wrong_header_is_shown_beside_the_right_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"prompts\.csv: columns .* are missing, got .*, expected video,animal,frame"):
        prompts.parse(text, name="prompts.csv")


def test_prompts_find_their_videos() -> None:
    given = [point(), point(animal="ram"), point(video="b.mp4")]
    assert prompts.by_video(given, ["a.mp4", "b.mp4"], name="p") == {"a.mp4": given[:2], "b.mp4": given[2:]}


def test_a_prompt_without_video_and_a_video_without_prompt_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"p: prompts for 1 videos that are not there, first 'b\.mp4'.*'a\.mp4'"):
        prompts.by_video([point(), point(video="b.mp4")], ["a.mp4"], name="p")
    with pytest.raises(ConfigError, match=r"p: 2 of 3 videos have no prompt, first 'b\.mp4'"):
        prompts.by_video([point()], ["a.mp4", "b.mp4", "c.mp4"], name="p")


@pytest.mark.parametrize("prompt", [point(xy=(0, 0)), point(xy=(64, 48)), box(xy=(0, 0, 64, 48))])
def test_the_frames_border_is_inside(prompt: Prompt) -> None:
    prompts.check_inside([prompt], {"a.mp4": (48, 64)}, name="p")


@pytest.mark.parametrize("xy", [(-0.5, 10), (65, 10), (10, 49), (50, 60)])
def test_a_point_outside_is_refused(xy: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"point .* of 'ewe' in a\.mp4 is outside .* x in 0\.\.64, y in 0\.\.48"):
        prompts.check_inside([point(xy=xy)], {"a.mp4": (48, 64)}, name="p")


@pytest.mark.parametrize("xy", [(-1, 2, 30, 40), (1, 2, 65, 40), (1, 2, 30, 49)])
def test_a_box_that_reaches_out_is_refused(xy: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="outside"):
        prompts.check_inside([point(video="unread.mp4", xy=(999, 0)), box(xy=xy)], {"a.mp4": (48, 64)}, name="p")


def test_videos_that_cannot_be_read_are_left_to_their_worker() -> None:
    prompts.check_inside([point(xy=(999, 0))], {}, name="p")


def test_tracking_starts_at_the_earliest_prompt() -> None:
    assert prompts.start_frame([point(frame=12), box(animal="ram", frame=6)], 3) == 6
    with pytest.raises(ConfigError, match=r"'ram' in a\.mp4: frame 7, expected a multiple of crop\.stride_frames = 3"):
        prompts.start_frame([point(frame=12), box(animal="ram", frame=7)], 3)
