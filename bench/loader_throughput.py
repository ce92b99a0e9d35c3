"""How fast clips arrive, task by task: `python bench/loader_throughput.py`.

Rounds of the whole loader alternate with rounds of two ceilings, decoding alone and augmenting alone, and with
--peers with rounds of other loaders, so that ratios hold on a noisy machine. See bench/README.md for how to read it.
"""

import argparse
import json
import os
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import UserError, run_cli

if TYPE_CHECKING:
    from bench.meters import Round
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks import Task

READ = 64  # clips whose bytes are counted


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loader_throughput.py", description="How fast clips arrive.")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks, each with its default plan (all)")
    parser.add_argument("--data-dir", type=Path, help="a prepared dataset; by default one is made in runs/bench")
    parser.add_argument("--batch-size", type=int, default=8, help="clips a batch (8)")
    parser.add_argument("--batches", type=int, default=12, help="timed batches a round, after 6 untimed ones (12)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, alternating with the ceilings and peers (5)")
    parser.add_argument(
        "--workers", type=int, help="worker processes; by default as many as are fastest in a short try"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="DALI threads (one per core)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--codec", help="of the videos that are made: mjpeg by default, on a GPU h264")
    parser.add_argument(
        "--gop", type=int, help="their frames from key frame to key frame; by default as prepare has it"
    )
    parser.add_argument("--short-side", type=int, help="their shorter side, likewise; 0 is all that the sources have")
    parser.add_argument("--peers", action="store_true", help="measure other loaders on the same clips too")
    parser.add_argument("--source-gop", type=int, default=250, help="GOP of the H.264 files that peers read (250)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, and a .png beside it")
    args = parser.parse_args(argv)
    for name in ("batch_size", "batches", "rounds", "threads", "source_gop"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
    if args.data_dir:
        for name in ("peers", "codec", "gop", "short_side"):
            if getattr(args, name) != parser.get_default(name):
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} is for videos that the bench makes: leave it or --data-dir out")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    import torch

    from bench.data import dataset
    from bench.loader_report import plot, table
    from bench.machine import machine
    from dali_pipelines.store.files import replacing
    from dali_pipelines.tasks import Task, task_module
    from nets.tasks import pretext_tasks

    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    tasks = [Task(name, task_module(name).Config()) for name in args.tasks or [*pretext_tasks(), "recognition"]]
    settings: dict[str, Any] = {name: getattr(args, name) for name in ("batch_size", "workers", "threads")}
    settings["device"] = device
    index, data = dataset(args, device)
    results: dict[str, dict[str, Any]] = {}
    for task in tasks:
        how = {"batches": args.batches, "rounds": args.rounds, "beside": args.peers}
        results[task.name] = measure_task(index, task, settings, **how)
        print(f"{task.name}: {results[task.name]['clips_per_s']} clips/s", flush=True)
        if args.json:  # after each task: an interrupted bench keeps what it has
            report = {"machine": machine(), "data": data, "settings": settings, "tasks": results}
            with replacing(args.json) as part:
                part.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nfrom {index.root} ({len(index)} videos, {settings})\n\n{table(results)}")
    if args.json:
        plot(results, f"{machine()['gpu'] or machine()['cpu']}, {device}", args.json.with_suffix(".png"))


