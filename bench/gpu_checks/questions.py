"""What cannot be known without a GPU: how its video and JPEG decoders behave, and what they are fastest at."""

import io
import statistics
import time
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from bench.data import drift
from bench.gpu_checks import CODECS, Where
from bench.gpu_checks.decode import compare
from bench.gpu_checks.pipelines import UNCOUNTED, by_turns, clip_pipeline, gpu_memory_mib, pixels, synchronise
from bench.gpu_checks.videos import decoded_by_pyav, encoded
from dali_pipelines.recovery import first_cause

THREADS = 14  # two for each of the seven decoders of an H100 or H200
DISTINCT = 8  # clips; a batch repeats them
SMALLEST = ((144, 144), (128, 128))


def measure(item: str, where: Where) -> dict[str, Any]:
    """One question. In a rehearsal the codec is VP9 throughout."""
    if item.startswith("codecs_"):
        return codecs(item.removeprefix("codecs_"), where)
    return {
        "session_cache": session_cache,
        "threads": threads,
        "small_hevc": small_hevc,
        "cut": cut,
        "jpeg": jpeg,
        "multi_paste": multi_paste,
    }[item](where)


def clips(codec: str, width: int, height: int, where: Where) -> list[np.ndarray]:
    count = 1 if where.rehearsal else DISTINCT
    return [encoded("vp9" if where.rehearsal else codec, width, height, seed=seed) for seed in range(count)]


def batch(where: Where) -> int:
    return 2 if where.rehearsal else 32


def pipeline_of(codec: str, width: int, height: int, where: Where, count: int = THREADS) -> Pipeline:
    return clip_pipeline(clips(codec, width, height, where), where, batch_size=batch(where), threads=count)


