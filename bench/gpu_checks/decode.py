"""Measure how fast the stores decode, by codec and threads, and decode one batch a thousand times."""

import time
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from bench.gpu_checks import Target
from bench.gpu_checks.compare import compare
from bench.gpu_checks.pipelines import alternate, constant_feed, pixels, video_pipeline
from bench.gpu_checks.videos import chosen_store, dataset
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import EncodedClip, read_clip

FRAMES = 16
THREADS = (4, 7, 14, 28)  # H100 and H200 have seven decoders
BATCH = 56  # a multiple of each
REPEATS, LIMIT_S = 1000, 25


def measure(item: str, target: Target) -> dict[str, Any]:
    """Measure the rates of one store, or repeat one batch."""
    return repeat(target) if item == "repeat" else rates(item, target)


def clips_of(index: Index, count: int, *, stride: int = 1) -> list[EncodedClip]:
    """Return clips at random places, as the loader reads them."""
    rng = np.random.default_rng(0)
    clips = []
    for place in range(count):
        row = place % len(index)
        start = rng.integers(int(index.num_frames[row]) - stride * (FRAMES - 1))
        clips.append(read_clip(index, row, start + stride * np.arange(FRAMES)))
    return clips


def rates(store: str, target: Target) -> dict[str, Any]:
    """Measure clips/s and utilization by the number of threads; each is one hardware session."""
    batch, counts = (4, (1, 2)) if target.rehearsal else (BATCH, THREADS)
    clips = clips_of(dataset(store, target), batch)
    decoded = float(np.mean([clip.decoded for clip in clips]))
    feed = constant_feed(clips)
    runs = {f"{n} threads": video_pipeline(feed, target, batch_size=batch, threads=n).run for n in counts}
    rows = alternate(runs, target, batch_size=batch)
    texts = [f"{row['clips_per_s']:,.0f} ({row.get('decoder_percent', '?')} %)" for row in rows.values()]
    answer = f"clips/s (decoders busy) at {', '.join(map(str, counts))} threads: {', '.join(texts)}"
    return {
        "answer": f"{answer}; {decoded:.0f} frames decoded for {FRAMES}",
        "decoded_frames_per_clip": round(decoded, 1),
        "rows": rows,
    }


def repeat(target: Target) -> dict[str, Any]:
    """Decode one batch repeatedly: memory that is freed too early would show as other pixels."""
    repeats, batch = (10, 2) if target.rehearsal else (REPEATS, 8)
    store, index = chosen_store(target)
    clips = clips_of(index, batch)
    pipeline = video_pipeline(constant_feed(clips), target, batch_size=batch, threads=batch)
    right = all(compare(got, decode_rgb(clip))["ok"] for got, clip in zip(pixels(pipeline), clips, strict=True))
    first: torch.Tensor | None = None
    same: list[bool] = []
    began = time.monotonic()
    while len(same) < repeats and time.monotonic() - began < LIMIT_S:
        (output,) = pipeline.run()
        frames = from_dlpack(output.as_tensor())
        first = frames.clone() if first is None else first
        same.append(torch.equal(frames, first))
    answer = f"{sum(same)} of {len(same)} batches of {store} are the same to the bit, "
    answer += "and right" if right else "and WRONG from the first on"
    return {"ok": right and all(same), "answer": answer}
