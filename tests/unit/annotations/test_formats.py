"""One small file in every form that a lab may bring: it gives the right bouts, or is refused by the tool's name.

Each states the same where it can: m1 in pen/cam1.mp4 lies from 1 to 2 s, which is from frame 25 up to 50.
"""

import gzip
import json
from collections.abc import Mapping

import pytest

from sheep.annotations.coding import Coding
from sheep.annotations.ethogram import infer
from sheep.annotations.intervals import Interval
from sheep.annotations.labelled import Annotation, resolve
from sheep.annotations.matching import Matcher
from sheep.annotations.readers import read_files
from sheep.errors import ConfigError
from tests.unit.annotations.files import TABULAR, bout, event, tabular, xlsx

GOOD = tabular(*bout("1.0", "2.0"), separator=",")
SECONDS, FRAMES = ((1.0, 2.0),), ((25.0, 50.0),)
BOTH = {"Source": "player #1:cam1.mp4;cam2.mp4", "Media_duration_s": "60.000;60.000", "Observation_duration": "120"}
TWO = {"Source": "player #1:cam1.mp4|player #2:cam2.mp4", "Media_duration_s": "60.000|60.000"}


def hot(i: int) -> int:
    return int(25 <= i < 50)


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def sheet(*rows: Mapping[str, str]) -> bytes:
    return xlsx([TABULAR, *([row.get(column, "") for column in TABULAR] for row in rows)])


def project(**changes: object) -> str:
    observation = {
        "file": {"1": ["cam1.mp4"]},
        "type": "MEDIA",
        "time offset": 0.0,
        "events": [[1.0, "m1", "lying", "", ""], [2.0, "m1", "lying", "", ""]],
        "media_info": {"length": {"cam1.mp4": 60.0}, "fps": {"cam1.mp4": 25.0}},
        **changes,
    }
    behaviours = {"0": {"type": "State event", "code": "lying"}, "1": {"type": "Point event", "code": "lick"}}
    return json.dumps({"behaviors_conf": behaviours, "observations": {"o1": observation}})


AGGREGATED = lines(
    "Observation id,Source,Time offset (s),Coding duration,Media duration (s),Subject,Behavior,Behavior type,Start (s),"
    "Stop (s),Duration (s),Media file name",
    "o1,player #1:cam1.mp4,0.0,60,60.000,m1,lying,STATE,1.0,2.0,1.0,cam1.mp4",
)
EAF = (
    '<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT FORMAT="3.0"><HEADER TIME_UNITS="milliseconds">'
    '<MEDIA_DESCRIPTOR MEDIA_URL="file:///v/pen/cam1.mp4" MIME_TYPE="video/mp4"/></HEADER><TIME_ORDER>'
    '<TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="b" TIME_VALUE="2000"/></TIME_ORDER>'
    '<TIER TIER_ID="m1"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="x" TIME_SLOT_REF1="a" TIME_SLOT_REF2="b">'
    "<ANNOTATION_VALUE>lying</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
)
BLOCKS = [{"start": 25, "end": 49, "present": True}, {"start": 50, "end": 59, "present": False}]
LABEL_STUDIO = {"type": "timelinelabels", "value": {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["lying"]}}
OBSERVER = lines(
    "Time_Relative_hms,Time_Relative_sf,Duration_sf,Observation,Event_Log,Subject,Behavior,Modifier_1,Event_Type",
    "00:00:01,1.00,1.00,o1,log,m1,lying,,State start",
    "00:00:02,2.00,0.00,o1,log,m1,lying,,State stop",
)

