"""The videos that the items share, as prepared datasets, and small video files in memory of any size."""

import io
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from bench.data import FPS, drift, store_settings
from bench.gpu_checks import Target
from dali_pipelines import limits
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import KEY_FRAMES_ONLY, write_frames
from dali_pipelines.store.files import replacing, video_path
from dali_pipelines.store.index import INDEX_FILE, Index
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import Record

DEFAULT = "h264_gop1"  # what `prepare` makes
CHOICE = "chosen_store"  # file with the name of the store that the items read
VIDEOS = 40  # more than one batch
CLASSES = 4
GOP = 8
# As plain as can be and of any size: which sizes the decoders take is one of the questions.
ENCODERS = {
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5", "auto-alt-ref": "0", "lag-in-frames": "0"}),
    "hevc": ("libx265", {"preset": "superfast", "x265-params": "keyint={gop}:scenecut=0:bframes=0:log-level=none"}),
    "h264": ("libx264", {"preset": "veryfast", "sc_threshold": "0", "bf": "0", "keyint_min": "{gop}"}),
}


def supported_codec(codec: str, target: Target) -> str:
    """Return the codec; in a rehearsal VP9, the only one that DALI decodes on a CPU too."""
    return "vp9" if target.rehearsal and codec not in KEY_FRAMES_ONLY else codec


def dataset(name: str, target: Target) -> Index:
    """Return the store `CODEC` or `CODEC_gopN` of drifting textures, 6 s each, as `prepare` makes it; made once."""
    codec, _, gop = name.partition("_gop")
    root = target.work_dir / name
    settings = store_settings(supported_codec(codec, target), int(gop) if gop else None, None)

    def write(video: str) -> Record:
        return write_frames(video_path(root, video), drift(int(video[-3:])), fps=FPS, settings=settings)

    if not (root / INDEX_FILE).is_file():
        names = [f"video{number:03d}" for number in range(2 if target.rehearsal else VIDEOS)]
        with ThreadPoolExecutor(limits.cores()) as pool:  # the encoders run outside the interpreter's lock
            save_index(root, dict(zip(names, pool.map(write, names), strict=True)))
    return Index.load(root)


def save_index(root: Path, records: dict[str, Record]) -> None:
    """Write the index of a store, with classes for those who train."""
    labels = {name: place % CLASSES for place, name in enumerate(records)}
    Index.build(root, records, labels=labels, class_names=[f"class{label}" for label in range(CLASSES)]).save()


def chosen_store(target: Target) -> tuple[str, Index]:
    """Return the store for the items that need one: the default, or what `default_store.fallback` chose."""
    choice = target.work_dir / CHOICE
    name = choice.read_text() if choice.is_file() else DEFAULT
    return name, dataset(name, target)


def choose_store(name: str, target: Target) -> None:
    """Make `chosen_store` return this store from now on."""
    with replacing(target.work_dir / CHOICE) as part:
        part.write_text(name)


def encode_clip(codec: str, width: int, height: int, *, frames: int = 16, seed: int = 0, gop: int = GOP) -> np.ndarray:
    """Return a fragmented MP4, uint8 (bytes,), with a key frame every `gop` frames."""
    file = io.BytesIO()
    name, options = ENCODERS[codec]
    options = {key: value.format(gop=gop) for key, value in options.items()}
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as out:
        stream = out.add_stream(name, rate=FPS, options={"crf": "28", "g": str(gop), **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in islice(drift(seed), frames):
            pixels = np.tile(picture, (2, 2, 1))[:height, :width]
            out.mux(stream.encode(VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        out.mux(stream.encode(None))
    return np.frombuffer(file.getvalue(), np.uint8)


def decode_reference(data: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Decode frames (T,) of a file in memory with PyAV: uint8 (T, H, W, 3) RGB."""
    return decode_rgb(EncodedClip(data, frames.astype(np.int32)))
