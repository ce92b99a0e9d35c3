"""How fast the stores decode, by codec and threads, and whether one batch stays the same a thousand times."""

import time
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from bench.gpu_checks import Where
from bench.gpu_checks.compare import compare
from bench.gpu_checks.pipelines import alternate, feed_of, pixels, video_pipeline
from bench.gpu_checks.videos import dataset, working
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import EncodedClip, read_clip

FRAMES = 16
THREADS = (4, 7, 14, 28)  # H100 and H200 have seven decoders
BATCH = 56  # a multiple of each
REPEATS, LIMIT_S = 1000, 25


def measure(item: str, where: Where) -> dict[str, Any]:
    """The rates of one store, or the repeated batch."""
    return repeat(where) if item == "repeat" else rates(item, where)


def clips_of(index: Index, count: int, *, stride: int = 1) -> list[EncodedClip]:
    """Clips at random places, as the loader reads them."""
    rng = np.random.default_rng(0)
    taken = []
    for place in range(count):
        row = place % len(index)
        start = rng.integers(int(index.num_frames[row]) - stride * (FRAMES - 1))
        taken.append(read_clip(index, row, start + stride * np.arange(FRAMES)))
    return taken


def rates(store: str, where: Where) -> dict[str, Any]:
    """Clips/s and utilization by the number of threads, each of which is one session of the hardware."""
    batch, counts = (4, (1, 2)) if where.rehearsal else (BATCH, THREADS)
    clips = clips_of(dataset(store, where), batch)
    decoded = float(np.mean([clip.decoded for clip in clips]))
    made = {count: video_pipeline(feed_of(clips), where, batch_size=batch, threads=count) for count in counts}
    rows = alternate({f"{count} threads": made[count].run for count in counts}, where, batch_size=batch)
    texts = [f"{row['clips_per_s']:,.0f} ({row.get('decoder_percent', '?')} %)" for row in rows.values()]
    answer = f"clips/s (decoders busy) at {', '.join(map(str, counts))} threads: {', '.join(texts)}"
    return {
        "answer": f"{answer}; {decoded:.0f} frames decoded for {FRAMES}",
        "decoded_frames_per_clip": round(decoded, 1),
        "rows": rows,
    }


def repeat(where: Where) -> dict[str, Any]:
    """One batch again and again: memory that a decoder freed too early would show as other pixels."""
    repeats, batch = (10, 2) if where.rehearsal else (REPEATS, 8)
    store, index = working(where)
    clips = clips_of(index, batch)
    pipeline = video_pipeline(feed_of(clips), where, batch_size=batch, threads=batch)
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
