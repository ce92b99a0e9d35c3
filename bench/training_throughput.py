"""What bounds training, the loader or the network? `python bench/training_throughput.py`, or the same under torchrun.

Rounds of three kinds alternate: the training loop as it is, the same loop on one cached batch, and the loader without
training. See bench/README.md for how to read the table.
Heavy imports are inside functions: each worker of the loader imports this file once more.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import in_words, markdown
from configs.errors import UserError, run_cli
from configs.load import load
from configs.options import add_machine, add_overrides, as_overrides, overrides, whole_number
from configs.recipes import names, row
from configs.speed import SUFFIX

if TYPE_CHECKING:
    from configs.schema import Config
    from trainers.engine.distributed import Ranks


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training_throughput.py", description="What bounds training?")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks, with each backbone of their recipes (all)")
    parser.add_argument("--config", nargs="+", metavar="YAML", help="these recipes instead")
    parser.add_argument("--steps", type=whole_number(1), default=20, help="timed steps a round (20)")
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="rounds of each of the three (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    add_overrides(parser)
    add_machine(parser)
    args = parser.parse_args(argv)
    if args.tasks and args.config:
        raise UserError("--tasks with --config: give one of them, a recipe names its task")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench.data import DATA, bench_store, store_name
    from bench.machine import save_json
    from dali_pipelines.prepare.settings import encoding_of
    from trainers.engine.distributed import start

    with start(args.device) as ranks:
        # A tiny learning rate keeps every loss finite; nothing needs to be learned here.
        changes = [*overrides(args), "optim.lr=1e-9"]
        if args.data_dir is None:
            root = DATA / store_name(encoding_of("h264"))
            changes += as_overrides({"data.root": str(root), "data.list": None})
        recipes = args.config or default_recipes(args.tasks, gpu=ranks.device.type == "cuda")
        configs = {recipe: load(recipe, changes) for recipe in recipes}
        if args.data_dir is None:
            ranks.on_rank0(lambda: bench_store(root))
        results: dict[str, dict[str, Any]] = {}
        for name, config in configs.items():
            results[name] = measure(config, ranks, steps=args.steps, rounds=args.rounds)
            if ranks.rank == 0:  # after each recipe: an interrupted bench keeps its results
                settings = {"device": ranks.device.type, "ranks": ranks.world_size, "data": config.data.root}
                save_json(args.json, settings=settings, recipes=results)
        if ranks.rank == 0:
            print(table(results), flush=True)


def default_recipes(tasks: list[str] | None, *, gpu: bool) -> list[str]:
    """Return each task's UCF101 recipes for speed, one per backbone; without a GPU, its small demo."""
    from nets.tasks import net_module, pretext_tasks

    chosen: dict[tuple[str, str], str] = {}
    for task in tasks or pretext_tasks():
        net_module(task)  # UserError for an unknown task
        for recipe in names():
            if recipe.startswith(f"{task}/") and recipe.endswith("_ucf101" if gpu else "/demo"):
                chosen.setdefault((task, row(recipe)[1]), recipe)
    return [recipe + SUFFIX * gpu for recipe in chosen.values()]


def measure(config: "Config", ranks: "Ranks", *, steps: int, rounds: int) -> dict[str, Any]:
    """Return the figures of one recipe.

    A separate function, so the network is freed before the next one and before the process group ends.
    """
    import torch

    from bench.data import for_batches
    from bench.training_rounds import built_run, measure_rounds
    from dali_pipelines.datasets.open import open_data
    from dali_pipelines.tasks import Task
    from trainers.commands.training import batch_and_way_out
    from trainers.engine.devices import enough_memory

    data, batch, cuda = config.data, config.train.global_batch, ranks.device.type == "cuda"
    index = for_batches(open_data(data).index, Task(config.task, config.plan), batch)
    try:
        with enough_memory(*batch_and_way_out(config.train, ranks.world_size)), built_run(config, ranks, index) as run:
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            figures = measure_rounds(run, steps=steps, rounds=rounds)
            if cuda:
                figures["cuda_peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
            return {
                "backbone": config.backbone,
                "global_batch": batch,
                "workers": data.workers,
                "threads": data.threads,
                "decoder": run.loader.decoder,
                "amplification": round(run.loader.counts.amplification, 2),
                **figures,
                "clips_per_s": round(1000 * batch / figures["step_ms"]["p50"], 1),
            }
    finally:
        if cuda:
            torch.cuda.empty_cache()  # DALI's pools cannot use what torch keeps


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    head = ("recipe", "batch", "step ms (p95)", "network ms", "loader ms", "network / step", "data wait", "bound by")
    rows = []
    for name, figures in results.items():
        step = figures["step_ms"]
        rows.append(
            (
                f"`{name}`",
                f"{figures['global_batch']}",
                f"{step['p50']:.1f} ({step['p95']:.1f})",
                f"{figures['network_ms']['p50']:.1f}",
                f"{figures['loader_ms']['p50']:.1f}",
                in_words(figures["network_to_step"], 2),
                f"{100 * max(figures['data_wait'], figures.get('gpu_data_wait', 0)):.1f} %",
                figures["bound"],
            )
        )
    return "\n".join(markdown(head, rows))


if __name__ == "__main__":
    run_cli(main)
