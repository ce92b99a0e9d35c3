"""bench.faults.media.decodable tells damaged videos from sound ones and from nondeterministic ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.faults.media import decodable
from bench.faults.media.decodable import decodes, steady
from bench.faults.media.storages import STORAGES, write_storages
from dali_pipelines.store.reader import picture_file
from dali_pipelines.store.record import ClipError


@pytest.mark.parametrize(("pixels", "expected"), [([1, 1], True), ([1, 2], False), ([None, None], True)])
def test_pixels_that_depend_on_the_previous_video_are_not_steady(monkeypatch, pixels, expected):
    made = iter(pixels)

    def decode(row):
        value = next(made) if row == 7 else 0
        if value is None:
            raise ClipError("damaged")
        return np.full(3, value)

    monkeypatch.setattr(decodable, "read_clip", lambda index, row, frames: row)
    monkeypatch.setattr(decodable, "decode_rgb", decode)
    no_index: Any = None
    assert steady(no_index, 7, [0, 1]) == expected


@pytest.mark.slow
def test_ffmpeg_decodes_intact_but_not_zeroed_videos_of_every_storage(tmp_path):
    index = write_storages(tmp_path, videos=1)
    rows = range(len(STORAGES))
    assert all(decodes(index, row) for row in rows)
    for row in rows:
        units, path = index.units(row), index.path(row)
        if index.container(row) == "picture_files":
            path = Path(picture_file(str(path), 5))
        data = bytearray(path.read_bytes())
        data[int(units.starts[0]) : int(units.ends[0])] = bytes(int(units.ends[0] - units.starts[0]))
        path.write_bytes(data)
    assert not any(decodes(index, row) for row in rows)
