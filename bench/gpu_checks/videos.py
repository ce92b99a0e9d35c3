"""Make the videos that the items share, as prepared datasets, and small video files of any size in memory."""

import io
from itertools import islice

import numpy as np

from bench.data import bench_store, drift, write_movie
from bench.gpu_checks import Target
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import KEY_FRAMES_ONLY, MOVFLAGS
from dali_pipelines.store.files import write_file
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import EncodedClip

DEFAULT = "h264_gop1"  # the default of `prepare`
CHOICE = "chosen_store"  # file with the name of the store that the items read
VIDEOS = 40  # more than one batch
CLASSES = 4
GOP = 8
# As plain as possible and of any size: which sizes the decoders take is one of the questions.
ENCODERS = {
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5", "auto-alt-ref": "0", "lag-in-frames": "0"}),
    "hevc": ("libx265", {"preset": "superfast", "x265-params": "keyint={gop}:scenecut=0:bframes=0:log-level=none"}),
    "h264": ("libx264", {"preset": "veryfast", "sc_threshold": "0", "bf": "0", "keyint_min": "{gop}"}),
}


def supported_codec(codec: str, target: Target) -> str:
    """Return the codec; in a rehearsal VP9, which DALI decodes on a CPU, too."""
    return "vp9" if target.rehearsal and codec not in KEY_FRAMES_ONLY else codec


def dataset(name: str, target: Target) -> Index:
    """Return the store `CODEC` or `CODEC_gopN` of drifting textures, 6 s each, made once as `prepare` does."""
    codec, _, gop = name.partition("_gop")
    root = bench_store(
        target.work_dir / name,
        videos=2 if target.rehearsal else VIDEOS,
        codec=supported_codec(codec, target),
        gop=int(gop) if gop else None,
        classes=CLASSES,
    )
    return Index.load(root)


def chosen_store(target: Target) -> tuple[str, Index]:
    """Return the store for the items that need one: the default, or what `default_store.fallback` chose."""
    choice = target.work_dir / CHOICE
    name = choice.read_text() if choice.is_file() else DEFAULT
    return name, dataset(name, target)


def choose_store(name: str, target: Target) -> None:
    """Make `chosen_store` return this store from now on."""
    write_file(target.work_dir / CHOICE, name)


def encode_clip(codec: str, width: int, height: int, *, frames: int = 16, seed: int = 0, gop: int = GOP) -> np.ndarray:
    """Return a fragmented MP4, uint8 (bytes,), with a key frame every `gop` frames."""
    file = io.BytesIO()
    name, own = ENCODERS[codec]
    options = {"threads": "1", "crf": "28", "g": str(gop)} | {key: text.format(gop=gop) for key, text in own.items()}
    tiled = (np.tile(picture, (2, 2, 1))[:height, :width] for picture in islice(drift(seed), frames))
    pictures, fragmented = map(np.ascontiguousarray, tiled), {"movflags": MOVFLAGS}
    write_movie(file, pictures, name, size=(width, height), options=options, format="mp4", container_options=fragmented)
    return np.frombuffer(file.getvalue(), np.uint8)


def decode_reference(data: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Decode frames (T,) of a file in memory with PyAV: uint8 (T, H, W, 3) RGB."""
    return decode_rgb(EncodedClip(data, frames.astype(np.int32)))
