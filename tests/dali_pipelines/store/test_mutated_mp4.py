"""Thousands of damaged MP4s: a parser returns or raises what its docstring says, and nothing grows or hangs."""

import numpy as np
import pytest

from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.fmp4 import decoder_config, read_layout
from dali_pipelines.store.mp4 import plain_mp4
from dali_pipelines.store.nvdec import read_sps
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.remux import copy_video
from tests.helpers.media import make_video
from tests.helpers.mutations import INPUTS, mutations

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("little_memory")]  # a 32-bit size may request 4 GiB


@pytest.fixture(scope="module", params=["h264", "hevc", "copy"])
def stored(request, tmp_path_factory):
    """Return a stored video's bytes and layout: only key frames, or fragments with frames out of order."""
    path = tmp_path_factory.mktemp("mp4") / "a.mp4"
    if request.param == "copy":
        source = make_video(path.with_name("source.mp4"), frames=24, size=(32, 32), gop=8)
        copy_video(path, source)
    else:
        frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * 30 + np.zeros((160, 160, 3), np.uint8)
        settings = Encoding(codec=request.param, gop=1 if request.param == "h264" else 2, size=(160, 160))
        write_frames(path, iter(frames), fps=25, settings=settings)
    return path.read_bytes(), read_layout(path)


def test_damaged_files_give_a_layout_or_a_value_error(stored, tmp_path):
    data, layout = stored
    path = tmp_path / "a.mp4"
    found = refused = 0
    for changed in mutations(data[: layout.fragments[2].offset], INPUTS // 3 + 1, seed=0):
        path.write_bytes(changed)
        try:
            layout_found = read_layout(path)
        except ValueError:
            refused += 1
        else:
            found += 1
            assert all(
                f.offset >= 0 and f.size >= 0 and f.offset + f.size <= len(changed) for f in layout_found.fragments
            )
    assert min(found, refused) > INPUTS // 100


def test_damaged_clips_give_a_plain_mp4_or_a_clip_error(stored):
    data, layout = stored
    fragments = layout.fragments[:2]
    sizes = [(fragment.size, fragment.frames) for fragment in fragments]
    num_frames = sum(fragment.frames for fragment in fragments)
    whole = data[: fragments[-1].offset + fragments[-1].size]
    made = refused = 0
    for changed in mutations(whole, INPUTS // 3 + 1, seed=1):
        clip = EncodedClip(
            np.frombuffer(changed, np.uint8), np.arange(num_frames, dtype=np.int32), layout.init_size, sizes
        )
        try:
            made += len(plain_mp4(clip)) > 0
        except ClipError:
            refused += 1
    assert min(made, refused) > INPUTS // 100


def test_damaged_parameter_sets_are_read_or_refused(stored):
    data, layout = stored
    codec = "hevc" if b"hvcC" in data[: layout.init_size] else "h264"
    config = decoder_config(memoryview(data[: layout.init_size]), b"hvcC" if codec == "hevc" else b"avcC")
    (sound,) = read_sps(codec, config)
    same = refused = 0
    for changed in mutations(config, INPUTS // 3 + 1, seed=2):
        try:
            same += read_sps(codec, changed) == [sound]
        except (ValueError, IndexError):
            refused += 1
    assert min(same, refused) > INPUTS // 300
