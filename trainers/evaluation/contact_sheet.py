"""A picture of retrieval results: each row has a query, then its nearest gallery videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.draw import GAP, stack, text
from dali_pipelines.inspection import spread
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError

THUMB = (128, 96)
"""Width and height of a frame, pixels; frames of another shape are padded with white."""
BORDER = 5
QUERY, SAME, OTHER, UNREADABLE = "black", "#009e00", "#d81010", "lightgray"


@dataclass(frozen=True)
class Item:
    """A video in the sheet."""

    index: Index
    row: int
    color: str
    """Border color."""
    words: str
    """First line of the caption; class and name follow."""


def choose(labels: np.ndarray, hits: np.ndarray, count: int) -> list[int]:
    """Choose up to `count` query rows, half of them hits where possible, each half spread over the classes.

    `labels` are int64 (Q,), `hits` bool (Q,). The rows are in the order of the classes.
    """
    by_class = np.argsort(labels, kind="stable")
    kinds = [by_class[hits[by_class]], by_class[~hits[by_class]]]
    right = min(len(kinds[0]), max(count // 2, count - len(kinds[1])))
    chosen = [kind[spread(len(kind), wanted)] for kind, wanted in zip(kinds, (right, count - right), strict=True)]
    return sorted(np.concatenate(chosen).tolist(), key=lambda row: (labels[row], row))


def draw(title: str, rows: Sequence[Sequence[Item]]) -> Image.Image:
    """Draw the sheet: the lines of `title`, then one row of items below the other."""
    lines = [stack([_tile(item) for item in row], across=True) for row in rows]
    width = max([line.width for line in lines], default=4 * THUMB[0])
    header = stack([text(line, width) for line in title.splitlines()], gap=0)
    return ImageOps.expand(stack([header, *lines], gap=2 * GAP), 2 * GAP, "white")


def _tile(item: Item) -> Image.Image:
    index, video = item.index, item.index.info(item.row)
    picture = ImageOps.expand(_middle_frame(index, item.row), BORDER, item.color)
    name = video.name.rpartition("/")[2]
    lines = [text(line, picture.width) for line in (item.words, index.class_name(item.row), name)]
    return stack([picture, *lines], gap=0)


def _middle_frame(index: Index, row: int) -> Image.Image:
    """Return the middle frame; gray if the video has gone since its features were saved."""
    middle = np.array([index.num_frames[row] // 2])
    try:
        (frame_HW3,) = decode_rgb(read_clip(index, row, middle))
    except ClipError:
        return Image.new("RGB", THUMB, UNREADABLE)
    return ImageOps.pad(Image.fromarray(frame_HW3), THUMB, Image.Resampling.BICUBIC, color="white")
