"""Previews: what is drawn, where, and whether the file plays."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.crop import preview
from sheep.crop.preview import BOX_RGB, OUTLINE_RGB, PreviewAnimal, PreviewFrame
from sheep.errors import ContractError
from sheep.video import reader


def frame(time_s: float = 0.0, *, height: int = 320, width: int = 480, flags: tuple[str, ...] = ()) -> PreviewFrame:
    mask = np.zeros((height, width), bool)
    mask[100:200, 150:300] = True
    animal = PreviewAnimal(animal="ewe", mask=mask, box=(150, 100, 300, 200), flags=flags)
    return PreviewFrame(image=np.full((height, width, 3), 90, np.uint8), time_s=time_s, animals=[animal])


def shows(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (image == colour).all(axis=2)
    return found


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 320), (480, 320)),
        ((1280, 720), (640, 360)),
        ((720, 1280), (360, 640)),
        ((641, 333), (640, 332)),
        ((192, 256), (240, 320)),
        ((1, 1), (320, 320)),
        ((3000, 1), (640, 2)),
    ],
)
def test_sizes_are_even_and_small(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert preview.size_px(*size) == expected


def test_the_outline_follows_the_mask_and_the_box_has_the_colour_of_the_flag() -> None:
    image = preview.draw(frame())
    assert image.shape == (320, 480, 3)
    blue = shows(image, OUTLINE_RGB[0])
    assert blue[101, 151:299].all()  # the box covers the outermost pixel of the outline; the second one remains
    assert blue[101:199, 151].all()
    assert not blue[102:198, 152:298].any()
    assert not blue[:100].any()
    assert (image[102:198, 152:298] == 90).all()
    assert shows(image, (255, 255, 255))[100:200, 150].all()
    flagged = preview.draw(frame(flags=("edge", "jump")))
    assert shows(flagged, BOX_RGB["jump"])[100:200, 150].all()


def test_a_lost_animal_is_named_at_the_top() -> None:
    gone = PreviewAnimal(animal="ewe", mask=np.zeros((320, 480), bool), box=None, flags=("lost",))
    image = preview.draw(PreviewFrame(image=np.full((320, 480, 3), 90, np.uint8), time_s=3.2, animals=[gone]))
    assert shows(image, BOX_RGB["lost"])[:14, :40].sum() > 100
    assert (image[14:300] == 90).all()


def test_the_file_plays_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    times = [5.0, 5.04, 5.3, 7.0]
    assert preview.write((frame(time_s, width=1001, height=401) for time_s in times), str(path)) == 4
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # playback can start before the download ends
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (640, 256)
    frames = list(reader.decode(str(path)))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.3, 2.0], abs=1e-4)
    wanted = preview.draw(frame(7.0, width=1001, height=401))
    assert np.abs(frames[3].image.astype(int) - wanted).mean() < 6


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (6, 96, 130, 3), dtype=np.uint8)
    mask = np.zeros((96, 130), bool)
    mask[20:40, 30:70] = True
    animal = PreviewAnimal(animal="a", mask=mask, box=(30, 20, 70, 40))

    def frames() -> Iterator[PreviewFrame]:
        for number, image in enumerate(images):
            yield PreviewFrame(image=image, time_s=number / 10, animals=[animal])

    for name in "ab":
        preview.write(frames(), str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 47)])
def test_tiny_frames_have_a_preview(tmp_path: Path, size: tuple[int, int]) -> None:
    animal = PreviewAnimal(animal="a", mask=np.ones(size, bool), box=(0, 0, size[1], size[0]), flags=("edge",))
    one = PreviewFrame(image=np.zeros((*size, 3), np.uint8), time_s=0.0, animals=[animal])
    assert preview.write([one], str(tmp_path / "a.mp4")) == 1
    assert len(list(reader.decode(str(tmp_path / "a.mp4")))) == 1


@pytest.mark.parametrize("wrong", ["none", "time", "size"])
def test_frames_that_break_the_contract_are_refused(tmp_path: Path, wrong: str) -> None:
    given = {"none": [], "time": [frame(1.0), frame(1.0)], "size": [frame(), frame(1.0, width=482)]}[wrong]
    with pytest.raises(ContractError, match="preview"):
        preview.write(given, str(tmp_path / "a.mp4"))
