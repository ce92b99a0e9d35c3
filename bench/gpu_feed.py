"""Measure what feeding a GPU costs its host: CPU time per clip, and bytes sent. This needs no GPU."""

import statistics
import time
from typing import Any

from bench.report import markdown
from bench.scaling_model import Cluster
from dali_pipelines.decode.choose import obstacles
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import HANDED_OVER, Media, SampleSource, decoded_media
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

TRAINS_AT = Cluster.trains
ROUNDS = 3
EPOCHS = 4


def feed_costs(index: Index, task: Task) -> dict[str, Any]:
    """Measure every way in which a dataset can be handed to a GPU.

    Returns:
        `feed`, the way that the loader chooses if the GPU has decoders, and by way, median of ROUNDS alternating
        rounds: `ms_per_clip`, CPU time of one core; `kb_per_clip`, bytes / 1000 sent to the device; and
        `cores_per_gpu`, the cores needed for TRAINS_AT clips/s.
    """
    decoded = decoded_media(index, task, gpu=True)
    feed: Media = decoded if obstacles(index, gpu=True) else "encoded"
    ways = sorted({feed, decoded, "frames"})
    order = Order(len(index), 1, 0, 1, seed=0, shuffle=True)
    times: dict[str, list[float]] = {way: [] for way in ways}
    sizes: dict[str, float] = {}
    for _ in range(ROUNDS):
        for way in ways:
            steps = task.program.host_steps(gpu=True) if way == "frames" else 0
            source = SampleSource(index, task, order, way, steps=steps)
            began, bytes_sent = time.process_time(), 0
            for epoch in range(EPOCHS):
                for row in range(len(index)):
                    sample = dict(zip(source.names, source.read(epoch, row), strict=True))
                    bytes_sent += sum(sample[name].nbytes for name in ("media", *HANDED_OVER[way]))
            clips = EPOCHS * len(index)
            times[way].append(1000 * (time.process_time() - began) / clips)
            sizes[way] = bytes_sent / clips / 1000
    figures = {way: statistics.median(of_way) for way, of_way in times.items()}
    return {
        "feed": feed,
        "ways": {
            way: {
                "ms_per_clip": round(ms, 2),
                "kb_per_clip": round(sizes[way], 1),
                "cores_per_gpu": round(ms * TRAINS_AT / 1000, 1),
            }
            for way, ms in figures.items()
        },
    }


def gpu_table(stored: dict[str, dict[str, Any]]) -> str:
    """Return the figures of several stores as a Markdown table; the way that the loader chooses is bold."""
    head = ("stored as", "handed over as", "CPU ms / clip", "kB to the GPU / clip", f"cores for {TRAINS_AT} clips/s")
    rows = [
        (name, f"**{way}**" if way == costs["feed"] else way, *of_way.values())
        for name, costs in stored.items()
        for way, of_way in costs["ways"].items()
    ]
    return "\n".join(["feeding a GPU", *markdown(head, rows)])
