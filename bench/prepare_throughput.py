"""How fast does `prepare` store videos? `python bench/prepare_throughput.py [SRC ...]`

In ten-second clips per second and core, at the size of the sources and at `prepare`'s default short side.
Heavy imports are inside functions: each worker of `prepare` imports this file once more.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import run_cli
from configs.options import whole_number
from configs.schema import MOST_WORKERS
from dali_pipelines import limits

FLOOR = 17.5 / 128
"""NeMo Curator's nightly check: at least 17.5 ten-second clips/s on 128 CPUs, for transcoding alone, on Ray Data
(benchmarking/nightly-benchmark.yaml). It does not state their size."""
SECONDS, SIZE = 10, "640x360"  # of made-up videos
SIZES = {"source": 1 << 14, "ours": None}
"""Stored size -> short side, never scaled up; None is `prepare`'s default."""


class Rate(NamedTuple):
    """Ten-second clips per second and core, CPU seconds per such clip, and the stored size of the first video."""

    clips_per_s_core: float
    cpu_s_per_clip: float
    stored_size: tuple[int, int]


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench.data import DATA
    from bench.machine import save_json
    from bench.report import in_words, markdown, median_range

    sources = args.sources or [made_up(DATA / "prepare", SIZE, 8 * limits.cores())]
    rates: dict[str, list[Rate]] = {name: [] for name in SIZES}
    figures: dict[str, Any] = {}
    for _ in range(args.rounds):
        for name, side in SIZES.items():
            rates[name].append(measure(sources, args.codec, side, args.workers))
            figures[name] = {
                "stored_size": rates[name][0].stored_size,
                "clips_per_s_core": median_range([rate.clips_per_s_core for rate in rates[name]], 3),
                "cpu_s_per_clip": median_range([rate.cpu_s_per_clip for rate in rates[name]], 3),
            }
        settings = {"sources": [*map(str, sources)], "codec": args.codec, "workers": args.workers}
        save_json(args.json, settings=settings, floor_clips_per_s_core=round(FLOOR, 3), stored=figures)
    head = ("stored", "size", "ten-second clips / s / core", f"/ floor of {FLOOR:.2f}", "CPU s / clip")
    rows = []
    for name, of in figures.items():
        speed, cost = of["clips_per_s_core"], of["cpu_s_per_clip"]
        size, lead = "{}x{}".format(*of["stored_size"]), f"{speed['median'] / FLOOR:.1f}"
        rows.append((name, size, in_words(speed, 2), lead, f"{cost['median']:.2f}"))
    print("\n".join(markdown(head, rows)))


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prepare_throughput.py", description="How fast does prepare store videos?")
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="some of your videos (made-up ones)")
    parser.add_argument("--codec", default="h264", help="what is stored (h264)")
    workers = whole_number(1, MOST_WORKERS)
    parser.add_argument("--workers", type=workers, default=limits.cores(), help="processes (one a core)")
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="rounds over both sizes (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def made_up(folder: Path, size: str, videos: int) -> Path:
    """Return a folder of videos like downloads: ten seconds of H.264, 30 frames/s, a noisy zoom into a fractal."""
    import imageio_ffmpeg

    from dali_pipelines.store.files import replacing

    folder = folder / f"{size}_{videos}"
    for number in range(videos):
        path = folder / f"video{number:03d}.mp4"
        if path.is_file():
            continue
        picture = f"mandelbrot=size={size}:rate=30:start_scale={3 / (1 + number)},noise=alls=8:allf=t:all_seed={number}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", picture]
        encoder = ["-t", str(SECONDS), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4"]
        with replacing(path) as temporary:
            subprocess.run([*command, *encoder, str(temporary)], check=True)
    return folder


def measure(sources: list[Path], codec: str, side: int | None, workers: int) -> Rate:
    """Prepare the sources once, into a temporary folder; the time includes starting the workers."""
    import resource
    import time

    from dali_pipelines import prepare
    from dali_pipelines.store.index import Index

    with tempfile.TemporaryDirectory() as out:
        words = ["--codec", codec, "--labels", "none", "--workers", str(workers)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        prepare.main([*map(str, sources), "--out", out, *words, *(["--short-side", str(side)] if side else [])])
        wall = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        index = Index.load(out)
        clips = float((index.num_frames / index.fps).sum()) / SECONDS
        size = index.info(0).width, index.info(0).height
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Rate(clips / wall / workers, cpu / clips, size)


if __name__ == "__main__":
    run_cli(main)
