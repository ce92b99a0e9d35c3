"""What a clip costs a CPU, step by step: `python bench/clip_budget.py --json FILE`.

Each step is timed separately, in CPU time of one process, repeatedly on the same clips. The minimum of all rounds
counts, as other load on the machine only adds to it. A worker runs the steps up to `hand over`; `graph` is the main
process's part: DALI's graph and the conversion to torch. The pool of workers, some 0.3 ms, is in no step.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from bench.data import bench_store, default_task
from bench.loader.ceilings import augment_only
from bench.machine import save_json
from bench.report import markdown
from configs.errors import run_cli
from dali_pipelines.decode import packets
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import SampleSource
from dali_pipelines.shared_memory import SharedMemory, pack, unpack
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

TASKS = ("ctp", "recognition", "concepts", "dpc")
BATCH = 8
CLIPS, ROUNDS = 24, 15  # that are looked at, and of which the least counts


def budget(index: Index, task: Task) -> dict[str, float]:
    """Return the CPU milliseconds per clip of each step, in the order of the loader."""
    order = Order(len(index), 1, 0, 1, seed=0, shuffle=True)
    steps = task.program.host_steps(gpu=False)
    source = SampleSource(index, task, order, media="frames", steps=steps)
    rows = [row % len(index) for row in range(CLIPS)]
    drafts = [source.draft(0, row) for row in rows]
    read = [draft.read() for draft in drafts]
    samples = [source.decoded(draft, clip) for draft, clip in zip(drafts, read, strict=True)]
    memory = SharedMemory(1)

    def hosted(count: int) -> Callable[[int], object]:
        return lambda i: task.program.host(read[i], drafts[i].plan, steps=count)

    def handed_over(i: int) -> None:
        unpack(*pack(samples[i], memory.room(0)), memory.room(0))

    timed: dict[str, Callable[[int], object]] = {
        "plan": lambda i: source.plan(0, rows[i]),
        "plan and locate": lambda i: source.draft(0, rows[i]),
        "read": lambda i: drafts[i].read(),
        "decode": lambda i: list(packets.frames(read[i])),
        **{f"host {count}": hosted(count) for count in range(1, steps + 1)},
        "hand over": handed_over,
    }
    batches = augment_only(index, task, batch_size=BATCH, device="cpu", threads=1, cut=True)
    least = dict.fromkeys([*timed, "graph"], float("inf"))
    for _ in tqdm(range(ROUNDS), desc=task.name, unit="round"):
        for name, step in timed.items():
            least[name] = min(least[name], _cpu_ms(step, CLIPS))
        least["graph"] = min(least["graph"], _cpu_ms(lambda _: next(batches), -(-CLIPS // BATCH)) / BATCH)
    operations = [type(operation).__name__ for operation in task.program.views[0].operations[:steps]]
    hosts = [least["decode"], *(least[f"host {count}"] for count in range(1, steps + 1))]
    spent = {
        "plan": least["plan"],
        "locate": least["plan and locate"] - least["plan"],
        "read": least["read"],
        "decode": least["decode"],
        **{name: after - before for name, before, after in zip(operations, hosts[:-1], hosts[1:], strict=True)},
        "hand over": least["hand over"],
        "graph": least["graph"],
    }
    return {name: round(ms, 3) for name, ms in {**spent, "all": sum(spent.values())}.items()}


def _cpu_ms(step: Callable[[int], object], count: int) -> float:
    began = time.process_time()
    for i in range(count):
        step(i)
    return 1000 * (time.process_time() - began) / count


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="clip_budget.py", description="What a clip costs a CPU, step by step.")
    parser.add_argument("--tasks", nargs="+", default=TASKS, help=f"with their default plans ({' '.join(TASKS)})")
    parser.add_argument("--data-dir", type=Path, help="a prepared dataset; by default one is made in runs/bench")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    index = Index.load(args.data_dir or bench_store())
    formats = " ".join(index.formats)
    budgets = {task: budget(index, default_task(task)) for task in args.tasks}
    save_json(args.json, formats=formats, clips=CLIPS, rounds=ROUNDS, cpu_ms_per_clip=budgets)
    steps = list(dict.fromkeys(step for of_task in budgets.values() for step in of_task if step != "all"))
    rows = [[step, *(of.get(step, "") for of in budgets.values())] for step in [*steps, "all"]]
    print(f"CPU ms a clip from {index.root} ({formats})\n")
    print("\n".join(markdown(["step", *budgets], rows)))


if __name__ == "__main__":
    run_cli(main)
