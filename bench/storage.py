"""How should videos be stored for this machine? `python bench/storage.py [SRC ...]`

Prepares the same videos in every codec, GOP and size, and as they are; counts bytes and the frames that a decoder has
to go through, and measures how fast a task's clips arrive. See bench/README.md for the rule behind the advice.
Heavy imports stand inside functions: each of the loader's workers imports this file once more.
"""

import argparse
import statistics
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.options import require_positive
from bench.report import in_words, markdown, median_range
from configs.errors import run_cli
from dali_pipelines import limits

if TYPE_CHECKING:
    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks import Task


@dataclass(frozen=True)
class Setting:
    """A way to store videos; `copy` and `original` keep the GOP and the size."""

    codec: str
    gop: int | None = None
    side: int | None = None
    """The requested short side; HEVC has a minimum."""

    @property
    def options(self) -> list[str]:
        """Return the options of `prepare`."""
        from dali_pipelines.store.nvdec import NVDEC_LEAST

        if self.side is None:
            return ["--codec", self.codec]
        side = max(self.side, *NVDEC_LEAST["hevc"]) if self.codec == "hevc" else self.side
        return ["--codec", self.codec, "--gop", str(self.gop), "--short-side", str(side)]

    def __str__(self) -> str:
        return " ".join(self.options)


ORIGINAL = Setting("original")


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storage.py", description="How should videos be stored for this machine?")
    codecs = ["h264", "mjpeg", "rawvideo", "vp9", "hevc"]
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="some of your videos (8 made-up ones)")
    parser.add_argument("--codecs", nargs="+", default=codecs, choices=codecs, help=f"({' '.join(codecs)})")
    parser.add_argument("--gops", nargs="+", type=int, default=[1, 8], help="frames (1 8); mjpeg and rawvideo have 1")
    parser.add_argument("--short-sides", nargs="+", type=int, default=[144, 256], help="pixels (144 256)")
    parser.add_argument("--task", default="recognition", help="whose clips are timed (recognition)")
    parser.add_argument("--disk-factor", type=float, default=4.0, help="bearable size, in those of the smallest (4)")
    parser.add_argument("--batch-size", type=int, default=8, help="clips a batch (8)")
    parser.add_argument("--batches", type=int, default=8, help="timed batches a round (8)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all settings (3)")
    cores = limits.cores()
    parser.add_argument(
        "--workers", type=int, default=cores, help="worker processes: PyAV decodes there (one per core)"
    )
    parser.add_argument("--threads", type=int, default=cores, help="DALI threads (one per core)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench/storage"), help="what is stored stays there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    require_positive(args, "disk_factor", "batch_size", "batches", "rounds", "threads")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    import torch

    from bench.data import default_task
    from bench.gpu_feed import feed_costs, gpu_table
    from bench.machine import save_json
    from bench.storage_data import costs, store_all_ways, synthetic_videos
    from dali_pipelines.datasets.open import Dataset
    from dali_pipelines.store.encode import KEY_FRAMES_ONLY
    from nets.tasks import pretext_tasks

    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    settings = {name: getattr(args, name) for name in ("batch_size", "workers", "threads")} | {"device": device}
    tasks = {name: default_task(name) for name in [*pretext_tasks(), args.task]}
    gops = {codec: [1] if codec in KEY_FRAMES_ONLY else args.gops for codec in args.codecs}
    ways = [Setting(codec, gop, side) for side in args.short_sides for codec in args.codecs for gop in gops[codec]]
    sources = args.sources or [synthetic_videos(args.work_dir / "made_up")]
    commands = {way: (sources, way.options) for way in [*ways, Setting("copy"), ORIGINAL]}
    indices, notes = store_all_ways(commands, args.work_dir)
    print(*notes, sep="\n")
    timed = {way: Dataset(index).long_enough(tasks[args.task]).index for way, index in indices.items()}
    figures = {way: costs(index, list(tasks.values())) for way, index in indices.items()}
    feeds = {str(way): feed_costs(index, tasks[args.task]) for way, index in timed.items()}
    rates: dict[Setting, list[float]] = {way: [] for way in indices}
    for _ in range(args.rounds):
        for way, videos in timed.items():
            rate, decoder = measure(videos, tasks[args.task], settings, args.batches)
            rates[way].append(rate)
            figures[way] |= {"decoder": decoder, "clips_per_s": median_range(rates[way])}
        advice = {str(side): advise(side, figures, rates, args.disk_factor) for side in args.short_sides}
        save_json(  # after each round: an interrupted bench keeps what it has
            args.json,
            settings=settings | {"task": args.task, "videos": len(videos), "sources": [*map(str, sources)]},
            notes=notes,
            stored={str(way): of_way for way, of_way in figures.items()},
            feeding_a_gpu=feeds,
            advice=advice,
        )
    print(table(figures, rates, args.task))
    print(gpu_table(feeds))
    print("\n".join(advice.values()))


