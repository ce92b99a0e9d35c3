"""The videos that the items share, as prepared datasets, and small video files in memory of any size."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

from bench.data import FPS, NUM_FRAMES, drift
from bench.gpu_checks import NotHere, Where
from dali_pipelines.decoders import CPU_CODECS
from dali_pipelines.store.encode import KEY_FRAMES_ONLY, Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import INDEX_FILE, Index, open_dataset

VIDEOS = 40  # more than one batch of the benches
GOP = 8
# Like those of dali_pipelines.store.encode, but of any size: which sizes the decoders take is one of the questions.
ENCODERS = {
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5", "auto-alt-ref": "0", "lag-in-frames": "0"}),
    "hevc": ("libx265", {"preset": "superfast", "x265-params": f"keyint={GOP}:scenecut=0:bframes=0:log-level=none"}),
    "h264": ("libx264", {"preset": "veryfast", "sc_threshold": "0", "bf": "0"}),
}


def measure(item: str, where: Where) -> dict[str, Any]:
    """Makes the dataset of a codec: drifting textures, 336x256, 6 s each."""
    root, videos = where.store(item), 2 if where.rehearsal else VIDEOS
    settings = Encoding(codec=item, gop=1 if item in KEY_FRAMES_ONLY else GOP)

    def write(number: int) -> Any:
        path = video_path(root, f"video{number:03d}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_frames(path, drift(number), fps=FPS, settings=settings)

    if not (root / INDEX_FILE).is_file():
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the encoders run outside the interpreter's lock
            records = list(pool.map(write, range(videos)))
        Index.build(root, {f"video{number:03d}": record for number, record in enumerate(records)}).save()
    size = sum(path.stat().st_size for path in root.rglob("*.mp4"))
    return {"videos": len(Index.load(root)), "frames": NUM_FRAMES, "gop": settings.gop, "mib": round(size / 2**20, 1)}


def dataset(codec: str, where: Where) -> Index:
    """The dataset that `measure` made; made now where it is missing."""
    if not (where.store(codec) / INDEX_FILE).is_file():
        measure(codec, where)
    return open_dataset(where.store(codec))


def need_decoder(codec: str, where: Where) -> None:
    """NotHere in a rehearsal with a codec that DALI decodes on GPUs alone; on a GPU DALI itself shall say why not."""
    if where.rehearsal and codec not in CPU_CODECS:
        raise NotHere(f"DALI's CPU backend does not decode {codec}")


def encoded(codec: str, width: int, height: int, *, frames: int = 16, seed: int = 0) -> np.ndarray:
    """A fragmented MP4 in memory, uint8 (bytes,), a key frame every `GOP` frames."""
    file = io.BytesIO()
    name, options = ENCODERS[codec]
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as out:
        stream = out.add_stream(name, rate=FPS, options={"crf": "28", "g": str(GOP), **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in islice(drift(seed), frames):
            pixels = np.tile(picture, (2, 2, 1))[:height, :width]
            out.mux(stream.encode(VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        out.mux(stream.encode(None))
    return np.frombuffer(file.getvalue(), np.uint8)


def decoded_by_pyav(data: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The reference: frames (T,) of a file in memory, uint8 (T, H, W, 3) RGB."""
    from dali_pipelines.store.reader import EncodedClip, decode_clip

    return decode_clip(EncodedClip(data, frames.astype(np.int32), int(frames.max()) + 1))
