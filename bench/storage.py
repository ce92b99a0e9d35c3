"""How should videos be stored for this machine? `python bench/storage.py [SRC ...]`

Prepares the same videos in every codec, GOP and size, and unchanged; counts bytes and the frames that a decoder has
to decode, and measures how fast a task's clips arrive. See bench/README.md for the rule behind the advice.
Heavy imports are inside functions: each worker of the loader imports this file once more.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bench.options import add_rounds, loader_settings
from bench.report import lead
from configs.errors import run_cli
from configs.options import number, whole_number
from configs.schema import MOST_WORKERS
from dali_pipelines import limits

ORIGINAL = "--codec original"


def stored_as(codec: str, gop: int, side: int) -> str:
    """Return the options of `prepare` for a codec, a GOP and a requested short side; HEVC has a minimum."""
    from dali_pipelines.store.nvdec import NVDEC_MIN

    return f"--codec {codec} --gop {gop} --short-side {max(side, *NVDEC_MIN['hevc']) if codec == 'hevc' else side}"


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storage.py", description="How should videos be stored for this machine?")
    codecs, cores = ["h264", "mjpeg", "rawvideo", "vp9", "hevc"], limits.cores()
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="some of your videos (8 made-up ones)")
    parser.add_argument("--task", default="recognition", help="whose clips are timed (recognition)")
    workers, threads = whole_number(0, MOST_WORKERS), whole_number(1, MOST_WORKERS)
    parser.add_argument("--workers", type=workers, default=cores, help="worker processes; 0 is none (one per core)")
    parser.add_argument("--threads", type=threads, default=cores, help="DALI threads (one per core)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench/storage"), help="where it stores them")
    add_rounds(parser, batches=8, rounds=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--codecs", nargs="+", default=codecs, choices=codecs, help=f"({' '.join(codecs)})")
    gops = "frames (1 8); mjpeg and rawvideo have 1"
    parser.add_argument("--gops", nargs="+", type=whole_number(1), default=[1, 8], help=gops)
    parser.add_argument("--short-sides", nargs="+", type=whole_number(1), default=[144, 256], help="pixels (144 256)")
    parser.add_argument(
        "--disk-factor", type=number(1), default=4.0, help="largest to advise, in sizes of the smallest (4)"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench.data import default_task
    from bench.gpu_feed import feed_costs, gpu_table
    from bench.machine import save_json
    from bench.storage_data import costs, rounds, store_all_ways, synthetic_videos, table
    from dali_pipelines.datasets.dataset import Dataset
    from dali_pipelines.store.encode import KEY_FRAMES_ONLY
    from nets.tasks import pretext_tasks

    settings = loader_settings(args)
    tasks = {name: default_task(name) for name in [*pretext_tasks(), args.task]}
    gops = {codec: [1] if codec in KEY_FRAMES_ONLY else args.gops for codec in args.codecs}
    of_sides = {
        side: [stored_as(codec, gop, side) for codec in args.codecs for gop in gops[codec]] for side in args.short_sides
    }
    sources = args.sources or [synthetic_videos(args.work_dir / "made_up")]
    ways = [*chain(*of_sides.values()), "--codec copy", ORIGINAL]
    indices, notes = store_all_ways(sources, ways, args.work_dir)
    print(*notes, sep="\n")
    timed = {way: Dataset(index).long_enough(tasks[args.task]).index for way, index in indices.items()}
    figures = {way: costs(index, list(tasks.values())) for way, index in indices.items()}
    feeds = {way: feed_costs(index, tasks[args.task]) for way, index in timed.items()}
    videos = len(next(iter(timed.values())))
    for rates in rounds(timed, tasks[args.task], settings, figures, rounds=args.rounds, batches=args.batches):
        advice = {str(side): advise(side, ways, figures, rates, args.disk_factor) for side, ways in of_sides.items()}
        save_json(  # after each round: an interrupted bench keeps its results
            args.json,
            settings=settings | {"task": args.task, "videos": videos, "sources": [*map(str, sources)]},
            notes=notes,
            stored=figures,
            feeding_a_gpu=feeds,
            advice=advice,
        )
    print(table(figures, rates, args.task, base=ORIGINAL))
    print(gpu_table(feeds))
    print("\n".join(advice.values()))


def advise(
    side: int,
    ways: Sequence[str],
    figures: Mapping[str, Mapping[str, Any]],
    rates: Mapping[str, list[float]],
    disk_factor: float,
) -> str:
    """Return the advice for a short side: the fastest way in the disk budget, the smallest if several tie."""

    def size(way: str) -> float:
        return float(figures[way]["kb_per_video"])

    ways = [way for way in ways if way in figures]
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