READ: dict[str, tuple[str | bytes, tuple[Interval, ...]]] = {
    "boris.csv": (GOOD, SECONDS),
    "boris.xlsx": (sheet(*bout(1, 2)), SECONDS),
    "boris_path.csv": (tabular(*bout(1, 2, media="D:\\x\\pen\\cam1.avi")), SECONDS),
    "boris_point.csv": (tabular(*bout(1, 2), event(3, "POINT", "lick")), SECONDS),
    "boris_no_subject.csv": (tabular(*bout(1, 2, subject="No focal subject")), SECONDS),
    "boris_offset.csv": (tabular(*bout(11, 12, Time_offset_s="10.0")), SECONDS),
    "boris_two_media.csv": (
        tabular(event(50, "START", **BOTH), event(62, "STOP", media="cam2.mp4", **BOTH)),
        ((50, 60),),
    ),
    "boris_two_players.csv": (tabular(*bout(1, 2, **TWO)), SECONDS),
    "boris_hhmmss.csv": (tabular(*bout("00:00:01.000", "00:00:02.000")), SECONDS),
    "boris_decimal_comma.csv": (tabular(*bout("1,0", "2,0"), separator=";"), SECONDS),
    "boris_sep_line.csv": ("sep=;\n" + tabular(*bout(1, 2), separator=";"), SECONDS),
    "boris_latin1.csv": (GOOD.replace("o1", "beh\xe4lt").encode("cp1252"), SECONDS),
    "boris_utf16.tsv": (GOOD.replace(",", "\t").encode("utf-16"), SECONDS),
    "boris_late_stop.csv": (tabular(*bout(1, 60.02)), ((1.0, 60.0),)),
    "boris_aggregated.csv": (AGGREGATED, SECONDS),
    "boris_project.boris": (project(), SECONDS),
    "boris_project.boris.gz": (gzip.compress(project().encode()), SECONDS),
    "cam1_binary.csv": (lines("time,m1 lying,m1 eating", *(f"{i / 25:.3f},{hot(i)},0" for i in range(60))), SECONDS),
    "cam1_labels.csv": (
        lines(",background,lying,eating", *(f"{i},{1 - hot(i)},{hot(i)},0" for i in range(60))),
        FRAMES,
    ),
    "cam1_simba_targets.csv": (
        lines(",Nose_x,Nose_y,Nose_p,Movement,lying", *(f"{i},1.5,2.5,0.9,0.1,{hot(i)}" for i in range(60))),
        FRAMES,
    ),
    "cam1_cbas.csv": (lines("lying,eating", *(f"{hot(i)},0" for i in range(60))), FRAMES),
    "cam1.xlsx": (xlsx([["frame", "lying"], *([i, hot(i)] for i in range(60))]), FRAMES),
    "jabs.json": (json.dumps({"file": "cam1.mp4", "num_frames": 60, "labels": {"0": {"lying": BLOCKS}}}), FRAMES),
    "intervals.csv": ("video,animal,behavior,start_s,stop_s\ncam1.mp4,m1,lying,1.0,2.0\n", SECONDS),
    "intervals.xlsx": (
        xlsx([["video", "label", "start_s", "stop_s"], ["cam1", "lying", 1, 2]]),
        SECONDS,
    ),
    "intervals_frames.csv": ("video,animal,label,start_frame,end_frame\npen/cam1.mp4,m1,lying,25,50\n", FRAMES),
    "elan.eaf": (EAF, SECONDS),
    "cam1_elan.txt": ("m1\t\t1.0\t2.0\t1.0\tlying\n", SECONDS),
    "cam1_elan.csv": (
        "Tier,Begin Time - ss.msec,End Time - ss.msec,Duration - ss.msec,lying\nm1,1.000,2.000,1.000,lying\n",
        SECONDS,
    ),
    "cam1_solomon.csv": ("Time,Subject,Behavior,Status\n1.0,m1,lying,start\n2.0,m1,lying,stop\n", SECONDS),
    "cam1_solomon.txt": ("Time\tSubject\tBehavior\tStatus\n1,0\tm1\tlying\tStart\n2,0\tm1\tlying\tStop\n", SECONDS),
    "cam1_observer.csv": (OBSERVER, SECONDS),
    "pen/cam1.csv": (OBSERVER.replace(",", ";"), SECONDS),
    "label_studio.json": (
        json.dumps([{"data": {"video": "cam1.mp4"}, "annotations": [{"result": [LABEL_STUDIO]}]}]),
        FRAMES,
    ),
}
"""File -> its content and when m1 lies in pen/cam1.mp4, in the file's unit."""

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "boris_unended.csv": (tabular(event(1, "START")), r"row 2.*unpaired.*in BORIS"),
    "boris_no_event.csv": (tabular(), "no event below the header.*scored.csv"),
    "boris_offset_unused.csv": (tabular(*bout(1, 2, Time_offset_s="10.0")), "row 2.*time offset"),
    "boris_other_cut.csv": (tabular(*bout(1, 65)), "row 3.*expected 0 to 60 s"),
    "broken.xlsx": (b"PK\x03\x04fake", "no spreadsheet"),
    "cam3_labels.csv": (lines(",lying", "0,0", "1,1"), "no video for 'cam3_labels'.*named after one"),
    "cam1_via.csv": ('# CSV_HEADER = metadata_id,file_list\n"1_a","[""cam1.mp4""]"\n', "VGG Image Annotator"),
    "via.json": ('{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
    "calms21.json": ('{"annotator-id_0": {"task1/train/cam1": {"annotations": [3]}}}', "CalMS21"),
    "cam1.annot": ("Bento annotation file\nMovie file(s): cam1.mp4\n", "Bento"),
    "cam1.TextGrid": ('File type = "ooTextFile"\nObject class = "TextGrid"\n', "Praat"),
    "cam1.sof": ("x", "Solomon Coder"),
    "cam1.mat": ("MATLAB 5.0", "MATLAB"),
    "cam1.odx": ("x", "Noldus The Observer"),
    "cam1.dat": ("x", "JWatcher"),
    "cam1.zip": ("PK", "archive program"),
    "cam1_unknown.csv": ("Beast,From,To\nm1,1,2\n", "its format is not known, expected one of: BORIS"),
}
"""File -> its content and what the message names."""


