"""Do the fragments of a clip decode to the right pixels? DALI against PyAV, which needs no GPU."""

from typing import Any

import numpy as np

from bench.gpu_checks import Where
from bench.gpu_checks.pipelines import pixels, video_pipeline
from bench.gpu_checks.videos import dataset, need_decoder
from dali_pipelines.store.reader import decode_clip, read_clip

MOST = 3.0
"""Grey levels of mean difference that are still the same picture: how chroma is interpolated differs by as much."""


def measure(item: str, where: Where) -> dict[str, Any]:
    """Differences over clips that begin and end within fragments, skip some, and go to the end of a video."""
    need_decoder(item, where)
    index = dataset(item, where)
    last = int(index.num_frames[0]) - 1
    asked = {
        "one_fragment": np.arange(8, 16),
        "within_fragments": np.arange(13, 29),
        "skips_fragments": np.array([3, 4, 40, 41, 90, 122]),
        "stride_5": np.arange(20, 100, 5),
        "single_frame": np.array([77]),
        "end_of_video": np.arange(last - 15, last + 1),
    }
    clips = {name: read_clip(index, place % len(index), frames) for place, (name, frames) in enumerate(asked.items())}
    media, frames = [clip.data for clip in clips.values()], [clip.frames for clip in clips.values()]
    pipeline = video_pipeline(lambda iteration: (media, frames), where, batch_size=len(clips), threads=4)
    rows = {}
    for _ in range(2):  # a decoder that is used again must be right again
        for (name, clip), got in zip(clips.items(), pixels(pipeline), strict=True):
            rows[name] = compare(got, decode_clip(clip))
            if not rows[name]["ok"]:
                return {"ok": False, "rows": rows}
    return {"ok": all(row["ok"] for row in rows.values()), "rows": rows}


def compare(got: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    """Differences of frames uint8 (T, H, W, 3) in grey levels; `misplaced` counts those that look more like another."""
    if got.shape != wanted.shape:
        return {"ok": False, "shape": str(got.shape), "wanted": str(wanted.shape)}
    got, wanted = got.astype(np.int16), wanted.astype(np.int16)
    distance = np.array([[np.abs(mine - other).mean() for other in wanted] for mine in got])
    own = distance.diagonal()
    misplaced = int((own > distance.min(axis=1) + 1e-3).sum())
    difference = np.abs(got - wanted)
    return {
        "ok": misplaced == 0 and bool(own.max() < MOST),
        "frames": len(got),
        "max": int(difference.max()),
        "mean": round(float(difference.mean()), 3),
        "worst_frame_mean": round(float(own.max()), 3),
        "misplaced": misplaced,
    }
