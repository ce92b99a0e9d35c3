"""Answer questions that need a GPU: how its video and JPEG decoders behave, and what they do fastest."""

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from bench.data import drift
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
    return {
        "session_cache": session_cache,
        "gop_strides": gop_strides,
        "cut": cut,
        "jpeg": jpeg,
        "small_hevc": small_hevc,
    }[item](target)


def media(codec: str, width: int, height: int, target: Target, *, frames: int = FRAMES) -> list[np.ndarray]:
    """Return distinct encoded clips."""
    seeds, codec = range(1 if target.rehearsal else DISTINCT), supported_codec(codec, target)
    return [encode_clip(codec, width, height, frames=frames, seed=seed) for seed in seeds]


def batch(target: Target) -> int:
    return 2 if target.rehearsal else 32


def compare_rates(pipelines: Mapping[str, Pipeline], target: Target, *, size: int, **how: Any) -> dict[str, Any]:
    """Measure pipelines in turns; `how` goes to `alternate`."""
    rows = alternate({name: pipeline.run for name, pipeline in pipelines.items()}, target, batch_size=size, **how)
    rates = ", ".join(f"{name} {row['clips_per_s']:,.0f}" for name, row in rows.items())
    return {"answer": f"clips/s: {rates}", "rows": rows}


def session_cache(target: Target) -> dict[str, Any]:
    """Does DALI open a decoder for every clip if the coded size differs from the display size?

    340x256 is coded as 352x256. Measure rates, and the growth of GPU memory over all turns.
    """
    size = 2 if target.rehearsal else 8
    made = {
        f"{w}x{h}": clip_pipeline(media("h264", w, h, target), target, batch_size=size, threads=size)
        for w, h in ((320, 240), (340, 256), (352, 256))
    }
    return compare_rates(made, target, size=size, rounds=8, seconds=0.4)


def gop_strides(target: Target) -> dict[str, Any]:
    """Measure the cost of the frames between the wanted ones, at a stride of 5."""
    made, decoded = {}, {}
    for store in ("h264_gop1", "h264_gop8", "hevc_gop16"):
        clips = clips_of(dataset(store, target), batch(target), stride=STRIDE)
        decoded[store] = round(float(np.mean([clip.decoded for clip in clips])), 1)
        made[store] = video_pipeline(constant_feed(clips), target, batch_size=len(clips), threads=THREADS)
    return {**compare_rates(made, target, size=batch(target)), "decoded_frames_per_clip": decoded}


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
    return {**compare_rates(made, target, size=batch(target)), "ok": not errors, **errors}


def small_hevc(target: Target) -> dict[str, Any]:
    """Does the hardware decode HEVC below 160 pixels?"""
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


def cut(target: Target) -> dict[str, Any]:
    """Measure the cost of frames after the last wanted one: the buffer ends with it, or 8 or 16 frames later."""
    made = {}
    for behind in (0, 8, 16):
        clips = media("hevc", 320, 240, target, frames=FRAMES + behind)
        made[f"{behind} behind"] = clip_pipeline(clips, target, batch_size=batch(target), threads=THREADS)
    return compare_rates(made, target, size=batch(target))


def jpeg(target: Target) -> dict[str, Any]:
    """Measure clips of 16 JPEGs of 340x256 as one flat batch, by the share that goes to the JPEG engines."""
    files = []
    for picture in islice(drift(0), FRAMES):
        file = io.BytesIO()
        Image.fromarray(picture).resize((340, 256)).save(file, "JPEG", quality=90)
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    loads = (0.65,) if target.rehearsal else (0.65, 0.0, 1.0)
    made = {f"load {load}": jpeg_pipeline(files * batch(target), load, target) for load in loads}
    return compare_rates(made, target, size=batch(target))


def jpeg_pipeline(pictures: Sequence[np.ndarray], load: float, target: Target) -> Pipeline:
    """Return a pipeline that decodes the same pictures in every run."""
    threads = 2 if target.rehearsal else THREADS
    how: dict[str, Any] = {"device": "cpu"} if target.rehearsal else {"device": "mixed", "hw_decoder_load": load}
    pipeline = Pipeline(batch_size=len(pictures), num_threads=threads, device_id=target.device_id)
    with pipeline:
        files = fn.external_source(lambda iteration: pictures, batch=True)
        pipeline.set_outputs(fn.decoders.image(files, **how))
    pipeline.build()
    return pipeline
