"""BORIS's projects: every observation of media files, as JSON."""

import gzip
import json
from typing import Any

import pytest

from sheep.annotations.readers import boris_project
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.folder import read_file
from sheep.errors import ConfigError
from tests.unit.annotations.files import read

EVENTS = [[1.0, "m1", "lying", "", ""], [2.0, "m1", "lying", "", ""]]


def observation(events: list[list[object]] | None = None, **other: object) -> dict[str, object]:
    return {
        "file": {"1": ["cam1.mp4"], "2": []},
        "type": "MEDIA",
        "time offset": 0.0,
        "events": EVENTS if events is None else events,
        "media_info": {"length": {"cam1.mp4": 60.0, "cam2.mp4": 30.0}, "fps": {"cam1.mp4": 25.0}},
        "observation time interval": [0, 0],
        **other,
    }


def project(**observations: object) -> str:
    kinds = {"lying": "State event", "eating": "State event with coding map", "lick": "Point event"}
    conf = {str(i): {"type": kind, "code": code} for i, (code, kind) in enumerate(kinds.items())}
    return json.dumps({"project_name": "p", "behaviors_conf": conf, "observations": observations})


def test_state_events_alternate_and_points_are_kept_apart() -> None:
    events = [[2.0, "m1", "lying", "", ""], *EVENTS[:1], [1.5, "m1", "lick", "", ""], [3.5, "m2", "eating", "", "", 9]]
    m1, m2 = read("p.boris", project(o1=observation([*events, [4.0, "m2", "eating", "", "", 9]])))
    assert (m1.media, m1.media_s, m1.animal, m1.observer, m1.scored) == ("cam1.mp4", 60.0, "m1", "o1", None)
    assert (m1.bouts, m1.points) == ({"lying": ((1.0, 2.0),)}, {"lick": (1.5,)})
    assert m2.bouts == {"eating": ((3.5, 4.0),)}
    assert m1.behaviours == ("lying", "eating")


def test_a_compressed_project_is_read() -> None:
    assert read("p.boris.gz", gzip.compress(project(o1=observation()).encode()))[0].bouts == {"lying": ((1.0, 2.0),)}


def test_blanks_around_names_are_left_out() -> None:
    text = project(o1=observation([[1.0, "m1 ", "lying ", "", ""], [2.0, "m1", "lying", "", ""]]))
    [coding] = read("p.boris", text.replace('"code": "lying"', '"code": " lying"'))
    assert (coding.animal, coding.bouts) == ("m1", {"lying": ((1.0, 2.0),)})


def test_an_observation_without_events_shows_nothing_of_its_only_animal() -> None:
    [coding] = read("p.boris", project(o1=observation([])))
    assert (coding.animal, coding.bouts, coding.behaviours) == ("", {}, ("lying", "eating"))


def test_an_observation_is_scored_within_its_time_interval() -> None:
    limits: dict[str, Any] = {"observation time interval": [0.5, 10]}
    assert read("p.boris", project(o1=observation(**limits)))[0].scored == ((0.5, 10.0),)
    assert read("p.boris", project(o1=observation([], **limits)))[0].scored == ((0.5, 10.0),)
    limits = {"observation time interval": [70, 0], "file": {"1": ["cam1.mp4", "cam2.mp4"]}}
    [coding] = read("p.boris", project(o1=observation([], **limits)))
    assert (coding.media, coding.scored) == ("cam2.mp4", ((10.0, 30.0),))
    limits = {"observation time interval": [70, 80]}
    with pytest.raises(ConfigError, match=r"p\.boris, observation 'o1': limited to 70 to 80 s"):
        read("p.boris", project(o1=observation(**limits)))


def test_a_bout_over_two_media_files_is_split_and_times_count_from_the_offset() -> None:
    events: list[list[object]] = [[150.0, "m1", "lying", "", ""], [165.0, "m1", "lying", "", ""]]
    both: dict[str, Any] = {"file": {"1": ["cam1.mp4", "cam2.mp4"]}, "time offset": 100.0}
    first, second = read("p.boris", project(o1=observation(events, **both)))
    assert (first.bouts, second.bouts) == ({"lying": ((50.0, 60.0),)}, {"lying": ((0.0, 5.0),)})


def test_other_players_and_live_observations_are_noted() -> None:
    both = observation(file={"1": ["cam1.mp4"], "2": ["cam2.mp4"]})
    file = SourceFile("p.boris", project(o1=both, o2=observation(type="LIVE")).encode())
    _, [coding] = read_file(file)
    assert coding.media == "cam1.mp4"
    assert file.notes == [
        "observation 'o1': labels go to player 1's video, not to cam2.mp4",
        "observation 'o2' left out: of LIVE, not of media files",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (project(o1=observation([*EVENTS, [3.0, "m1", "lying", "", ""]])), "event 3: START.*unpaired"),
        (project(o1=observation([*EVENTS[:1], *EVENTS[:1]])), "event 2: STOP.*lasts 0 s"),
        (project(o1=observation([[1.0, "m1", "sleeping", "", ""]])), "event 1: behaviour 'sleeping'"),
        (project(o1=observation([[65.0, "m1", "lick", "", ""]])), "expected 0 to 60 s"),
        (project(o1=observation([["x", "m1", "lick", "", ""]])), "expected an observation of BORIS 7"),
        (project(o1=observation([[1.0, "m1"]])), "expected an observation of BORIS 7"),
        (project(o1=observation(file={"2": ["cam1.mp4"]})), "no media file of player 1"),
        (project(o1=observation(media_info={"length": {}, "offset": {"1": 2.0}})), "player 1 has an offset"),
        (project(o1=[]), "no JSON object"),
        (project(o1=observation(Events=[])), "'Events', expected it in lower case"),
        (project(o1=observation()).replace('"code"', '"name"'), "KeyError 'code' in behaviors_conf"),
        (project(o1=observation()).replace('"time offset": 0.0, ', ""), "KeyError 'time offset'"),
        (project(o1=observation()).replace('"type": "Point event", ', ""), "KeyError 'type' in behaviors_conf"),
        ('{"observations": {}}', "expected a BORIS project"),
        ("[]", "expected a BORIS project"),
        ("{", "expected a BORIS project"),
        ("[" * 10_000, "nested too deeply"),
        (b"\xff\xfe\x00", "expected a BORIS project"),
    ],
)
def test_a_wrong_project_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("p.boris", content)
    assert "p.boris" in str(caught.value)


def test_what_cannot_be_unpacked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boris_project, "_MAX_BYTES", 2**16)
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        read("p.boris.gz", b"no gzip")
    with pytest.raises(ConfigError, match="expected a BORIS project"):
        read("p.boris.gz", gzip.compress(project(o1=observation()).encode())[:60])
    with pytest.raises(ConfigError, match="unpacks to more than"):
        read("p.boris.gz", gzip.compress(b" " * (2**16 + 1)))
