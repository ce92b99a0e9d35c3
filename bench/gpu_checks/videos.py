"""The videos that the items share, as prepared datasets, and small video files in memory of any size."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from bench.data import FPS, drift, store_settings
from bench.gpu_checks import Where
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import KEY_FRAMES_ONLY, write_frames
from dali_pipelines.store.files import replacing, video_path
from dali_pipelines.store.index import INDEX_FILE, Index, Record
from dali_pipelines.store.reader import EncodedClip

DEFAULT = "h264_gop1"  # what `prepare` makes
VIDEOS = 40  # more than one batch
CLASSES = 4
GOP = 8
# As plain as can be and of any size: which sizes the decoders take is one of the questions.
ENCODERS = {
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5", "auto-alt-ref": "0", "lag-in-frames": "0"}),
    "hevc": ("libx265", {"preset": "superfast", "x265-params": "keyint={gop}:scenecut=0:bframes=0:log-level=none"}),
    "h264": ("libx264", {"preset": "veryfast", "sc_threshold": "0", "bf": "0", "keyint_min": "{gop}"}),
}


def stand_in(codec: str, where: Where) -> str:
    """The codec itself; in a rehearsal VP9, the only one that DALI decodes on a CPU too."""
    return "vp9" if where.rehearsal and codec not in KEY_FRAMES_ONLY else codec


def dataset(name: str, where: Where) -> Index:
    """The store `CODEC` or `CODEC_gopN` as `prepare` makes it of drifting textures, 6 s each; made if it is missing."""
    codec, _, gop = name.partition("_gop")
    root = where.work_dir / name
    settings = store_settings(stand_in(codec, where), int(gop) if gop else None, None)

    def write(video: str) -> Record:
        path = video_path(root, video)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_frames(path, drift(int(video[-3:])), fps=FPS, settings=settings)

    if not (root / INDEX_FILE).is_file():
        names = [f"video{number:03d}" for number in range(2 if where.rehearsal else VIDEOS)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the encoders run outside the interpreter's lock
            save(root, dict(zip(names, pool.map(write, names), strict=True)))
    return Index.load(root)


def save(root: Path, records: dict[str, Record]) -> None:
    """Writes the index of a store, with classes for those who train."""
    labels = {name: place % CLASSES for place, name in enumerate(records)}
    Index.build(root, records, labels=labels, class_names=[f"class{label}" for label in range(CLASSES)]).save()


def working(where: Where) -> tuple[str, Index]:
    """The store for the items that need one: the default, or what `default_store.instead` found to decode."""
    note = where.work_dir / "working"
    name = note.read_text() if note.is_file() else DEFAULT
    return name, dataset(name, where)


def note_working(name: str, where: Where) -> None:
    """Makes `working` give this store from now on."""
    with replacing(where.work_dir / "working") as part:
        part.write_text(name)


def encoded(codec: str, width: int, height: int, *, frames: int = 16, seed: int = 0, gop: int = GOP) -> np.ndarray:
    """A fragmented MP4 in memory, uint8 (bytes,), a key frame every `gop` frames."""
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


def decoded_by_pyav(data: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The reference: frames (T,) of a file in memory, uint8 (T, H, W, 3) RGB."""
    return decode_rgb(EncodedClip(data, frames.astype(np.int32), int(frames.max()) + 1))
