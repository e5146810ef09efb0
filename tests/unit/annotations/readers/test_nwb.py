"""NWB: bouts as TimeIntervals, read by an optional package."""

import datetime
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sheep.errors import ConfigError
from tests.unit.annotations.files import read, read_with_tool


def test_without_pynwb_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(ConfigError, match=r"x\.nwb: NWB is read by pynwb, which is not installed.*pip install pynwb"):
        read("x.nwb", b"\x89HDF\r\n\x1a\n")


@pytest.fixture
def pynwb() -> Any:
    pytest.importorskip("pynwb")
    return import_module("pynwb")


def written(pynwb: Any, path: Path, *, subject: bool = True, external: bool = True, name: str = "bouts") -> bytes:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    content = pynwb.NWBFile(session_description="s", identifier="i", session_start_time=start)
    if subject:
        content.subject = pynwb.file.Subject(subject_id="m1", species="Ovis aries", sex="F", age="P1Y")
    if external:
        images = pynwb.image.ImageSeries(
            name="video",
            external_file=["v/cam1.mp4"],
            format="external",
            timestamps=[0.0],
            starting_frame=[0],
            unit="n.a.",
        )
        content.add_acquisition(images)
    table = pynwb.epoch.TimeIntervals(name=name, description="d")
    table.add_column(name="label", description="behaviour")
    table.add_interval(start_time=1.0, stop_time=2.0, label="lying")
    table.add_interval(start_time=3.5, stop_time=4.0, label="lying")
    table.add_interval(start_time=2.0, stop_time=3.0, label="eating")
    content.create_processing_module(name="behavior", description="d").add(table)
    with pynwb.NWBHDF5IO(str(path), "w") as opened:
        opened.write(content)
    return path.read_bytes()


def test_bouts_are_read(pynwb: Any, tmp_path: Path) -> None:
    tool, [coding] = read_with_tool("x.nwb", written(pynwb, tmp_path / "x.nwb"))
    assert (tool, coding.media, coding.stem, coding.animal, coding.unit) == ("NWB", "v/cam1.mp4", False, "m1", "s")
    assert coding.bouts == {"lying": ((1.0, 2.0), (3.5, 4.0)), "eating": ((2.0, 3.0),)}


def test_without_subject_and_video_the_file_is_named_after_it(pynwb: Any, tmp_path: Path) -> None:
    [coding] = read("cam1.nwb", written(pynwb, tmp_path / "x.nwb", subject=False, external=False))
    assert (coding.media, coding.stem, coding.animal) == ("cam1", True, "")


def test_a_file_without_bouts_is_refused(pynwb: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.nwb: no intervals with a column label"):
        read("x.nwb", written(pynwb, tmp_path / "x.nwb", name="trials"))
    with pytest.raises(ConfigError, match=r"x\.nwb: pynwb cannot read it"):
        read("x.nwb", b"\x89HDF\r\n\x1a\n")
