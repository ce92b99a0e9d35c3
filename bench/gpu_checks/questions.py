"""What cannot be known without a GPU: how its video and JPEG decoders behave, and what they are fastest at."""

import io
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from bench.data import drift
from bench.gpu_checks import Where
from bench.gpu_checks.compare import compare
from bench.gpu_checks.decode import FRAMES, clips_of
from bench.gpu_checks.pipelines import (
    alternate,
    clip_pipeline,
    feed_of,
    pixels,
    video_pipeline,
)
from bench.gpu_checks.videos import dataset, decoded_by_pyav, encoded, stand_in
from bench.meters import WARM_UP, gpu_mib, synchronize
from dali_pipelines.recovery import first_cause

THREADS = 14  # two for each of the seven decoders of an H100 or H200
DISTINCT = 8  # clips; a batch repeats them
CODECS = ("h264", "hevc", "vp9")
LEAST_HEVC = 144  # pixels a side that the hardware should take
STRIDE = 5


def measure(item: str, where: Where) -> dict[str, Any]:
    """One question. In a rehearsal the codec is VP9 throughout."""
    if item.startswith("size_"):
        return sizes(item.removeprefix("size_"), where)
    return {
        "session_cache": session_cache,
        "gop_strides": gop_strides,
        "cut": cut,
        "jpeg": jpeg,
        "small_hevc": small_hevc,
    }[item](where)


def media(codec: str, width: int, height: int, where: Where, *, frames: int = FRAMES) -> list[np.ndarray]:
    """Distinct clips in memory."""
    count = 1 if where.rehearsal else DISTINCT
    return [encoded(stand_in(codec, where), width, height, frames=frames, seed=seed) for seed in range(count)]


def batch(where: Where) -> int:
    return 2 if where.rehearsal else 32


def rates_line(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rates of a table in one line."""
    return "clips/s: " + ", ".join(f"{name} {row['clips_per_s']:,.0f}" for name, row in rows.items())


def race(made: Mapping[str, Pipeline], where: Where, *, size: int, **more: Any) -> dict[str, Any]:
    """The rates of pipelines by turns."""
    rows = alternate({name: pipeline.run for name, pipeline in made.items()}, where, batch_size=size)
    return {"answer": rates_line(rows), **more, "rows": rows}


def session_cache(where: Where) -> dict[str, Any]:
    """Does DALI open a decoder for every clip where the coded size is not that of the picture?

    340x256 is coded as 352x256. By turns of a tenth of the runs: rate, and growth of GPU memory over all turns.
    """
    runs, most, size = (10, 1, 2) if where.rehearsal else (200, 12, 8)
    made = {
        f"{w}x{h}": clip_pipeline(media("h264", w, h, where), where, batch_size=size, threads=size)
        for w, h in ((320, 240), (340, 256), (352, 256))
    }
    rates: dict[str, list[float]] = {name: [] for name in made}
    grown = dict.fromkeys(made, 0.0)
    began = time.monotonic()
    for _ in range(10):
        if time.monotonic() - began > most:
            break
        for name, pipeline in made.items():
            memory = 0.0 if where.rehearsal else gpu_mib()
            for _ in range(WARM_UP):
                pipeline.run()
            synchronize(where.device)
            start = time.perf_counter()
            for _ in range(runs // 10):
                pipeline.run()
            synchronize(where.device)
            rates[name].append(size * (runs // 10) / (time.perf_counter() - start))
            grown[name] += (0.0 if where.rehearsal else gpu_mib()) - memory
    rows = {
        name: {
            "runs": (runs // 10 + WARM_UP) * len(values),
            "clips_per_s": round(statistics.median(values), 1),
            "slowest": round(min(values), 1),
            "fastest": round(max(values), 1),
            "memory_grown_mib": round(grown[name]),
        }
        for name, values in rates.items()
    }
    return {"answer": rates_line(rows), "rows": rows}


def gop_strides(where: Where) -> dict[str, Any]:
    """What the frames between the wanted ones cost, at a stride of 5."""
    made, decoded = {}, {}
    for store in ("h264_gop1", "h264_gop8", "hevc_gop16"):
        clips = clips_of(dataset(store, where), batch(where), stride=STRIDE)
        decoded[store] = round(float(np.mean([clip.decoded for clip in clips])), 1)
        made[store] = video_pipeline(feed_of(clips), where, batch_size=len(clips), threads=THREADS)
    return race(made, where, size=batch(where), decoded_frames_per_clip=decoded)


def sizes(size: str, where: Where) -> dict[str, Any]:
    """Rate of each codec at one size; `small_hevc` asks about HEVC of the sizes left out."""
    width, height = map(int, size.split("x"))
    made, errors = {}, {}
    for codec in CODECS:
        if codec == "hevc" and min(width, height) < LEAST_HEVC:
            continue
        try:
            made[codec] = clip_pipeline(
                media(codec, width, height, where), where, batch_size=batch(where), threads=THREADS
            )
            made[codec].run()
        except RuntimeError as error:
            errors[codec] = first_cause(error)
            made.pop(codec, None)
    if not made:
        raise RuntimeError(str(errors))
    return race(made, where, size=batch(where), ok=not errors, **errors)


def small_hevc(where: Where) -> dict[str, Any]:
    """Does the hardware decode HEVC below 160 pixels?"""
    rows = {}
    for side in (144, 128):
        (clip, *_) = media("hevc", side, side, where)
        try:
            got = pixels(clip_pipeline([clip], where, batch_size=1, threads=1))[0]
            rows[f"{side}x{side}"] = compare(got, decoded_by_pyav(clip, np.arange(FRAMES)))
        except RuntimeError as error:
            rows[f"{side}x{side}"] = {"ok": False, "error": first_cause(error)}
    answer = ", ".join(f"{name} {'decodes' if row['ok'] else row.get('error', 'WRONG')}" for name, row in rows.items())
    return {"answer": f"HEVC: {answer}", "rows": rows}


def cut(where: Where) -> dict[str, Any]:
    """What frames behind the last wanted one cost: the buffer ends with it, or 8 or 16 frames later."""
    made = {}
    for behind in (0, 8, 16):
        clips = media("hevc", 320, 240, where, frames=FRAMES + behind)
        made[f"{behind} behind"] = clip_pipeline(clips, where, batch_size=batch(where), threads=THREADS)
    return race(made, where, size=batch(where))


def jpeg(where: Where) -> dict[str, Any]:
    """Clips of 16 JPEGs of 340x256 as one flat batch, by the share that the JPEG engines get of them."""
    files = []
    for picture, _ in zip(drift(0), range(FRAMES), strict=False):
        file = io.BytesIO()
        Image.fromarray(picture).resize((340, 256)).save(file, "JPEG", quality=90)
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    loads = (0.65,) if where.rehearsal else (0.65, 0.0, 1.0)
    made = {f"load {load}": jpeg_pipeline(files * batch(where), load, where) for load in loads}
    return race(made, where, size=batch(where))


def jpeg_pipeline(pictures: Sequence[np.ndarray], load: float, where: Where) -> Pipeline:
    """Decodes the pictures again and again."""

    threads = 2 if where.rehearsal else THREADS
    how: dict[str, Any] = {"device": "cpu"} if where.rehearsal else {"device": "mixed", "hw_decoder_load": load}
    pipeline = Pipeline(batch_size=len(pictures), num_threads=threads, device_id=where.device_id)
    with pipeline:
        files = fn.external_source(lambda iteration: pictures, batch=True)
        pipeline.set_outputs(fn.decoders.image(files, **how))
    pipeline.build()
    return pipeline
