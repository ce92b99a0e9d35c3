"""Small prepared datasets for tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
"""The type of the fixture `made_once`."""


def make_store(root: Path, *, codec: str = "vp9", videos: int = 12, gop: int = 8, frames: int = 40) -> Index:
    """Store videos of at least `frames` frames in two sizes and two classes: coarse noise that slides to the right."""
    records, labels = {}, {}
    for number in range(videos):
        rng = np.random.default_rng(number)
        height, width = (160, 192) if number % 2 else (192, 160)
        noise = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))
        name = f"class{number % 2}/video{number:02d}"
        shown = (np.roll(picture, 2 * t, axis=1) for t in range(frames + number))
        records[name] = write_frames(video_path(root, name), shown, fps=25, settings=Encoding(codec=codec, gop=gop))
        labels[name] = number % 2
    index = Index.build(root, records, labels=labels, class_names=("class0", "class1"))
    index.save()
    return index
