"""Real video files for tests, encoded here."""

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

HEIGHT_PX, WIDTH_PX = 48, 64

Images = list[NDArray[np.uint8]]


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT_PX, WIDTH_PX, 3), level, np.uint8)


SHADES = [grey(20 + 8 * number) for number in range(20)]


def write(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    pts_ms: Sequence[int] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> str:
    """Encode images shown at `pts_ms` (by default every 100 ms); in MP4 and MOV the index comes first."""
    before = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=dict(container_options or before)) as container:
        stream: Any = container.add_stream(codec, rate=10, options=dict(options or {}))
        stream.pix_fmt = pix_fmt
        stream.height, stream.width = images[0].shape[:2]
        if codec != "mpeg2video":  # whose time base is the frame rate
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = pts_ms[number] if pts_ms else 100 * number
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def noise(seed: int, num_frames: int) -> Images:
    """Return images that do not compress, so that damage hits pictures and not padding."""
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 255, (num_frames, HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8))


def moving(num_frames: int) -> Images:
    """Return a window sliding over a pattern of blocks: motion for the encoder to predict, and no two equal images."""
    blocks = np.random.default_rng(0).integers(0, 255, (7 + num_frames // 8, 9 + num_frames // 4, 3), dtype=np.uint8)
    wide = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    return [wide[t : t + HEIGHT_PX, 2 * t : 2 * t + WIDTH_PX] for t in range(num_frames)]


def turned(uri: str, path: Path, a: int, b: int, c: int, d: int) -> str:
    """Copy an MP4 with another display matrix: (x, y) is shown at (a x + c y, b x + d y), moved into the frame."""
    data = bytearray(Path(uri).read_bytes())
    at = data.index(b"tkhd") + 44  # after version, flags, six numbers and four short ones (ISO/IEC 14496-12, 8.3.2)
    identity = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    assert struct.unpack(">9i", data[at : at + 36]) == identity
    x, y = (-min(0, p * WIDTH_PX, q * HEIGHT_PX) for p, q in ((a, c), (b, d)))
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, x << 16, y << 16, 1 << 30)
    path.write_bytes(data)
    return str(path)


def restamped(path: Path, images: Sequence[NDArray[np.uint8]], pts_ms: Sequence[int]) -> str:
    """Write frames with any time stamps, equal ones too, which an encoder would refuse."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.pix_fmt = "yuvj420p"
        stream.height, stream.width = images[0].shape[:2]
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 100 * number, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = pts_ms[number]
                container.mux(packet)
    return str(path)


def with_sound(path: Path, images: Sequence[NDArray[np.uint8]], lead_s: float) -> str:
    """Write frames every 100 ms with sound that starts `lead_s` before the first of them; negative: after it."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10, options={"bf": "2"})
        video.pix_fmt = "yuv420p"
        video.height, video.width = images[0].shape[:2]
        video.codec_context.time_base = Fraction(1, 1000)
        audio: Any = container.add_stream("mp2", rate=48000, layout="mono")
        packets = []
        for number in range(int((max(lead_s, 0) + len(images) / 10) * 48000 / 1152)):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            sound.sample_rate, sound.pts = 48000, 1152 * number + round(48000 * max(-lead_s, 0))
            packets += audio.encode(sound)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 100 * number + round(1000 * max(lead_s, 0)), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode() + audio.encode()
        for packet in sorted((one for one in packets if one.dts is not None), key=lambda one: one.dts * one.time_base):
            container.mux(packet)
    return str(path)


def slots(path: Path, images: Sequence[NDArray[np.uint8]], *, codec: str, options: dict[str, str]) -> str:
    """Write an AVI of one time slot a frame."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options=options)
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = images[0].shape[:2]
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)
