"""How fast clips arrive, task by task: `python bench/loader_throughput.py`.

Rounds of the whole loader alternate with rounds of its ceilings on each store, and with --peers, with rounds of other
loaders, so ratios hold on a noisy machine. See bench/README.md for how to read it.
Heavy imports are inside `main`: each worker of the loader imports this file once more.
"""

import argparse
from pathlib import Path
from typing import Any

from bench.options import add_rounds, loader_settings
from configs.errors import UserError, run_cli
from configs.options import whole_number
from configs.schema import MOST_WORKERS
from dali_pipelines import limits
from dali_pipelines.store.encoders import ENCODERS


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loader_throughput.py", description="How fast clips arrive.")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks, each with its default plan (all)")
    parser.add_argument("--data-dir", help="folder or URL of a prepared dataset; by default one is made in runs/bench")
    add_rounds(parser, batches=12, rounds=5)
    cores, workers, threads = limits.cores(), whole_number(0, MOST_WORKERS), whole_number(1, MOST_WORKERS)
    parser.add_argument(
        "--workers", type=workers, help="worker processes; by default as many as are fastest in a short try"
    )
    parser.add_argument("--threads", type=threads, default=cores, help="DALI threads (one per core)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--codec",
        nargs="+",
        default=["h264"],
        choices=ENCODERS,
        help="of the videos that are made, as prepare makes them; several are compared in one run (h264)",
    )
    parser.add_argument(
        "--peers", nargs="*", metavar="NAME", help="measure other loaders on the same clips too: these, or all"
    )
    processes = "compare so many loaders, one per core, with one (1)"
    parser.add_argument("--processes", type=whole_number(1, cores), default=1, help=processes)
    parser.add_argument(
        "--epochs", type=whole_number(1), help="measure so many whole epochs of our loader alone instead"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, and a .png beside it")
    args = parser.parse_args(argv)
    made_only = ("peers", "codec") if args.data_dir else ()
    alone_only = ("peers", "workers", "threads", "device", "epochs") if args.processes > 1 else ()
    epochs_only = ("peers",) if args.epochs else ()
    for names, why in ((made_only, "--data-dir"), (alone_only, "--processes"), (epochs_only, "--epochs")):
        for name in names:
            if getattr(args, name) != parser.get_default(name):
                raise UserError(f"--{name} does not go with {why}: leave one of them out")
    if (args.epochs or args.processes > 1) and len(args.codec) > 1:
        raise UserError(f"--codec {' '.join(args.codec)}: --epochs and --processes measure one store")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench.data import default_task, for_batches
    from bench.loader.epochs import measure_epochs
    from bench.loader.plot import plot
    from bench.loader.processes import measure_processes
    from bench.loader.report import table
    from bench.loader.rounds import measure_task
    from bench.loader.stores import stores
    from bench.machine import machine, save_json
    from bench.peers.loaders import chosen
    from nets.tasks import pretext_tasks

    settings = loader_settings(args)
    if args.processes > 1:
        settings |= {"workers": 0, "threads": 1, "device": "cpu"}
    counts = {"batches": args.batches, "rounds": args.rounds}
    peers = () if args.peers is None else chosen(args.peers)
    indices, data = stores(args)
    alone = args.processes > 1 or args.epochs is not None
    results: dict[str, dict[str, Any]] = {}
    for name in args.tasks or [*pretext_tasks(), "recognition"]:
        task = default_task(name)
        of_task = {store: for_batches(index, task, args.batch_size) for store, index in indices.items()}
        index = next(iter(of_task.values()))
        if args.processes > 1:
            results[name] = measure_processes(
                index, name, processes=args.processes, batch_size=args.batch_size, **counts
            )
        elif args.epochs:
            results[name] = measure_epochs(index, task, settings, epochs=args.epochs)
        else:
            results[name] = measure_task(of_task, task, settings, **counts, peers=peers)
        print(f"{name}: {results[name]}" if alone else table({name: results[name]}), flush=True)
        # After each task: an interrupted bench keeps its results.
        save_json(args.json, data=data, settings=settings | counts, tasks=results)
    if len(results) > 1 and not alone:
        print(f"\n{table(results)}")
    if args.json and not alone:
        plot(results, f"{machine()['gpu'] or machine()['cpu']}, {settings['device']}", args.json.with_suffix(".png"))


if __name__ == "__main__":
    run_cli(main)