def session_cache(where: Where) -> dict[str, Any]:
    """Does DALI open a decoder for every clip where the coded size is not that of the picture?

    340x256 is coded as 352x256. By turns of a tenth of the runs: rate, and growth of GPU memory over all turns.
    """
    runs, most = (10, 5) if where.rehearsal else (500, 75)
    sizes = ((320, 240), (340, 256), (352, 256))
    pipelines = {
        f"{w}x{h}": clip_pipeline(clips("h264", w, h, where), where, batch_size=8, threads=8) for w, h in sizes
    }
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    grown = dict.fromkeys(pipelines, 0)
    began = time.monotonic()
    for _ in range(10):
        if time.monotonic() - began > most:
            break
        for name, pipeline in pipelines.items():
            memory = gpu_memory_mib(where)
            for _ in range(UNCOUNTED):
                pipeline.run()
            synchronise(where)
            start = time.perf_counter()
            for _ in range(runs // 10):
                pipeline.run()
            synchronise(where)
            rates[name].append(8 * (runs // 10) / (time.perf_counter() - start))
            grown[name] += gpu_memory_mib(where) - memory
    rows = {
        name: {
            "runs": (runs // 10 + UNCOUNTED) * len(values),
            "clips_per_s": round(statistics.median(values), 1),
            "slowest": round(min(values), 1),
            "fastest": round(max(values), 1),
            "first_turn": round(values[0], 1),
            "memory_grown_mib": grown[name],
        }
        for name, values in rates.items()
    }
    return {"rows": rows}


def threads(where: Where) -> dict[str, Any]:
    """Rate and utilisation by the number of decoding threads, each of which is one session of the hardware."""
    counts = (1, 2) if where.rehearsal else (4, 8, 14, 28)
    made = {f"{count} threads": pipeline_of("hevc", 320, 240, where, count) for count in counts}
    return {"rows": by_turns(made, where, batch_size=batch(where))}


def codecs(size: str, where: Where) -> dict[str, Any]:
    """Rate of each codec at one size; `small_hevc` asks about HEVC of the sizes left out."""
    width, height = map(int, size.split("x"))
    made, errors = {}, {}
    for codec in ("vp9",) if where.rehearsal else CODECS:
        if codec == "hevc" and min(width, height) < 160:
            continue
        try:
            pipeline = pipeline_of(codec, width, height, where)
            pipeline.run()
            made[codec] = pipeline
        except RuntimeError as error:
            errors[codec] = first_cause(error)
    if not made:
        raise RuntimeError(str(errors))
    return {"rows": by_turns(made, where, batch_size=batch(where)), **errors}


def small_hevc(where: Where) -> dict[str, Any]:
    """Does the hardware decode HEVC below 160 pixels?"""
    rows = {}
    for width, height in SMALLEST:
        (clip, *_) = clips("hevc", width, height, where)
        try:
            got = pixels(clip_pipeline([clip], where, batch_size=1, threads=1))[0]
            rows[f"{width}x{height}"] = compare(got, decoded_by_pyav(clip, np.arange(16)))
        except RuntimeError as error:
            rows[f"{width}x{height}"] = {"ok": False, "error": first_cause(error)}
    return {"rows": rows}


def cut(where: Where) -> dict[str, Any]:
    """What frames behind the last wanted one cost: the buffer ends with it, or 8 or 16 frames later."""
    made = {}
    for behind in (0, 8, 16):
        seeds = range(1 if where.rehearsal else DISTINCT)
        media = [encoded("vp9" if where.rehearsal else "hevc", 320, 240, frames=16 + behind, seed=s) for s in seeds]
        made[f"{behind} behind"] = clip_pipeline(media, where, batch_size=batch(where), threads=THREADS)
    return {"rows": by_turns(made, where, batch_size=batch(where))}


def jpeg(where: Where) -> dict[str, Any]:
    """Clips of 16 JPEGs of 340x256 as one flat batch, by the share that the JPEG engines get of them."""
    files = []
    for picture, _ in zip(drift(0), range(16), strict=False):
        file = io.BytesIO()
        Image.fromarray(picture).resize((340, 256)).save(file, "JPEG", quality=90)
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    pictures = files * batch(where)

    def pipeline_with(load: float) -> Pipeline:
        @pipeline_def(
            batch_size=len(pictures), num_threads=2 if where.rehearsal else THREADS, device_id=where.device_id
        )
        def pipeline() -> Any:
            media = fn.external_source(lambda iteration: pictures, batch=True)
            if where.rehearsal:
                return fn.decoders.image(media, device="cpu")
            return fn.decoders.image(media, device="mixed", hw_decoder_load=load)

        built = pipeline()
        built.build()
        return built

    made = {f"load {load}": pipeline_with(load) for load in ((0.65,) if where.rehearsal else (0.65, 0.0, 1.0))}
    return {"rows": by_turns(made, where, batch_size=batch(where))}


def multi_paste(where: Where) -> dict[str, Any]:
    """Does `multi_paste` take sequences? On the CPU backend of DALI 2.4 it fails."""
    video, ids, at = np.full((4, 32, 48, 3), 9, np.uint8), np.array([0], np.int32), np.array([[5, 7]], np.int32)

    @pipeline_def(batch_size=1, num_threads=1, device_id=where.device_id)
    def pipeline() -> Any:
        feed = ([video], [ids], [at])
        nodes = fn.external_source(lambda iteration: feed, num_outputs=3, batch=True, layout=["FHWC", "", ""])
        frames, sources, places = nodes
        frames = frames if where.rehearsal else frames.gpu()
        return fn.multi_paste(frames, in_ids=sources, output_size=[40, 60], out_anchors=places)

    try:
        built = pipeline()
        built.build()
        (got,) = pixels(built)
    except RuntimeError as error:
        return {"takes_sequences": False, "error": first_cause(error)}
    wanted = np.zeros((4, 40, 60, 3), np.uint8)
    wanted[:, 5:37, 7:55] = 9
    return {"takes_sequences": bool(np.array_equal(got, wanted)), "shape": str(got.shape)}
