"""How fast clips arrive, task by task: `python bench/loader_throughput.py`.

Three rounds a task alternate between the whole loader and the same loader that only decodes the same frames, so that
their ratio holds on a noisy machine. See bench/README.md for how to read the table.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.errors import UserError, run_cli

if TYPE_CHECKING:
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks import Task

DATA = Path("runs/bench/vp9_336x256_gop8")


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loader_throughput.py", description="How fast clips arrive.")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks, each with its default plan (all)")
    parser.add_argument("--data-dir", type=Path, help=f"a prepared dataset; by default one is made in {DATA}")
    parser.add_argument("--batch-size", type=int, default=8, help="clips a batch (8)")
    parser.add_argument("--batches", type=int, default=12, help="timed batches a round, after 3 untimed ones (12)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, alternating with decode only (3)")
    parser.add_argument("--workers", type=int, default=0, help="worker processes (0)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="DALI threads (one per core)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    for name in ("batch_size", "batches", "rounds", "threads"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    import torch

    from bench.data import bench_store
    from bench.machine import machine
    from dali_pipelines.store.index import open_dataset
    from dali_pipelines.tasks import Task, task_module, task_names

    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    index = open_dataset(args.data_dir or bench_store(DATA))
    tasks = [Task(name, task_module(name).Config()) for name in args.tasks or task_names()]
    settings: dict[str, Any] = {name: getattr(args, name) for name in ("batch_size", "workers", "threads")}
    settings["device"] = device
    data = {"root": str(index.root), "videos": len(index)}
    results: dict[str, dict[str, Any]] = {}
    for task in tasks:
        result = results[task.name] = measure_task(index, task, settings, batches=args.batches, rounds=args.rounds)
        print(f"{task.name} from {index.root} ({len(index)} videos, {settings})")
        print("\n".join(f"  {name:<26}{value:>12}" for name, value in result.items()), flush=True)
        if args.json:  # after each task: an interrupted bench keeps what it has
            args.json.parent.mkdir(parents=True, exist_ok=True)
            report = {"machine": machine(), "data": data, "settings": settings, "tasks": results}
            args.json.write_text(json.dumps(report, indent=1) + "\n")


def measure_task(
    index: "Index", task: "Task", settings: dict[str, Any], *, batches: int, rounds: int
) -> dict[str, float | str]:
    """The figures of one task, from `rounds` rounds of `batches` batches."""
    from nvidia.dali.data_node import DataNode

    from dali_pipelines.loader import ClipLoader

    def decode_only(frames: DataNode, plan: dict[str, DataNode]) -> dict[str, DataNode]:
        return {"pixel": frames[:1, :1, :1]}

    whole = ClipLoader(index, task, **settings)
    decode = ClipLoader(index, task, **settings, graph=decode_only)
    began = time.perf_counter()
    next(iter(whole))
    first_batch_s = time.perf_counter() - began
    pairs = [(measure(whole, batches), measure(decode, batches)) for _ in range(rounds)]
    result = {
        **summary([times for times, _ in pairs], settings["batch_size"], task),
        "decode_only_clips_per_s": summary([times for _, times in pairs], settings["batch_size"], task)["clips_per_s"],
        "decode_ceiling_share": round(statistics.median(sum(d) / sum(w) for w, d in pairs), 3),
        "amplification": round(whole.counts.amplification, 2),
        "first_batch_s": round(first_batch_s, 2),
        "decoder": "pyav" if whole.pyav else "dali",
        **memory(settings["device"]),
    }
    whole.close()
    decode.close()
    return result


def measure(loader: "ClipLoader", batches: int) -> list[float]:
    """Seconds of each of `batches` batches, after three that are not counted: prefetched ones come at once."""
    times: list[float] = []
    while len(times) < batches + 3:
        began = time.perf_counter()
        for _ in loader:
            times.append(time.perf_counter() - began)
            began = time.perf_counter()
            if len(times) == batches + 3:
                break
    return times[3:]


def summary(rounds: list[list[float]], batch_size: int, task: "Task") -> dict[str, float]:
    """Rates of the median round, and percentiles over all batches."""
    clips_per_s = statistics.median(batch_size * len(times) / sum(times) for times in rounds)
    p50, p95 = np.percentile([1000 * t for times in rounds for t in times], [50, 95])
    return {
        "clips_per_s": round(clips_per_s, 1),
        "frames_per_s": round(clips_per_s * task.plan_schema["frames"][0][0]),
        "batch_ms_p50": round(float(p50), 1),
        "batch_ms_p95": round(float(p95), 1),
    }


def memory(device: str) -> dict[str, int]:
    """MiB held by this process and its workers, and on the GPU by everybody."""
    import psutil
    import torch

    me = psutil.Process()
    host = sum(process.memory_info().rss for process in [me, *me.children(recursive=True)])
    result = {"host_memory_mib": round(host / 2**20)}
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        result["gpu_memory_mib"] = round((total - free) / 2**20)
    return result


if __name__ == "__main__":
    run_cli(main)
