"""Cutting and scaling a frame before it becomes RGB, against torch on the pixels of the formula of BT.601."""

import av
import numpy as np
import pytest
import torch
from av.error import FFmpegError
from torch.nn.functional import interpolate

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.decode.rgb import Region, RgbConverter
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import ClipError
from tests.helpers.media import make_video

Planes = list[np.ndarray]
EVEN = [(20, 34, 112, 112), (20, 34, 64, 64), (4, 10, 144, 180), (6, 8, 32, 36)]
"""Boxes that become 112 x 112 pixels: as they are, enlarged, reduced, much enlarged."""
ODD = [(21, 35, 111, 113), (21, 34, 65, 64), (5, 11, 143, 181), (7, 9, 31, 37)]
"""Boxes that begin or end between two samples of chroma."""


def pictured(seed: int, height: int, width: int) -> Planes:
    """Y, U and V of a picture that is smooth as photos are, uint8; U and V have half the sides."""
    rng = torch.Generator().manual_seed(seed)

    def plane(rows: int, columns: int) -> np.ndarray:
        octaves = [torch.rand((1, 1, n, n + 1), generator=rng) - 0.5 for n in (4, 8, 16)]
        total = sum((interpolate(o, (rows, columns), mode="bicubic") / o.shape[2] for o in octaves), torch.zeros(()))
        return (total / total.abs().max())[0, 0].numpy()

    half = ((height + 1) // 2, (width + 1) // 2)
    return [np.rint(128 + reach * plane(*size)).astype(np.uint8) for reach, size in
            ((90, (height, width)), (50, half), (50, half))]  # fmt: skip


def frame_of(planes: Planes) -> av.VideoFrame:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[:, : plane.width] = values
        plane.update(lines)
    return frame


def rgb(frame: av.VideoFrame, region: Region | None = None) -> np.ndarray:
    return np.stack(RgbConverter(region)(frame), axis=-1)


def in_rgb(planes: Planes) -> torch.Tensor:
    """BT.601 limited range, chroma centered and interpolated: float64 (1, 3, H, W) in 0..255."""
    y, u, v = (torch.from_numpy(plane.astype(float))[None, None] for plane in planes)
    height, width = planes[0].shape
    u, v = (
        (interpolate(c, scale_factor=2, mode="bilinear")[:, :, :height, :width] - 128) * (255 / 224) for c in (u, v)
    )
    y = (y - 16) * (255 / 219)
    return torch.cat([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], 1).clamp(0, 255)


def by_torch(planes: Planes, region: Region) -> np.ndarray:
    y, x, height, width = region.box
    part = in_rgb(planes)[:, :, y : y + height, x : x + width]
    kind = "bicubic" if region.cubic else "bilinear"
    scaled = interpolate(part, (region.size, region.size), mode=kind, antialias=True).clamp(0, 255)
    pixels = scaled[0].permute(1, 2, 0).numpy()
    return pixels[:, ::-1] if region.mirror else pixels


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("box", [*EVEN, *ODD])
def test_a_cut_is_scaled_rgb_to_rounding(box, cubic, mirror):
    """Rounding alone is 0.25 gray levels on average; for odd boxes chroma is rounded once more.

    Single pixels: RGB that is clamped before it is scaled, and chroma at the border of the cut, without neighbors.
    """
    planes = pictured(0, 150, 202)
    region = Region(box=box, size=112, mirror=mirror, cubic=cubic)
    got, expected = rgb(frame_of(planes), region), by_torch(planes, region)
    assert got.shape == (112, 112, 3)
    assert np.abs(got - expected).mean() < (0.35 if box in EVEN else 0.5)
    assert np.abs(got - expected).max() < 4
    # A pixel aside, upside down or mirrored is something else.
    for wrong in (np.roll(got, 1, axis=1), np.roll(got, 1, axis=0), got[::-1], got[:, ::-1]):
        assert np.abs(wrong - expected)[4:-4, 4:-4].mean() > 0.6


def test_a_cut_of_all_at_its_own_size_is_the_plain_conversion_to_the_bit():
    for seed in range(3):
        frame = frame_of(pictured(seed, 96, 96))
        whole = rgb(frame)
        np.testing.assert_array_equal(rgb(frame, Region(box=(0, 0, 96, 96), size=96)), whole)
        np.testing.assert_array_equal(rgb(frame, Region(box=(0, 0, 96, 96), size=96, mirror=True)), whole[:, ::-1])
        part = rgb(frame, Region(box=(10, 20, 64, 64), size=64))
        inside = slice(1, -1)  # chroma of the border has no neighbors
        np.testing.assert_array_equal(part[inside, inside], whole[10:74, 20:84][inside, inside])


@pytest.mark.parametrize(("width", "height"), [(97, 71), (96, 71), (97, 70)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p", "yuv420p10le", "gray", "rgb24"])
def test_odd_sides_and_other_pixel_formats_can_be_cut(width, height, pixels):
    frame = frame_of(pictured(1, 140, 200)).reformat(width, height, pixels)
    plain = rgb(frame)
    part = rgb(frame, Region(box=(6, 32, 64, 64), size=64, mirror=True))
    difference = np.abs(np.subtract(part, plain[6:70, 32:96][:, ::-1], dtype=int))[1:-1, 1:-1]
    if pixels in ("yuv444p", "gray", "rgb24"):
        assert not difference.any()
    assert difference.mean() < 3  # FFmpeg stretches chroma by half a pixel to an odd side of the whole picture
    whole = rgb(frame, Region(box=(0, 0, height, width), size=64))
    colors = torch.from_numpy(plain[None]).permute(0, 3, 1, 2).double()
    theirs = interpolate(colors, (64, 64), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    assert np.abs(whole - theirs).mean() < 1.3
    with pytest.raises(FFmpegError):
        rgb(frame, Region(box=(0, 0, height + 1, width), size=64))


@pytest.mark.parametrize("sizes", [((128, 96), (64, 48)), ((64, 48), (128, 96))])
def test_pictures_that_change_their_size_midway_are_a_clip_error(tmp_path, sizes):
    parts = [
        make_video(tmp_path / f"{number}.mjpeg", codec="mjpeg", frames=2, size=size)
        for number, size in enumerate(sizes)
    ]
    data = np.frombuffer(b"".join(part.read_bytes() for part in parts), np.uint8)
    with pytest.raises(ClipError, match="2 of 4 frames"):
        decode_rgb(EncodedClip(data, np.arange(4, dtype=np.int32), 4))
