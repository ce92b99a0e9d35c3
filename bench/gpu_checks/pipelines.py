"""Build pipelines that only decode, and compare the rates of several things in alternating turns."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali.pipeline import Pipeline

from bench.gpu_checks import Target
from bench.gpu_checks.nvdec import utilization
from bench.meters import WARM_UP, cpu_seconds, synchronize
from dali_pipelines.decode.dali import decode
from dali_pipelines.store.mp4 import plain_mp4
from dali_pipelines.store.reader import EncodedClip

Feed = Callable[[int], tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]


def video_pipeline(feed: Feed, target: Target, *, batch_size: int, threads: int) -> Pipeline:
    """Build a decoder for the batches of `feed(iteration)`: encoded files, uint8 (bytes,), and int32 (T,) frames."""
    pipeline = Pipeline(batch_size=batch_size, num_threads=threads, device_id=target.device_id)
    with pipeline:
        media, frames = fn.external_source(feed, num_outputs=2, batch=True)
        pipeline.set_outputs(decode(media, frames, gpu=not target.rehearsal))
    pipeline.build()
    return pipeline


def constant_feed(clips: Sequence[EncodedClip]) -> Feed:
    """Return a feed with the same clips in every run."""
    batch = [plain_mp4(clip) for clip in clips], [clip.frames for clip in clips]
    return lambda iteration: batch


def clip_pipeline(clips: Sequence[np.ndarray], target: Target, *, batch_size: int, threads: int) -> Pipeline:
    """Build a decoder for frames 0 to 15 of the same clips in every run, `batch_size` per run."""
    media = [clips[place % len(clips)] for place in range(batch_size)]
    frames = [np.arange(16, dtype=np.int32)] * batch_size
    return video_pipeline(lambda iteration: (media, frames), target, batch_size=batch_size, threads=threads)


def pixels(pipeline: Pipeline) -> list[np.ndarray]:
    """Run once; return the frames of each sample on the CPU, uint8 (T, H, W, 3)."""
    (output,) = pipeline.run()
    output = output.as_cpu()
    return [np.array(output.at(place)) for place in range(len(output))]


def alternate(
    runs: Mapping[str, Callable[[], object]], target: Target, *, batch_size: int, seconds: float = 1.0
) -> dict[str, dict[str, Any]]:
    """Return the rates of runs that alternate every `seconds`, so a change of the machine's speed affects all.

    Each run makes `batch_size` clips. Returns for each: clips/s (median, slowest and fastest turn), `ratio`, the median
    over the rounds of its rate / that of the first, CPU ms per clip, the runs of all turns, and utilization in percent.
    """
    seconds, rounds = (0.05, 1) if target.rehearsal else (seconds, 2)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            turns[name].append(timed(run, target, batch_size, seconds))
    first = next(iter(turns.values()))
    return {
        name: {
            "clips_per_s": round(statistics.median(t["rate"] for t in taken), 1),
            "slowest": round(min(t["rate"] for t in taken), 1),
            "fastest": round(max(t["rate"] for t in taken), 1),
            "ratio": round(statistics.median(t["rate"] / f["rate"] for t, f in zip(taken, first, strict=True)), 3),
            "cpu_ms_per_clip": round(statistics.median(t["cpu_ms"] for t in taken), 2),
            "runs": sum(t["runs"] for t in taken),
            **taken[-1]["busy"],
        }
        for name, taken in turns.items()
    }


def timed(run: Callable[[], object], target: Target, batch_size: int, seconds: float) -> dict[str, Any]:
    """Repeat a run for `seconds`; return clips/s, runs, CPU ms per clip and utilization."""
    untimed = 1 if target.rehearsal else WARM_UP
    for _ in range(untimed):
        run()
    synchronize(target.device)
    with utilization() as busy:
        cpu, began, count = cpu_seconds(), time.perf_counter(), 0
        while not count or time.perf_counter() - began < seconds:
            run()
            count += 1
        synchronize(target.device)  # include all work of the last run
        took, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    clips = count * batch_size
    return {"rate": clips / took, "runs": untimed + count, "cpu_ms": 1000 * cpu / clips, "busy": busy}
