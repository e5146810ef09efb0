"""Which video an annotation file means."""

import unicodedata

import pytest

from sheep.annotations.matching import Matcher, some
from sheep.errors import ConfigError


def find(media: str, *videos: str, stem: bool = False, by_name: bool = False) -> str:
    return Matcher(videos, by_name=by_name).find(media, "x.csv", stem=stem)


@pytest.mark.parametrize(
    ("media", "video"),
    [
        ("day1.mp4", "day1.mp4"),
        ("C:\\films\\day1.avi", "day1.mp4"),
        ("/films/day2.b.mov", "day2.b.mp4"),
        ("day1.mp4", "pen/day1.mp4"),
        ("D:/study/videos/pen/day1.avi", "pen/day1.mp4"),
        ("\\\\server\\share\\pen\\day1.avi", "pen/day1.mp4"),
        ("./day1.mp4", "pen/day1.mp4"),
        ("../pen/day1.mp4", "farm/pen/day1.mp4"),
        ("file:///v/farm/pen/day1.mp4", "farm/pen/day1.mp4"),
        ("/C:/pen/day1.mp4", "farm/pen/day1.mp4"),
        ("C:\\pen\\day1.mp4", "farm/pen/day1.mp4"),
    ],
)
def test_a_path_of_any_system_is_matched(media: str, video: str) -> None:
    assert find(media, video, "x.mp4", "pen/y.mp4") == video


def test_unicode_spellings_of_one_letter_are_equal() -> None:
    nfd, nfc = (unicodedata.normalize(form, "Z\xfcri/Z\xfcri.mp4") for form in ("NFD", "NFC"))
    assert nfd != nfc
    assert find(nfc, nfd) == nfd
    assert find(nfd, nfc) == nfc


def test_the_folder_decides_between_two_cameras() -> None:
    videos = ("cam1/C0001.MP4", "cam2/C0001.MP4")
    assert find("D:/study/videos/cam2/C0001.MP4", *videos) == "cam2/C0001.MP4"
    assert find("day1/cam1/C0001.MP4", "day1/cam1/C0001.MP4", "day2/cam1/C0001.MP4") == "day1/cam1/C0001.MP4"
    for media in ("C0001.MP4", "D:/elsewhere/C0001.MP4"):
        with pytest.raises(ConfigError, match=r"matches several videos, 'cam1/C0001.MP4', 'cam2/C0001.MP4'"):
            find(media, *videos)


def test_the_ending_decides_between_two_videos_of_one_stem() -> None:
    videos = ("day1.avi", "day1.mp4")
    assert find("x/day1.avi", *videos) == "day1.avi"
    with pytest.raises(ConfigError, match="matches several videos"):
        find("day1.mov", *videos)


@pytest.mark.parametrize(
    ("media", "video", "got", "expected"),
    [
        ("farmB/day2/C0001.MP4", "farmA/day1/C0001.MP4", "day2", "day1"),
        ("farmB/day1/C0001.MP4", "farmA/day1/C0001.MP4", "farmB", "farmA"),
        ("C:\\films\\C0001.MP4", "pen/C0001.MP4", "films", "pen"),
    ],
)
def test_another_folders_video_is_refused(media: str, video: str, got: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"another folder \('{got}', expected '{expected}'\).*match-by-name"):
        find(media, video)
    assert find(media, video, by_name=True) == video


def test_the_folder_counts_before_the_ending() -> None:
    assert find("cam2/C1.MP4", "cam1/C1.MP4", "cam2/C1.mp4") == "cam2/C1.mp4"


def test_no_video_of_the_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv: no video for 'Day1.avi'.*'day1.mp4', 'day2.mp4'.*Nearest: 'day1"):
        find("Day1.avi", "day2.mp4", "day1.mp4")
    with pytest.raises(ConfigError, match=r"no video for 'night\.avi'") as caught:
        find("night.avi", "day1.mp4")
    assert "Nearest" not in str(caught.value)


@pytest.mark.parametrize(
    "stem",
    ["cam1", "cam1_labels", "cam1_simba_targets", "cam1_targets", "cam1_CBAS", "cam1_jabs", "cam1_elan", "obs/cam1"],
)
def test_an_annotation_files_own_name_is_matched(stem: str) -> None:
    assert find(stem, "pen/cam1.mp4", "pen/cam2.mp4", stem=True) == "pen/cam1.mp4"


def test_a_suffix_is_left_out_only_where_no_video_has_it() -> None:
    assert find("cam1_labels", "cam1.mp4", "cam1_labels.mp4", stem=True) == "cam1_labels.mp4"
    assert find("2026.05.01_cam1", "2026.05.01_cam1.mp4", "2026.mp4", stem=True) == "2026.05.01_cam1.mp4"
    with pytest.raises(ConfigError, match="no video for 'cam1_predictions'"):
        find("cam1_predictions", "cam1.mp4", stem=True)
    with pytest.raises(ConfigError, match=r"no video for 'cam1_labels\.csv'"):
        find("cam1_labels.csv", "cam1.mp4")


def test_the_annotation_files_folder_decides_between_two_cameras() -> None:
    assert find("cam2/C0001_labels", "cam1/C0001.mp4", "cam2/C0001.mp4", stem=True) == "cam2/C0001.mp4"
    with pytest.raises(ConfigError, match="matches several videos"):
        find("C0001_labels", "cam1/C0001.mp4", "cam2/C0001.mp4", stem=True)


def test_a_long_list_is_cut() -> None:
    assert some([]) == "none"
    assert some([str(i) for i in range(22)]).endswith("'19' and 2 more")
