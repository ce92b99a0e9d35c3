"""Cutting and scaling a frame before conversion to RGB, against torch on RGB from the BT.601 formula."""

from collections.abc import Sequence

import av
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dali_pipelines.decode.cut import Cutter, Region
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.decode.rgb import RgbConverter, plane_arrays
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import ClipError
from tests.helpers.media import make_video

Planes = Sequence[np.ndarray]
EVEN = [(20, 34, 112, 112), (20, 34, 64, 64), (4, 10, 144, 180), (6, 8, 32, 36)]
"""Boxes that become 112 x 112 pixels: unscaled, enlarged, reduced, much enlarged."""
ODD = [(21, 35, 111, 113), (21, 34, 65, 64), (5, 11, 143, 181), (7, 9, 31, 37)]
"""Boxes that begin or end between two chroma samples."""


def smooth_planes(seed: int, height: int, width: int) -> Planes:
    """Return uint8 Y, U and V of a picture as smooth as a photo; U and V have half the sides."""
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


def plain(frame: av.VideoFrame) -> np.ndarray:
    return np.stack(RgbConverter()(frame), axis=-1)


def cut(frame: av.VideoFrame, region: Region) -> np.ndarray:
    picture = np.empty((region.size, region.size, 3), np.uint8)
    Cutter(region)(frame, picture)
    return picture


def in_rgb(planes: Planes, *, full: bool = False) -> torch.Tensor:
    """Convert by BT.601 with centered, interpolated chroma: float64 (1, 3, H, W) in 0..255."""
    y, u, v = (torch.from_numpy(plane.astype(float))[None, None] for plane in planes)
    height, width = planes[0].shape
    steps = tuple(float(-(-side // part)) for side, part in zip(planes[0].shape, planes[1].shape, strict=True))
    u, v = (interpolate(c, scale_factor=steps, mode="bilinear")[:, :, :height, :width] - 128 for c in (u, v))
    if not full:
        y, u, v = (y - 16) * (255 / 219), u * (255 / 224), v * (255 / 224)
    return torch.cat([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], 1).clamp(0, 255)


def by_torch(pixels: torch.Tensor, region: Region) -> np.ndarray:
    """Cut a region out of RGB and scale it."""
    y, x, height, width = region.box
    part = pixels[:, :, y : y + height, x : x + width]
    kind = "bicubic" if region.cubic else "bilinear"
    scaled = interpolate(part, (region.size, region.size), mode=kind, antialias=True).clamp(0, 255)
    shown = scaled[0].permute(1, 2, 0).numpy()
    return shown[:, ::-1] if region.mirror else shown


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("box", [*EVEN, *ODD])
def test_a_cut_equals_scaled_rgb_up_to_rounding(box, cubic, mirror):
    """Rounding averages 0.25 gray levels; single pixels differ more where RGB is clamped before scaling."""
    planes = smooth_planes(0, 150, 202)
    region = Region(box=box, size=112, mirror=mirror, cubic=cubic)
    got, expected = cut(frame_of(planes), region), by_torch(in_rgb(planes), region)
    assert got.shape == (112, 112, 3)
    assert np.abs(got - expected).mean() < 0.3
    assert np.abs(got - expected).max() < 4
    # Shifted by a pixel, upside down or mirrored, the difference is larger.
    for wrong in (np.roll(got, 1, axis=1), np.roll(got, 1, axis=0), got[::-1], got[:, ::-1]):
        assert np.abs(wrong - expected)[4:-4, 4:-4].mean() > 0.6


def test_an_unscaled_cut_is_the_plain_conversion():
    """FFmpeg rounds at another step. At the border of a part, chroma uses its neighbors outside."""
    for seed in range(3):
        frame = frame_of(smooth_planes(seed, 96, 96))
        whole = plain(frame).astype(int)
        for mirror in (False, True):
            part = cut(frame, Region(box=(11, 20, 64, 64), size=64, mirror=mirror))
            difference = np.abs(part - whole[11:75, 20:84][:, :: -1 if mirror else 1])
            assert difference.max() <= 1
            assert difference.mean() < 0.2


@pytest.mark.parametrize(("width", "height"), [(97, 71), (96, 71), (97, 70)])
@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p", "yuvj422p", "yuv420p10le", "gray", "rgb24"]
)
def test_odd_sides_and_other_pixel_formats_can_be_cut(width, height, pixels):
    """A chroma sample covers two rows and columns of luma; the last one of an odd side covers one."""
    frame = frame_of(smooth_planes(1, 140, 200)).reformat(width, height, pixels)
    if pixels.startswith("yuv") and "10" not in pixels:
        expected = in_rgb(plane_arrays(frame), full="j" in pixels)
    else:
        expected = torch.from_numpy(plain(frame)[None]).permute(0, 3, 1, 2).double()
    for region in (
        Region(box=(6, 32, 64, 64), size=64, mirror=True),
        Region(box=(0, 0, height, width), size=48),
        Region(box=(height - 9, width - 9, 9, 9), size=24, cubic=True),
    ):
        difference = np.abs(cut(frame, region) - by_torch(expected, region))
        assert difference.mean() < 0.7  # chroma is filtered once here, twice in the reference
        assert difference.max() < 5
    with pytest.raises(ValueError, match="does not fit into a frame"):
        cut(frame, Region(box=(0, 0, height + 1, width), size=64))


@pytest.mark.parametrize("sizes", [((128, 96), (64, 48)), ((64, 48), (128, 96))])
def test_a_size_change_within_a_clip_is_a_clip_error(tmp_path, sizes):
    parts = [
        make_video(tmp_path / f"{number}.mjpeg", codec="mjpeg", frames=2, size=size)
        for number, size in enumerate(sizes)
    ]
    data = np.frombuffer(b"".join(part.read_bytes() for part in parts), np.uint8)
    with pytest.raises(ClipError, match="2 of 4 frames"):
        decode_rgb(EncodedClip(data, np.arange(4, dtype=np.int32)))