def measure_task(
    index: "Index", task: "Task", settings: dict[str, Any], *, batches: int, rounds: int, beside: bool = False
) -> dict[str, Any]:
    """The figures of one task, from `rounds` rounds of `batches` batches of everything that is compared.

    beside: measure the peers too, where they can make the task's views.
    """
    from bench.ceilings import DecodeTask, augment_only, decode_only
    from bench.meters import WARM_UP, measure
    from bench.peers.rounds import TRIED, Peers, best_workers, worker_counts
    from dali_pipelines.loader import ClipLoader
    from trainers.loop import endless

    batch_size, device, counts = settings["batch_size"], settings["device"], worker_counts(os.cpu_count() or 1)

    def rate(workers: int, batches: int) -> float:
        with closing(ClipLoader(index, task, **settings | {"workers": workers})) as loader:
            one = measure(endless(loader), batches, device=device, warm_up=WARM_UP + workers // batch_size)
            return round(batch_size * one.rate, 1)

    tried: dict[int, float] = {}
    if settings["workers"] is None:
        best, tried = best_workers(counts, rate, (TRIED,))  # to start it takes longer than to try
        settings = settings | {"workers": best}
    whole = ClipLoader(index, task, **settings)
    decode = ClipLoader(index, DecodeTask(task.name, task.cfg), **settings, graph=decode_only)
    peers = Peers(whole, batches=batches, device=device, counts=counts) if beside and task.cuts else None
    runs = {"": endless(whole), "decode_only_": endless(decode)}
    held = {"batch_size": batch_size, "device": device, "threads": settings["threads"]}
    runs["augment_only_"] = augment_only(index, task, **held, cut=whole.media == "frames")
    began = time.perf_counter()
    next(runs[""])
    first_batch_s = time.perf_counter() - began
    done: dict[str, list[Round]] = {name: [] for name in runs}
    warm_up = WARM_UP + settings["workers"] // batch_size
    with closing(whole), closing(decode):
        for _ in range(rounds):
            start = whole.step
            for name, arriving in runs.items():
                done[name].append(measure(arriving, batches, device=device, warm_up=warm_up))
            if peers:
                peers.round(start)
        return {
            **figures(done, batch_size, task),
            "amplification": round(whole.counts.amplification, 2),
            "read_kib_per_clip": read_kib(whole),
            "first_batch_s": round(first_batch_s, 2),
            "decoder": whole.decoder,
            "workers": settings["workers"],
            "tried_workers": tried,
            **(peers.figures(done[""]) if peers else {"peers": "not measured"}),
        }


def figures(done: dict[str, list["Round"]], batch_size: int, task: "Task") -> dict[str, Any]:
    """Rates of the whole ("") and of its ceilings, the shares in them, and what the whole costs."""
    from bench.meters import slope, spread, times_ms

    result: dict[str, Any] = {}
    for name, rounds in done.items():
        rates = [batch_size * one.rate for one in rounds]
        result[f"{name}clips_per_s"] = round(statistics.median(rates), 1)
        result[f"{name}clips_per_s_quartiles"] = spread(rates)
    for name in ("decode", "augment"):
        shares = [mine.rate / other.rate for mine, other in zip(done[""], done[f"{name}_only_"], strict=True)]
        result[f"{name}_ceiling_share"] = round(statistics.median(shares), 3)
        result[f"{name}_ceiling_share_quartiles"] = spread(shares, 3)
    whole = done[""]
    clips = batch_size * sum(len(one.seconds) for one in whole)
    result |= {
        "frames_per_s": round(result["clips_per_s"] * task.plan_schema["frames"][0][0]),
        **times_ms(whole),
        "cpu_s_per_1000_clips": round(1000 * sum(one.cpu_s for one in whole) / clips, 1),
    }
    for kind in ("host", "gpu"):
        samples = [getattr(one, f"{kind}_mib") for one in whole]
        if samples[-1]:
            growth = slope(samples)
            result[f"{kind}_memory_mib"] = round(max(mib for each in samples for _, mib in each))
            result[f"{kind}_memory_mib_per_1000_batches"] = None if growth is None else round(growth, 1)
    return result


def read_kib(loader: "ClipLoader") -> float:
    """KiB that a clip takes from the disk, the mean over the first clips of the schedule; from the index alone."""
    from dali_pipelines.plan.rng import Stream, generator
    from dali_pipelines.store.reader import read_clip

    index, order, sizes = loader.index, loader.order, []
    for place in range(READ):
        epoch, step = order.at(place // order.batch_size)
        row = order.row(epoch, step, place % order.batch_size)
        plan = loader.task.plan(index.info(row), generator(order.seed, Stream.SAMPLE, epoch, row))
        sizes.append(read_clip(index, row, plan["frames"]).data.nbytes)
    return round(statistics.fmean(sizes) / 1024, 1)


if __name__ == "__main__":
    run_cli(main)
