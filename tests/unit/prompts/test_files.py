"""Prompt files: what is read, and how every mistake in them is reported."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from sheep import prompts
from sheep.errors import ConfigError
from sheep.schemas import PROMPTS, Prompt

HEADER = "video,animal,frame,kind,x,y,x0,y0,x1,y1\n"


def point(video: str = "a.mp4", animal: str = "ewe", frame: int = 0, xy: tuple[float, ...] = (5.0, 6.5)) -> Prompt:
    return Prompt(video=video, animal=animal, frame=frame, kind="point", xy=xy)


def box(video: str = "a.mp4", animal: str = "ewe", frame: int = 0, xy: tuple[float, ...] = (1, 2, 30, 40)) -> Prompt:
    return Prompt(video=video, animal=animal, frame=frame, kind="box", xy=xy)


def read(*lines: str) -> list[Prompt]:
    return prompts.parse(HEADER + "\n".join(lines) + "\n", name="prompts.csv")


def test_points_and_boxes_are_sorted() -> None:
    found = read("b.mp4,ewe,0,point,5,6.5,,,,", "a.mp4,ram,12,box,,,1,2,30,40", "a.mp4,ewe,0,point,5,6.5,,,,")
    assert found == [point(), box(animal="ram", frame=12), point(video="b.mp4")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_point_and_box_the_box_is_kept(order: tuple[int, int]) -> None:
    lines = ("a.mp4,ewe,3,point,5,6.5,,,,", "a.mp4,ewe,3,box,,,1,2,30,40")
    assert read(*(lines[i] for i in order)) == [box(frame=3)]


def test_later_prompts_of_an_animal_correct_it() -> None:
    lines = ("a.mp4,ewe,9,box,,,1,2,30,40", "a.mp4,ewe,0,point,5,6.5,,,,", "a.mp4,ewe,9,point,5,6,,,,")
    assert read(*lines) == [point(), box(frame=9)]


def test_column_order_further_columns_and_a_byte_order_mark_do_not_matter() -> None:
    text = "\ufeffanimal,video,who clicked,kind,frame,x0,y0,x1,y1,x,y\r\newe,a.mp4,me,point,0,,,,,5,6.5\r\n"
    assert prompts.parse(text, name="prompts.csv") == [point()]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.mp4,ewe,0,circle,5,6,,,,"], "row 2: kind 'circle', expected point or box"),
        (["a.mp4,ewe,0,Point,5,6,,,,"], "row 2: kind 'Point'"),
        (["a.mp4,ewe,0"], "row 2: kind ''"),
        (["a.mp4,ewe,0,point,5,6,,,,", "a.mp4,ram,0,point,5,left,,,,"], "row 3, y: 'left', expected one number"),
        (["a.mp4,ewe,0,point,,,1,2,3,4"], "row 2, x: '', expected one number"),
        (["a.mp4,ewe,0,box,5,6,,,,"], "row 2, x0: '', expected one number"),
        (["a.mp4,ewe,0.5,point,5,6,,,,"], "row 2: frame '0.5', expected a whole number"),
        (["a.mp4,ewe,-1,point,5,6,,,,"], "row 2: frame -1"),
        (["a.mp4,ewe,0,point,nan,6,,,,"], "row 2, x: 'nan', expected one number"),
        (["a.mp4,ewe,0,box,,,1,2,inf,40"], "row 2, x1: 'inf', expected one number"),
        (["a.mp4,ewe,0,box,,,30,2,1,40"], r"row 2: box \(30.0, 2.0, 1.0, 40.0\), expected x0 < x1 and y0 < y1"),
        (["a.mp4,ewe,0,box,,,1,2,30,2"], "expected x0 < x1 and y0 < y1"),
        ([",ewe,0,point,5,6,,,,"], "row 2: video '', animal 'ewe', expected a name in both"),
        (["a.mp4,,0,point,5,6,,,,"], "animal ''"),
        (["a.mp4,ewe,0,mask,,,1,2,3,4"], "row 2: kind 'mask', expected point or box.*Parquet or COCO"),
        (
            ["a.mp4,ewe,0,point,5,6,,,,"] * 2,
            r"row 3: 'ewe' in a.mp4 has more than one prompt of kind point on frame 0, the other in prompts\.csv, "
            r"row 2",
        ),
        (
            ["a.mp4,ewe,3,box,,,1,2,3,4", "a.mp4,ewe,3,point,5,6,,,,", "a.mp4,ewe,3,box,,,1,2,9,9"],
            "row 4: .*kind box on frame 3, the other in .* row 2",
        ),
    ],
)
def test_a_wrong_line_is_named(lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=r"^prompts\.csv, ") as caught:
        read(*lines)
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("text", ["", "video,animal\na.mp4,ewe\n", "path;name\na.mp4;ewe\n"])
def test_a_wrong_header_is_reported_with_the_expected_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"prompts\.csv: columns .* are missing, got .*, expected video,animal,frame"):
        prompts.parse(text, name="prompts.csv")


def test_prompts_are_matched_with_their_videos() -> None:
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
def test_a_box_that_extends_outside_is_refused(xy: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="outside"):
        prompts.check_inside([point(video="unread.mp4", xy=(999, 0)), box(xy=xy)], {"a.mp4": (48, 64)}, name="p")


def test_prompts_of_unreadable_videos_are_not_checked() -> None:
    prompts.check_inside([point(xy=(999, 0))], {}, name="p")


def test_tracking_starts_at_the_earliest_prompt() -> None:
    assert prompts.start_frame([point(frame=12), box(animal="ram", frame=6)], 3) == 6
    with pytest.raises(ConfigError, match=r"'ram' in a\.mp4: frame 7, expected a multiple of crop\.stride_frames = 3"):
        prompts.start_frame([point(frame=12), box(animal="ram", frame=7)], 3)


def test_corrections_do_not_move_the_start() -> None:
    assert prompts.start_frame([point(frame=6), box(frame=30)], 3) == 6


MASK = np.zeros((4, 6), dtype=bool)
MASK[1:3, 2:5] = True
COUNTS = coco.encode(np.asfortranarray(MASK, dtype=np.uint8))["counts"]


def mask(frame: int = 0, counts: bytes = COUNTS, size_px: tuple[int, int] = (4, 6)) -> Prompt:
    return Prompt(video="a.mp4", animal="ewe", frame=frame, kind="mask", xy=(2, 1, 5, 3), mask=counts, size_px=size_px)


def parquet(*rows: dict[str, object], **more: object) -> bytes:
    sink = pa.BufferOutputStream()
    given = [{"video": "a.mp4", "animal": "ewe", "frame": 0, **row} for row in rows]
    table = pa.Table.from_pylist(given, schema=PROMPTS)
    for name, values in more.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_parquet_holds_all_kinds_and_the_mask_is_kept() -> None:
    outline = {"kind": "mask", "mask": COUNTS, "height_px": 4, "width_px": 6}
    around = {"kind": "box", "x0": 1, "y0": 2, "x1": 30, "y1": 40}
    data = parquet({"kind": "point", "x": 5, "y": 6.5, "frame": 2}, outline, around, reason=["jump", "lost", ""])
    assert prompts.read(data, name="p.parquet") == [mask(), point(frame=2)]


def test_mask_columns_are_optional_in_parquet() -> None:
    sink = pa.BufferOutputStream()
    columns = {"video": ["a.mp4"], "animal": ["ewe"], "frame": [0], "kind": ["point"], "x": [5], "y": [6.5]}
    pq.write_table(pa.table(columns), sink)
    assert prompts.read(sink.getvalue().to_pybytes(), name="p.parquet") == [point()]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"kind": "mask"}, "row 1: mask without mask, height_px, width_px"),
        ({"kind": "point", "x": 3}, "row 1: point without y"),
        ({"kind": "scribble"}, "row 1: kind 'scribble', expected point, box or mask"),
        ({"kind": "mask", "mask": COUNTS, "height_px": 4, "width_px": 7}, "row 1: mask of 24 px for a frame 7 x 4"),
        ({"kind": "mask", "mask": b"\xff", "height_px": 4, "width_px": 6}, "mask of 0 px for a frame 6 x 4"),
        ({"kind": "mask", "mask": b"h0", "height_px": 4, "width_px": 6}, "row 1: the mask is empty"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompts.read(parquet(row), name="p.parquet")


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_of_any_mask_are_decoded(seed: int) -> None:
    """Long runs need several characters, and shorter ones after longer are negative differences."""
    rng = np.random.default_rng(seed)
    drawn = np.kron(rng.random((7, 5)) < 0.4, np.ones((rng.integers(1, 40), rng.integers(1, 40)))).astype(bool)
    drawn[0, 0] = True
    counts = coco.encode(np.asfortranarray(drawn, dtype=np.uint8))["counts"]
    data = parquet({"kind": "mask", "mask": counts, "height_px": drawn.shape[0], "width_px": drawn.shape[1]})
    (found,) = prompts.read(data, name="p.parquet")
    rows, columns = np.nonzero(drawn)
    assert found.xy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_mask_of_another_size_than_the_video_is_refused() -> None:
    prompts.check_inside([mask()], {"a.mp4": (4, 6)}, name="p")
    with pytest.raises(
        ConfigError,
        match=r"p: mask of 'ewe' in a\.mp4, frame 0, is of an image of 6 x 4 px, expected the video's 64 x 48",
    ):
        prompts.check_inside([mask()], {"a.mp4": (48, 64)}, name="p")


def test_other_files_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"p\.xlsx: expected a prompt file ending in \.csv, \.parquet or \.json"):
        prompts.read(b"", name="p.xlsx")
    with pytest.raises(ConfigError, match=r"p\.parquet: cannot be read"):
        prompts.read(b"video,animal", name="p.parquet")
    with pytest.raises(ConfigError, match=r"p\.csv: columns .* are missing"):
        prompts.read(b"\xff\xfe", name="p.csv")
    with pytest.raises(ConfigError, match=r"p\.json: not UTF-8"):
        prompts.read(b"\xff\xfe", name="p.json")


def annotated(*marks: dict[str, object], image: dict[str, object] | None = None) -> bytes:
    images = [{"id": 1, "file_name": "day1/a.mp4/frame_000012.jpg", "width": 6, "height": 4, **(image or {})}]
    given = [{"id": 10 + i, "image_id": 1, "category_id": 3, **mark} for i, mark in enumerate(marks)]
    return json.dumps({"images": images, "categories": [{"id": 3, "name": "ewe"}], "annotations": given}).encode()


def test_coco_boxes_and_names() -> None:
    box_xywh: dict[str, object] = {"bbox": [1, 0, 2, 3], "segmentation": []}
    given: tuple[dict[str, object], ...] = (
        {**box_xywh, "attributes": {"animal": "Dolly"}, "track_id": 4},
        {**box_xywh, "track_id": 4},
        {**box_xywh, "attributes": {"instance_id": 0}},
        box_xywh,
    )
    found = prompts.read(annotated(*given), name="p.json")
    assert [one.animal for one in found] == ["Dolly", "ewe", "ewe0", "ewe4"]
    assert {(one.video, one.frame, one.kind, one.xy) for one in found} == {("day1/a.mp4", 12, "box", (1, 0, 3, 3))}


@pytest.mark.parametrize(
    "segmentation",
    [
        [[2, 1, 5, 1, 5, 3, 2, 3]],
        {"size": [4, 6], "counts": COUNTS.decode()},
        {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]},
    ],
    ids=["polygon", "compressed", "counts"],
)
def test_coco_outlines_become_the_same_mask(segmentation: object) -> None:
    data = annotated({"segmentation": segmentation, "bbox": [0, 0, 1, 1]}, image={"video": "a.mp4", "frame": 0})
    assert prompts.read(data, name="p.json") == [mask()]


@pytest.mark.parametrize(
    ("mark", "image", "message"),
    [
        ({"bbox": [1, 0, 0, 3]}, {}, r"annotation 10: box \(1\.0, 0\.0, 1\.0, 3\.0\), expected x0 < x1"),
        ({}, {}, "annotation 10: neither segmentation nor bbox"),
        ({"bbox": [1, 2, 3]}, {}, "annotation 10: ValueError"),
        ({"bbox": [1, 0, 2, 3], "image_id": 2}, {}, "annotation 10: image 2 is not in the file"),
        ({"bbox": [1, 0, 2, 3], "category_id": 9}, {}, "neither animal nor category"),
        ({"bbox": [1, 0, 2, 3]}, {"file_name": "000012.jpg"}, r"image '000012\.jpg', expected <video>/<frame>\.jpg"),
        ({"segmentation": {"size": [4, 6], "counts": [20, 2]}}, {}, "run lengths do not fill 6 x 4"),
        ({"segmentation": {"size": [4, 6], "counts": [24]}}, {}, "the mask is empty"),
        ({"segmentation": [[1, 1, 2, 2]]}, {}, "fewer than three corners"),
        ({"segmentation": [[1, 1, 9, 1, 5, 3]]}, {}, "extends outside the 6 x 4 px image"),
    ],
)
def test_a_wrong_annotation_is_named(mark: dict[str, object], image: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompts.read(annotated(mark, image=image), name="p.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [{"file_name": "a"}], "annotations": []}'])
def test_json_of_another_structure_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"p\.json: .*expected COCO JSON"):
        prompts.read(text.encode(), name="p.json")


def test_a_written_file_is_read_back() -> None:
    given = [point(), box(frame=8)]
    data = prompts.to_csv(given, {"score": [0.25, 1]})
    assert data.splitlines()[0].decode() == HEADER.strip() + ",score"
    assert prompts.read(data, name="p.csv") == given


def test_another_mask_in_the_same_box_changes_the_identity() -> None:
    hole = MASK.copy()
    hole[1, 3] = False
    other = mask(counts=coco.encode(np.asfortranarray(hole, dtype=np.uint8))["counts"])
    assert prompts.identity([mask()]) != prompts.identity([other])
    assert prompts.identity([box(xy=(1.0, 2.0, 30.0, 40.0))]) == [["ewe", 0, "box", 1.0, 2.0, 30.0, 40.0]]


CSV = "video,animal,frame,kind,x,y,x0,y0,x1,y1\na.mp4,ewe,0,point,5,6,,,,\n"


@pytest.mark.parametrize(
    "data",
    [
        ("\ufeff" + CSV.replace(",", ";").replace("\n", "\r\n")).encode(),
        ("sep=;\n" + CSV.replace(",", ";").replace(";5;6;", ";5,0;6,0;")).encode(),
        CSV.replace(",", "\t").encode("utf-16"),
        CSV.replace("video,animal", " Video , Animal ").encode(),
        (CSV + ",,,,,,,,,\n\n").encode(),
        CSV.replace(",0,point", ",0.0,point").encode(),
        CSV.replace(",,,,\n", "\n").encode(),
    ],
    ids=["semicolons", "decimal commas", "UTF-16", "header", "blank rows", "frame 0.0", "short row"],
)
def test_a_table_in_another_form_gives_the_same_prompts(data: bytes) -> None:
    assert prompts.read(data, name="p.csv") == prompts.read(CSV.encode(), name="p.csv")


def test_other_spellings_of_a_video_are_matched() -> None:
    given = [point(video="day1\\Zu\u0308ri.mp4")]
    assert list(prompts.by_video(given, ["day1/Z\u00fcri.mp4"], name="p")) == ["day1/Z\u00fcri.mp4"]
    [found] = prompts.by_video(given, ["day1/Z\u00fcri.mp4"], name="p")["day1/Z\u00fcri.mp4"]
    assert found.video == "day1/Z\u00fcri.mp4"


def test_coordinates_that_are_shares_of_the_picture_are_refused() -> None:
    shares = [replace(point(), xy=(0.42, 0.61)), replace(point(frame=3), xy=(0.5, 1.0))]
    with pytest.raises(ConfigError, match=r"p: no coordinate is above 1, the largest is 1, expected pixels"):
        prompts.by_video(shares, ["a.mp4"], name="p")
    assert prompts.by_video([*shares, replace(point(frame=9), xy=(5.0, 6.0))], ["a.mp4"], name="p")


BOX: dict[str, object] = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 50, 40, 30]}
IMAGE: dict[str, object] = {"id": 1, "file_name": "a.mp4/000012.jpg", "width": 128, "height": 96}


def coco_prompts(annotation: dict[str, object], image: dict[str, object] | None = None) -> list[Prompt]:
    """Read a COCO file of one image and one annotation, changed as given."""
    whole = {
        "images": [{**IMAGE, **(image or {})}],
        "categories": [{"id": 1, "name": "sheep"}],
        "annotations": [{**BOX, **annotation}],
    }
    return prompts.read(json.dumps(whole).encode(), name="p.json")


@pytest.mark.parametrize(
    ("annotation", "image", "animal"),
    [
        ({"attributes": {"animal": "ewe1"}}, {}, "ewe1"),
        ({"attributes": [{"name": "animal", "value": "ewe1"}]}, {}, "ewe1"),
        ({"attributes": {"animal": 0}}, {}, "0"),
        ({"image_id": "1", "category_id": "1"}, {}, "sheep"),
        ({"track_id": 0}, {}, "sheep0"),
        ({}, {"file_name": "a.mp4\\000012.jpg"}, "sheep"),
        ({}, {"file_name": "a.mp4/a2_000012.jpg"}, "sheep"),
    ],
    ids=["named", "pairs", "animal 0", "ids as text", "track 0", "backslashes", "digits in the prefix"],
)
def test_coco_is_read_as_tools_write_it(annotation: dict[str, object], image: dict[str, object], animal: str) -> None:
    [found] = coco_prompts(annotation, image)
    assert (found.video, found.animal, found.frame, found.xy) == ("a.mp4", animal, 12, (30, 50, 70, 80))


def test_a_hidden_box_is_no_prompt() -> None:
    assert coco_prompts({"attributes": {"outside": True}}) == []


def test_a_corner_that_rounding_put_outside_is_clipped() -> None:
    [found] = coco_prompts({"segmentation": [[100, 50, 128.02, 50, 128.02, 80, 100, 80]]})
    assert found.xy == (100, 50, 128, 80)


def test_images_that_roboflow_numbered_are_refused_with_the_cause() -> None:
    with pytest.raises(ConfigError, match="named by Roboflow, whose numbers count the images that it sampled"):
        coco_prompts({}, {"file_name": "a_mp4-0000_jpg.rf.0a1b2c3d4e5f.jpg"})


def test_a_box_drawn_on_a_resized_export_is_refused() -> None:
    given = coco_prompts({}, {"width": 640, "height": 640})
    with pytest.raises(ConfigError, match=r"box of 'sheep' in a\.mp4, frame 12, is of an image of 640 x 640 px"):
        prompts.check_inside(given, {"a.mp4": (96, 128)}, name="p")