def labelled(files: Mapping[str, str | bytes]) -> tuple[Annotation, ...]:
    """Read a folder and resolve it: m1 is alone in pen/cam1.mp4, and m2 in pen/cam2.mp4."""
    data = {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    codings = read_files(data, data.__getitem__).codings
    matcher = Matcher(["pen/cam1.mp4", "pen/cam2.mp4"])

    def video_of(coding: Coding) -> str:
        return matcher.find(coding.media, coding.where, stem=coding.stem)

    ethogram = infer((name for one in codings for name in one.bouts), (name for one in codings for name in one.points))
    animals = {"pen/cam1.mp4": ["m1"], "pen/cam2.mp4": ["m2"]}
    if any(coding.media == "cam2.mp4" and coding.animal == "m1" for coding in codings):
        animals["pen/cam2.mp4"].append("m1")
    return resolve(codings, video_of, animals, ethogram).used


@pytest.mark.parametrize("name", READ)
def test_a_file_gives_the_right_bouts(name: str) -> None:
    content, expected = READ[name]
    one = labelled({name: content})[0]
    assert (one.video, one.animal) == ("pen/cam1.mp4", "m1")
    assert one.bouts["lying"] == expected
    assert one.unit == ("frame" if expected == FRAMES else "s")
    assert not any(bouts for label, bouts in one.bouts.items() if label != "lying")


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_with_its_name_and_what_to_do(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message) as caught:
        labelled({name: content})
    assert str(caught.value).startswith(name)
    assert str(caught.value).endswith(".")


def test_every_form_counts() -> None:
    assert len(READ) + len(REFUSED) >= 50


def test_formats_may_be_mixed_in_a_folder() -> None:
    other = EAF.replace("cam1", "cam2").replace("m1", "m2")
    one, two = labelled({"a.csv": GOOD, "b.eaf": other})
    assert (one.animal, one.bouts, two.animal, two.bouts) == ("m1", {"lying": SECONDS}, "m2", {"lying": SECONDS})
    with pytest.raises(ConfigError, match=r"b\.TextGrid: a file of Praat"):
        labelled({"a.csv": GOOD, "b.TextGrid": 'File type = "ooTextFile"'})


def test_only_the_columns_of_a_one_hot_table_are_scored() -> None:
    files = {
        "cam1_cbas.csv": READ["cam1_cbas.csv"][0],
        "plain.csv": "video,label,start_s,stop_s\ncam2.mp4,rearing,1,2\n",
    }
    one, _ = labelled(files)
    assert "rearing" not in one.scored
    assert one.scored["lying"] == ((0.0, 60.0),)
