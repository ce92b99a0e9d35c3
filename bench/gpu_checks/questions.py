"""Answer questions that need a GPU: which stores and sizes its video decoders take, and what they do fastest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from nvidia.dali.pipeline import Pipeline

from bench.gpu_checks import Target
from bench.gpu_checks.compare import compare
from bench.gpu_checks.decode import FRAMES, clips_of
from bench.gpu_checks.pipelines import alternate, clip_pipeline, constant_feed, pixels, video_pipeline
from bench.gpu_checks.videos import dataset, decode_reference, encode_clip, supported_codec
from dali_pipelines.decode.dali import first_cause

THREADS = 14  # two for each of the seven decoders of an H100 or H200
DISTINCT = 8  # clips; a batch repeats them
CODECS = ("h264", "hevc", "vp9")
MIN_HEVC = 144  # pixels per side that the hardware should take
STRIDE = 5


def measure(item: str, target: Target) -> dict[str, Any]:
    """Answer one question. In a rehearsal, the codec is always VP9."""
    if item.startswith("size_"):
        return sizes(item.removeprefix("size_"), target)
    return {"session_cache": session_cache, "gop_strides": gop_strides, "small_hevc": small_hevc}[item](target)


def media(codec: str, width: int, height: int, target: Target) -> list[np.ndarray]:
    """Return distinct encoded clips."""
    seeds, codec = range(1 if target.rehearsal else DISTINCT), supported_codec(codec, target)
    return [encode_clip(codec, width, height, seed=seed) for seed in seeds]


def batch(target: Target) -> int:
    return 2 if target.rehearsal else 32


def compare_rates(pipelines: Mapping[str, Pipeline], target: Target) -> dict[str, Any]:
    """Measure pipelines in turns."""
    rows = alternate({name: pipeline.run for name, pipeline in pipelines.items()}, target, batch_size=batch(target))
    rates = ", ".join(f"{name} {row['clips_per_s']:,.0f}" for name, row in rows.items())
    return {"answer": f"clips/s: {rates}", "rows": rows}


def session_cache(target: Target) -> dict[str, Any]:
    """Measure what it costs if the coded size is not the frame's: 340x256 is coded as 352x256.

    DALI may then open a decoder for each clip.
    """
    clips = {width: media("h264", width, 256, target) for width in (352, 340)}
    how = {"batch_size": batch(target), "threads": THREADS}
    return compare_rates({f"{w}x256": clip_pipeline(clips[w], target, **how) for w in clips}, target)


def gop_strides(target: Target) -> dict[str, Any]:
    """Measure the cost of the frames between the wanted ones, at a stride of 5."""
    made, decoded = {}, {}
    for store in ("h264_gop1", "h264_gop8", "hevc_gop16"):
        clips = clips_of(dataset(store, target), batch(target), stride=STRIDE)
        decoded[store] = round(float(np.mean([clip.decoded for clip in clips])), 1)
        made[store] = video_pipeline(constant_feed(clips), target, batch_size=len(clips), threads=THREADS)
    return {**compare_rates(made, target), "decoded_frames_per_clip": decoded}


def sizes(size: str, target: Target) -> dict[str, Any]:
    """Measure each codec at one size; HEVC below MIN_HEVC is left to `small_hevc`."""
    width, height = map(int, size.split("x"))
    made, errors = {}, {}
    for codec in CODECS:
        if codec == "hevc" and min(width, height) < MIN_HEVC:
            continue
        try:
            made[codec] = clip_pipeline(
                media(codec, width, height, target), target, batch_size=batch(target), threads=THREADS
            )
            made[codec].run()
        except RuntimeError as error:
            errors[codec] = first_cause(error)
            made.pop(codec, None)
    if not made:
        raise RuntimeError(str(errors))
    return {**compare_rates(made, target), "ok": not errors, **errors}


def small_hevc(target: Target) -> dict[str, Any]:
    """Compare HEVC below 160 pixels, which the hardware may not decode, with FFmpeg's frames."""
    rows = {}
    for side in (144, 128):
        (clip, *_) = media("hevc", side, side, target)
        try:
            got = pixels(clip_pipeline([clip], target, batch_size=1, threads=1))[0]
            rows[f"{side}x{side}"] = compare(got, decode_reference(clip, np.arange(FRAMES)))
        except RuntimeError as error:
            rows[f"{side}x{side}"] = {"ok": False, "error": first_cause(error)}
    answer = ", ".join(f"{name} {'decodes' if row['ok'] else row.get('error', 'WRONG')}" for name, row in rows.items())
    return {"answer": f"HEVC: {answer}", "rows": rows}
