"""The codecs of `prepare`: a tiny clip is encoded with each, then decoded as in training."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dali_pipelines.decode.choose import choose
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.encoders import ENCODERS
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from trainers.diagnosis import Finding, State, Subject
from trainers.engine.devices import why_no_gpu

SIDE = 160
"""Side of the clip in pixels; the smallest that all codecs and decoders accept."""
FRAMES = 4
DEFAULT = "h264"
MAX_DIFFERENCE = 12.0
"""Largest mean difference allowed for a lossy codec, in gray levels. Unrelated pictures differ by 40 and more."""


def check(subject: Subject) -> Iterator[Finding]:
    """Try each codec on the device that training would use."""
    device_id = None if subject.device == "cpu" or why_no_gpu() else 0
    with TemporaryDirectory() as folder:
        for codec in ENCODERS:
            try:
                decoder = decoded_by(codec, Path(folder, codec), device_id)
            except Exception as error:
                state: State = "problem" if codec == DEFAULT else "warning"
                text = f"does not work: {type(error).__name__}: {error}"
                do = "prepare with another --codec, or install av as a wheel"
                if isinstance(error, OSError) and str(error.filename).startswith(folder):
                    do = "make room there, or set TMPDIR"
                yield Finding(state, codec, text, do)
            else:
                yield Finding("ok", codec, decoder)


def decoded_by(codec: str, root: Path, device_id: int | None) -> str:
    """Encode and decode a clip; return what would decode it in training. Lets any exception through."""
    shade = np.linspace(0, 255, SIDE, dtype=np.uint8)
    frames = [np.stack([np.roll(shade, 8 * t)[None].repeat(SIDE, 0)] * 3, axis=2) for t in range(FRAMES)]
    path = video_path(root, "clip")
    path.parent.mkdir(parents=True)
    record = write_frames(path, frames, fps=25, settings=Encoding(codec=codec))
    index = Index.build(root, {"clip": record})
    got = decode_rgb(read_clip(index, 0, np.arange(FRAMES)))
    apart = np.abs(got.astype(np.float32) - np.stack(frames)).mean()
    if apart > MAX_DIFFERENCE:
        raise ValueError(f"PyAV shows another picture than was encoded, {apart:.0f} gray levels apart")
    dali, why_not = choose(index, "auto", device_id=device_id)
    if dali:
        return f"DALI decodes it on {'a CPU' if device_id is None else 'the GPU'}"
    return f"PyAV decodes it on the CPU ({why_not.partition(': ')[2] or why_not})"
