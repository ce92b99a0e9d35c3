"""How should videos be stored for this machine? `python bench/storage.py [SRC ...]`

Prepares the same videos in every codec, GOP and size, and unchanged; counts bytes and the frames that a decoder has
to decode, and measures how fast a task's clips arrive. See bench/README.md for the rule behind the advice.
Heavy imports are inside functions: each worker of the loader imports this file once more.
"""

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.options import add_rounds, loader_settings, require_positive
from bench.report import lead
from configs.errors import run_cli
from dali_pipelines import limits


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
        from dali_pipelines.store.nvdec import NVDEC_MIN

        if self.side is None:
            return ["--codec", self.codec]
        side = max(self.side, *NVDEC_MIN["hevc"]) if self.codec == "hevc" else self.side
        return ["--codec", self.codec, "--gop", str(self.gop), "--short-side", str(side)]

    def __str__(self) -> str:
        return " ".join(self.options)


ORIGINAL = Setting("original")


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storage.py", description="How should videos be stored for this machine?")
    codecs, cores = ["h264", "mjpeg", "rawvideo", "vp9", "hevc"], limits.cores()
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="some of your videos (8 made-up ones)")
    parser.add_argument("--task", default="recognition", help="whose clips are timed (recognition)")
    parser.add_argument("--workers", type=int, default=cores, help="worker processes; 0 is none (one per core)")
    parser.add_argument("--threads", type=int, default=cores, help="DALI threads (one per core)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench/storage"), help="where it stores them")
    add_rounds(parser, batches=8, rounds=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--codecs", nargs="+", default=codecs, choices=codecs, help=f"({' '.join(codecs)})")
    parser.add_argument("--gops", nargs="+", type=int, default=[1, 8], help="frames (1 8); mjpeg and rawvideo have 1")
    parser.add_argument("--short-sides", nargs="+", type=int, default=[144, 256], help="pixels (144 256)")
    parser.add_argument(
        "--disk-factor", type=float, default=4.0, help="largest to advise, in sizes of the smallest (4)"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args(argv)
    require_positive(args, "disk_factor", "batch_size", "batches", "rounds", "threads")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench.data import default_task
    from bench.gpu_feed import feed_costs, gpu_table
    from bench.machine import save_json
    from bench.storage_data import costs, rounds, store_all_ways, synthetic_videos, table
    from dali_pipelines.datasets.open import Dataset
    from dali_pipelines.store.encode import KEY_FRAMES_ONLY
    from nets.tasks import pretext_tasks

    settings = loader_settings(args)
    tasks = {name: default_task(name) for name in [*pretext_tasks(), args.task]}
    gops = {codec: [1] if codec in KEY_FRAMES_ONLY else args.gops for codec in args.codecs}
    ways = [Setting(codec, gop, side) for side in args.short_sides for codec in args.codecs for gop in gops[codec]]
    sources = args.sources or [synthetic_videos(args.work_dir / "made_up")]
    options = {way: way.options for way in [*ways, Setting("copy"), ORIGINAL]}
    indices, notes = store_all_ways(sources, options, args.work_dir)
    print(*notes, sep="\n")
    timed = {way: Dataset(index).long_enough(tasks[args.task]).index for way, index in indices.items()}
    figures = {way: costs(index, list(tasks.values())) for way, index in indices.items()}
    feeds = {str(way): feed_costs(index, tasks[args.task]) for way, index in timed.items()}
    videos = len(next(iter(timed.values())))
    for rates in rounds(timed, tasks[args.task], settings, figures, rounds=args.rounds, batches=args.batches):
        advice = {str(side): advise(side, figures, rates, args.disk_factor) for side in args.short_sides}
        save_json(  # after each round: an interrupted bench keeps its results
            args.json,
            settings=settings | {"task": args.task, "videos": videos, "sources": [*map(str, sources)]},
            notes=notes,
            stored={str(way): of_way for way, of_way in figures.items()},
            feeding_a_gpu=feeds,
            advice=advice,
        )
    print(table(figures, rates, args.task, base=ORIGINAL))
    print(gpu_table(feeds))
    print("\n".join(advice.values()))


def advise(
    side: int, figures: Mapping[Setting, Mapping[str, Any]], rates: Mapping[Setting, list[float]], disk_factor: float
) -> str:
    """Return the advice for a short side: the fastest setting in the disk budget, the smallest if several tie."""

    def size(way: Setting) -> float:
        return float(figures[way]["kb_per_video"])

    ways = [way for way in figures if way.side == side]
    if not ways:
        return f"short side {side}: none of the settings stores these videos"
    smallest = min(ways, key=size)
    affordable = [way for way in ways if size(way) <= disk_factor * size(smallest)]
    fastest = max(affordable, key=lambda way: statistics.median(rates[way]))
    # Those that beat the fastest in some round differ from it only by noise.
    equal = [way for way in affordable if any(a >= b for a, b in zip(rates[way], rates[fastest], strict=True))]
    chosen = min(equal, key=size)
    why = f"{size(chosen) / size(smallest):.2f} times the bytes of the smallest ({smallest})"
    if chosen is not fastest:
        why += f", as fast as {fastest} within the noise"
    if ORIGINAL in rates:
        why += f", {lead(rates, chosen, ORIGINAL):.2f} times the clips/s of the original files"
    return f"short side {side}: clipfeed prepare SRC --out DIR {chosen}\n    {why}"


if __name__ == "__main__":
    run_cli(main)