def measure(index: "Index", task: "Task", settings: Mapping[str, Any], batches: int) -> tuple[float, str]:
    """Return clips/s of one round and the decoder; the loader ends with the round, so that none prefetches later."""
    from bench import meters
    from dali_pipelines.loader import ClipLoader
    from trainers.engine.loop import endless

    copies = -(-settings["batch_size"] // len(index))  # an epoch of few videos holds one batch at least
    loader = ClipLoader(index.repeat([copies] * len(index)), task, **settings)
    with closing(loader):
        rate = meters.measure(endless(loader), batches, device=settings["device"]).rate
    return settings["batch_size"] * rate, loader.decoder


def advise(
    side: int, figures: Mapping[Setting, Mapping[str, Any]], rates: Mapping[Setting, list[float]], disk_factor: float
) -> str:
    """Return the advice for a short side: the fastest in the disk budget, of equally fast ones the smallest."""

    def size(way: Setting) -> float:
        return float(figures[way]["kb_per_video"])

    ways = [way for way in figures if way.side == side]
    if not ways:
        return f"short side {side}: none of the settings stores these videos"
    smallest = min(ways, key=size)
    affordable = [way for way in ways if size(way) <= disk_factor * size(smallest)]
    fastest = max(affordable, key=lambda way: statistics.median(rates[way]))
    # Faster in one round than the fastest of all: the difference is within the noise.
    equal = [way for way in affordable if any(a >= b for a, b in zip(rates[way], rates[fastest], strict=True))]
    chosen = min(equal, key=size)
    why = f"{size(chosen) / size(smallest):.2f} times the bytes of the smallest ({smallest})"
    if chosen is not fastest:
        why += f", as fast as {fastest} within the noise"
    if ORIGINAL in rates:
        lead = statistics.median(a / b for a, b in zip(rates[chosen], rates[ORIGINAL], strict=True))
        why += f", {lead:.2f} times the clips/s of the original files"
    return f"short side {side}: clipfeed prepare SRC --out DIR {chosen}\n    {why}"


def table(figures: Mapping[Setting, Mapping[str, Any]], rates: Mapping[Setting, list[float]], task: str) -> str:
    """Return the figures as a Markdown table."""
    head = ("stored as", "size", "kB / video", "kB / clip", "amplification", "decoder", "clips/s", "/ original")
    rows = []
    for way, of_way in figures.items():
        clip = of_way["tasks"][task]
        lead = [a / b for a, b in zip(rates[way], rates.get(ORIGINAL, []), strict=False)]
        rows.append(
            (
                str(way).replace("--", ""),
                of_way["first_size"],
                f"{of_way['kb_per_video']:.0f}",
                f"{clip['kb_per_clip']:.0f}",
                f"{clip['amplification']:.2f}",
                of_way["decoder"],
                in_words(of_way["clips_per_s"], 0),
                f"{statistics.median(lead):.2f}" if lead else "",
            )
        )
    return "\n".join([f"clips of {task}", *markdown(head, rows)])


if __name__ == "__main__":
    run_cli(main)
