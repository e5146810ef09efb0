"""Which files of a folder are taken for videos, and what is told about the rest."""

import logging
from pathlib import Path

import pytest

from sheep.errors import ConfigError
from sheep.video import reader
from sheep.video.archive import SUFFIXES, listing
from tests.unit.video.video_files import SHADES, write


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"12345")


TAKEN = ("A.MP4", "b.Mov", "c.m2ts", "d.ts", "e.wmv", "f.3gp", "g.asf", "h.flv", "l.ogv", "m.mod", "n.tod", "o.vob")


def test_endings_of_cameras_are_taken_and_others_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, *TAKEN, "i.mp4.part", "j.h264", "k.seq", "sub/._p.mp4", "._A.MP4", "notes.txt")
    with caplog.at_level(logging.WARNING, logger="sheep"):
        assert reader.find(str(tmp_path)) == dict.fromkeys(sorted(TAKEN), "size:5")
    assert list(listing(str(tmp_path)).left_out) == [
        "._A.MP4", "i.mp4.part", "j.h264", "k.seq", "notes.txt", "sub/._p.mp4",
    ]  # fmt: skip
    assert caplog.messages == [
        f"left out folder={tmp_path} number=6: 2 AppleDouble files of macOS (._A.MP4, sub/._p.mp4); "
        "4 with an extension that no video has (i.mp4.part, j.h264, k.seq, ...)"
    ]


def test_a_folder_of_videos_alone_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.mp4")
    reader.find(str(tmp_path))
    assert not caplog.records
    assert listing(str(tmp_path)).summary == ""


def test_only_apple_double_files_are_no_videos(tmp_path: Path) -> None:
    touch(tmp_path, "._a.mp4")
    with pytest.raises(ConfigError, match="no videos among 1 files"):
        reader.find(str(tmp_path))


def test_linked_files_and_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "nas/a.mp4", "nas/deep/b.avi", "videos/own.mp4", "other/c.mkv", "other/._c.mkv")
    root = tmp_path / "videos"
    (root / "file.mp4").symlink_to(tmp_path / "nas" / "a.mp4")
    (root / "folder").symlink_to(tmp_path / "nas")
    (root / "again").symlink_to(tmp_path / "nas" / "deep")
    (root / "broken.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "nas" / "back").symlink_to(root)
    (tmp_path / "nas" / "deep" / "other").symlink_to(tmp_path / "other")
    found = listing(str(root))
    assert set(found.videos.values()) == {"size:5"}
    assert list(found.videos) == [
        "file.mp4", "folder/a.mp4", "folder/deep/b.avi", "folder/deep/other/c.mkv", "own.mp4",
    ]  # fmt: skip
    assert list(found.left_out) == ["again", "broken.mp4", "folder/back", "folder/deep/other/._c.mkv"]


@pytest.mark.parametrize(
    "name",
    [
        "a::b.mp4",
        "pen 1.mp4",
        "pen#2 50%.mp4",
        "pen[4].mp4",
        "a?b*.mp4",
        "12:30:00.mp4",
        "s3:x.mp4",
        "~x.mp4",
        "{e}.mp4",
    ],
)
def test_odd_names_are_listed_and_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / "plain.mp4", SHADES[:2])
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    assert list(reader.find(str(tmp_path))) == [name]
    assert len(list(reader.decode(f"{tmp_path}/{name}"))) == 2


def test_a_key_with_a_version_is_left_out_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "what?versionId=3.mp4", "a.mp4")
    assert "versionId" in listing(str(tmp_path)).left_out["what?versionId=3.mp4"]


def test_the_readme_names_every_ending() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert [suffix for suffix in SUFFIXES if f"`{suffix}`" not in readme] == []
