"""Make JPEGs with the size and quality of a store's videos."""

import io
import json
import math
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from bench.peers.data import decoded, encode_jpeg, equal_zip, sources, write_zip
from dali_pipelines.decode.rgb import RgbConverter
from dali_pipelines.store.convert import store_converter
from dali_pipelines.store.files import video_path, write_file
from dali_pipelines.store.index import Index

VIDEOS = 4
COMPARED = slice(7, None, 15)  # frames of the first videos: not the sources' key frames, which are more detailed
BEST_DB = 99.0  # for identical pictures

Picture = np.ndarray
"""uint8 (H, W, 3), RGB by BT.601."""


def equal_jpegs(index: Index) -> dict[str, Any]:
    """Return the facts about the JPEGs that equal a store; make the JPEGs if they are missing.

    Their quality is the one whose PSNR is nearest to the store's. Both are against the sources, scaled as by `prepare`,
    in R, G and B, as a network sees them.

    Returns:
        The quality, and for the JPEGs and the videos, the mean dB and bytes per frame.
    """
    root = Path(index.root)
    report = equal_zip(root, "equal").with_suffix(".json")
    if not report.is_file():
        found = _choose(index)
        for row in range(len(index)):
            name = index.info(row).name
            pictures = _scaled(index, name)
            write_zip(equal_zip(root, name), (encode_jpeg(picture, found["jpeg_quality"]) for picture in pictures))
        write_file(report, json.dumps(found))
    return dict(json.loads(report.read_text()))


def _choose(index: Index) -> dict[str, Any]:
    names = [index.info(row).name for row in range(min(VIDEOS, len(index)))]
    root = Path(index.root)
    wanted = [picture for name in names for picture in [*_scaled(index, name)][COMPARED]]
    stored = [picture for name in names for picture in [*_rgb(decoded(video_path(root, name)))][COMPARED]]
    target = mean_psnr(wanted, stored)

    def measured(quality: int) -> tuple[float, float]:
        """Return the mean dB and bytes per frame."""
        jpegs = [encode_jpeg(picture, quality) for picture in wanted]
        shown = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]
        return mean_psnr(wanted, shown), statistics.fmean(map(len, jpegs))

    of_quality = {quality: measured(quality) for quality in range(1, 101)}
    best = min(of_quality, key=lambda quality: abs(of_quality[quality][0] - target))
    db, size = of_quality[best]
    frames = int(index.num_frames.sum())
    of_store = sum(video_path(root, index.info(row).name).stat().st_size for row in range(len(index)))
    return {
        "jpeg_quality": best,
        "jpeg_db": round(db, 2),
        "jpeg_bytes_per_frame": round(size),
        "video_db": round(target, 2),
        "video_bytes_per_frame": round(of_store / frames),
    }


def mean_psnr(wanted: list[Picture], shown: list[Picture]) -> float:
    """Return the mean peak signal-to-noise ratio of pictures, dB; identical ones count as BEST_DB."""
    return statistics.fmean(
        min(10 * math.log10(255**2 / error), BEST_DB) if error else BEST_DB
        for error in (float(np.square(a.astype(float) - b).mean()) for a, b in zip(wanted, shown, strict=True))
    )


def _scaled(index: Index, name: str) -> Iterator[Picture]:
    """Yield the frames of a source as `prepare` passes them to the encoder."""
    convert = store_converter(*index.sizes_WH[0].tolist())
    return _rgb(map(convert, decoded(sources(Path(index.root), name)[0])))


def _rgb(frames: Iterable[VideoFrame]) -> Iterator[Picture]:
    rgb = RgbConverter()
    return (np.stack(rgb(frame), axis=-1) for frame in frames)
