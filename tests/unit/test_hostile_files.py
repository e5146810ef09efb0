"""Untrusted files: nothing in them runs, opens another file or exhausts the machine, and a bad one never stops an
archive."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from sheep import prompts
from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.annotations.readers import read_files
from sheep.errors import ConfigError, MediaError
from sheep.models.sam2 import loading, predictor
from sheep.video import display, reader

POCKET = Path(predictor.__file__).parents[2] / "weights" / "pocket_sam2"


def folder_with(tmp_path: Path, change: Callable[[str], str]) -> Path:
    """Write the folder of the pocket SAM-2 with another YAML file."""
    folder = tmp_path / "sam2"
    folder.mkdir()
    shutil.copy(POCKET / "model.safetensors", folder)
    (folder / "m.yaml").write_text(change((POCKET / "pocket_sam2.yaml").read_text()))
    return folder


@pytest.mark.parametrize(
    "line",
    [
        '  extra: "${oc.create:{_target_: os.mkdir, path: MADE}}"',
        '  extra: "${oc.create:{_target_: ${oc.decode:os.mkdir}, path: MADE}}"',
        '  "${oc.env:HOME}": 1',
        "  extra: {deep: [1, {deeper: 'a${model.image_size}'}]}",
    ],
)
def test_an_interpolation_in_a_yaml_is_refused_before_anything_is_built(tmp_path: Path, line: str) -> None:
    made = tmp_path / "made"
    folder = folder_with(tmp_path, lambda text: f"{text.rstrip()}\n{line.replace('MADE', str(made))}\n")
    with pytest.raises(ConfigError, match=r"m\.yaml: interpolations .* are not run from a YAML, expected plain values"):
        loading.load(str(folder))
    assert not made.exists()


def test_a_yaml_may_not_name_other_classes(tmp_path: Path) -> None:
    made = tmp_path / "made"
    folder = folder_with(tmp_path, lambda text: f"{text.rstrip()}\n  extra: {{_target_: os.mkdir, path: {made}}}\n")
    with pytest.raises(ConfigError, match=r"`_target_`s \['os\.mkdir'\] are not run from a YAML"):
        loading.load(str(folder))
    assert not made.exists()


def test_a_yaml_bomb_is_refused(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    folder = folder_with(tmp_path, lambda text: "\n".join(["a0: &a0 [x]", *levels, text]))
    with pytest.raises(ConfigError, match=r"m\.yaml: holds an alias"):
        loading.load(str(folder))


def test_the_shipped_yaml_is_accepted(tmp_path: Path) -> None:
    assert loading.load(str(folder_with(tmp_path, str))) is not None


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A video outside the archive, which no file of the archive may open."""
    path = tmp_path / "secret.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert len(list(reader.decode(str(path)))) == 5
    return path


PLAYLISTS = {
    "concat, relative": "ffconcat version 1.0\nfile 'secret.mkv'\n",
    "concat, absolute": "ffconcat version 1.0\nfile '{path}'\n",
    "concat, protocol": "ffconcat version 1.0\nfile 'file:{path}'\n",
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\n{path}\n#EXT-X-ENDLIST\n",
    "hls, http": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" '
    'mimeType="video/mp4"><BaseURL>file://{path}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 "
    "H264/90000\n",
}


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_named_mp4_opens_nothing_and_is_only_this_videos_error(
    secret: Path, kind: str, decoder: str
) -> None:
    video = secret.parent / "x.mp4"
    video.write_text(PLAYLISTS[kind].replace("{path}", str(secret)))
    with pytest.raises(MediaError, match=r"x\.mp4: cannot be decoded .*expected a readable video in a container"):
        list(reader.decode(str(video), decoder=decoder))  # type: ignore[arg-type]
    with pytest.raises(MediaError):
        reader.size_px(str(video))
    assert np.isnan(reader.length_s(str(video)))


def test_a_header_that_asks_for_gigantic_frames_is_refused(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "MAX_FRAME_PX", 64 * 48 - 1)
    with pytest.raises(MediaError, match=r"frames of 64 x 48 px, expected at most 3071 pixels"):
        list(reader.decode(str(secret)))


def test_json_nested_without_end_is_named() -> None:
    deep = '{"images": ' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(ConfigError, match=r"p\.json: nested too deeply"):
        prompts.read(deep.encode(), name="p.json")


def test_gigantic_fields_are_named() -> None:
    field = "x" * 200_000
    with pytest.raises(ConfigError, match=r"p\.csv, row 2: field larger than field limit"):
        prompts.read(f"video,animal,frame,kind,x,y,x0,y0,x1,y1\n{field},a,0,point,1,1,,,,\n".encode(), name="p.csv")
    with pytest.raises(ConfigError, match=r"c\.csv, row 2: field larger than field limit"):
        read_cohort(f"video,animal,group\n{field},a,b\n", name="c.csv")
    with pytest.raises(ConfigError, match=r"b\.tsv, row 2: field larger than field limit"):
        read_files(["b.tsv"], lambda _: f"video\tlabel\tstart_s\tstop_s\n{field}\tx\t1\t2\n".encode())


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    """The checkpoint is a pickle that would create a folder when loaded."""
    import pickle

    made = tmp_path / "made"

    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            import os

            return os.mkdir, (str(made),)

    path = tmp_path / "sam2.1_hiera_tiny.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Bomb()}))
        archive.writestr("archive/version", "3\n")
    with pytest.raises(ConfigError):
        loading.load(str(path))
    assert not made.exists()


def test_a_prompt_or_cohort_row_cannot_name_a_file_outside_the_archive() -> None:
    outside = "../../etc/passwd.mp4"
    header = "video,animal,frame,kind,x,y,x0,y0,x1,y1\n"
    given = prompts.parse(f"{header}{outside},a,0,point,7,7,,,,\n", name="p.csv")
    with pytest.raises(ConfigError, match=r"p\.csv: prompts for 1 videos that are not there, first '\.\./\.\./etc"):
        prompts.by_video(given, ["x.mp4"], name="p.csv")
    with pytest.raises(ConfigError, match="rows for videos that are not there"):
        check_cohort(read_cohort(f"video,animal,group\n{outside},a,g\n", name="c.csv"), ["x.mp4"])
