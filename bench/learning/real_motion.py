"""What is pretraining worth on real motion? `python bench/learning/real_motion.py --source SETS --out FOLDER`.

Each task pretrains a small network on mocap's training videos, without labels. Then its features are judged, and it is
finetuned, on mocap's test videos and on UT-Interaction; so is the same network with random weights. Finished jobs are
not repeated: an interrupted bench resumes where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from bench.learning import real_data, real_recipes, real_table
from bench.learning.real_job import RANDOM
from bench.machine import save_json
from configs.errors import UserError, run_cli
from configs.load import load
from configs.options import whole_number
from configs.words import counted
from dali_pipelines.progress import bar
from nets.tasks import pretext_tasks

SWITCHED = ("cstp", "rot3d", "cpc_transformer")
EPOCHS = 240  # of finetuning on half of UT-Interaction


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="real_motion.py", description="What is pretraining worth on real motion?")
    parser.add_argument("--source", type=Path, required=True, help=f"folder of {' and '.join(real_data.SETS)}")
    parser.add_argument("--tasks", nargs="+", choices=pretext_tasks(), default=pretext_tasks(), metavar="TASK")
    parser.add_argument("--switches", action="store_true", help=f"also flaws of the originals, of {' '.join(SWITCHED)}")
    parser.add_argument("--seeds", type=whole_number(0), nargs="+", default=[0, 1, 2], metavar="SEED", help="(0 1 2)")
    parser.add_argument("--no-finetune", dest="finetune", action="store_false", help="only pretrain and judge features")
    frames = "that a task sees (%(default)s)"
    parser.add_argument("--frames", type=whole_number(1), default=real_recipes.FRAMES, help=frames)
    parser.add_argument("--epochs", type=whole_number(1), default=EPOCHS, help="of finetuning (%(default)s)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/real_motion"), help="data and runs are kept here")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the JSON and the picture")
    args = parser.parse_args(argv)
    real_data.prepare(args.source, args.work_dir / "data")
    runs, target = args.work_dir / f"{args.frames}_{args.epochs}", args.out / f"real_motion_{args.frames}.json"
    done = earlier(target, args.epochs)
    backbones = sorted({load(f"{task}/demo").backbone for task in args.tasks})
    flawed = [f"{task}+{switch}" for task in SWITCHED if args.switches for switch in real_recipes.switches(task)]
    names = [*args.tasks, *flawed, *(RANDOM + backbone for backbone in backbones)]
    jobs = {(name, seed): runs / f"{name}_{seed}" for seed in args.seeds for name in names}
    options = ["--source", args.source, "--frames", args.frames, "--epochs", args.epochs, "--work-dir", runs]
    options += [] if args.finetune else ["--no-finetune"]
    parts = {"pretrain", "judge", *(["finetune"] if args.finetune else [])}
    missing = [job for job in jobs if not has(done.get(job), parts)]
    failed = run_jobs([(jobs[name, seed], [name, "--seed", seed, *options]) for name, seed in missing])
    for job in missing:
        if (jobs[job] / "result.json").is_file():
            done[job] = json.loads((jobs[job] / "result.json").read_text())
    clusters = {name: split.clusters for name, split in real_data.splits(args.source, args.work_dir / "data").items()}
    results = [done[job] for job in sorted(done)]
    figures = real_table.figures(results, clusters)
    save_json(target, frames=args.frames, epochs=args.epochs, figures=figures, runs=results)
    real_table.plot(figures, target.with_suffix(".png"))
    print(real_table.table(figures))
    if failed:
        of = counted(len(jobs), "job")
        raise UserError(f"{len(failed)} of {of} failed; {failed[0]}; give the same command again")


def has(result: dict[str, Any] | None, parts: Set[str]) -> bool:
    """Return whether a result has these parts, with `finetune` on all splits of today."""
    if result is None or not parts <= result["cpu_seconds"].keys():
        return False
    return "finetune" not in parts or all("finetune" in result["correct"][split] for split in real_data.FINETUNED)


def earlier(target: Path, epochs: int) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the results already in the JSON, of any machine; UserError if they have other epochs of finetuning."""
    if not target.is_file():
        return {}
    report = json.loads(target.read_text())
    if report["epochs"] != epochs:
        done = counted(report["epochs"], "epoch")
        raise UserError(f"{target} has finetuned for {done}, not {epochs}: choose another --out")
    return {(run["name"], run["seed"]): run for run in report["runs"]}


def run_jobs(jobs: Sequence[tuple[Path, Sequence[object]]]) -> list[str]:
    """Run real_job.py for each job, one per core at a time, pinned to it.

    Returns the logs of failed jobs; the others continue.
    """
    cores: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)

    def run(job: tuple[Path, Sequence[object]]) -> str:
        folder, words = job
        folder.mkdir(parents=True, exist_ok=True)
        core = cores.get()
        command = [sys.executable, Path(__file__).with_name("real_job.py"), *words, "--core", core]
        with (folder / "log.txt").open("w") as log:
            status = subprocess.run(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT).returncode
        cores.put(core)
        return f"{folder}/log.txt: status {status}" if status else ""

    with ThreadPoolExecutor(cores.qsize()) as pool:
        return [error for error in bar(pool.map(run, jobs), desc="jobs", total=len(jobs), leave=True) if error]


if __name__ == "__main__":
    run_cli(main)
