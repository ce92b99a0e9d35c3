"""Check whether the loader is as fast as it was: `make bench-gate`, or `python -m bench.gate`.

Rates depend on the machine and its other load. So this compares counts, which are exact, and ratios of CPU time between
things that take turns in one process with one thread each. See bench/README.md.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from bench.data import DATA, bench_store, default_task
from bench.loader.ceilings import DecodeTask
from bench.machine import save_json
from bench.peers.data import peer_clips
from bench.peers.loaders import PEERS, PeerDataset
from bench.report import markdown
from configs.errors import run_cli
from dali_pipelines.inspection.costs import clip_costs
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from trainers.engine.loop import endless

TASKS = ("ctp", "recognition", "vcop")
PEER = "torchcodec_prepared"
BATCH, VIDEOS = 8, 16  # a turn of ours is one batch: short turns can hit a quiet moment
PEER_CLIPS = 4  # of the peer, in a turn: it is slower
ROUNDS = 30
MIN_RATIO = 0.85
"""Of the observed ratio: on a shared machine runs differ by up to a tenth (bench/NOTES.md)."""
OBSERVED = Path(__file__).parent / "results" / "gate.json"

Figures = dict[str, dict[str, float]]
"""Task -> name -> value."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description="Is the loader as fast as it was?")
    parser.add_argument("--update", action="store_true", help=f"write what is measured to {OBSERVED.name}: the new bar")
    args = parser.parse_args(argv)
    index = Index.load(bench_store(DATA / "gate", videos=VIDEOS))
    counted = {task: counts(index, task) for task in TASKS}
    taken = {task: times(index, task) for task in TASKS}
    measured = {task: ratios(of_task) for task, of_task in taken.items()}
    if args.update:
        save_json(OBSERVED, counts=counted, cpu_ms=taken)
    observed = json.loads(OBSERVED.read_text())
    before = {task: ratios(of_task) for task, of_task in observed["cpu_ms"].items()}
    print(table(measured, before))
    faults = count_faults(counted, observed) + ratio_faults(measured, before, cpu=observed["machine"]["cpu"])
    print("\n".join(faults) or f"passed: every count is the same, no ratio below {MIN_RATIO} of the observed one")
    return int(bool(faults))


def counts(index: Index, name: str) -> dict[str, float]:
    """Return exact counts per clip of a task on a store: frames delivered and decoded, their ratio, KiB read."""
    task = default_task(name)
    with closing(ClipLoader(index, task, batch_size=BATCH, threads=1)) as loader:
        for _ in islice(endless(loader), 2):
            pass
        of_loader = loader.counts
    costs = clip_costs(index, task, rows=range(len(index)))
    return {
        "frames": of_loader.frames / of_loader.samples,
        "decoded": of_loader.frames_decoded / of_loader.samples,
        "amplification": round(of_loader.amplification, 4),
        "kib": round(costs.bytes / 1024, 1),
    }


def times(index: Index, name: str, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return CPU milliseconds per clip of a task, in each round.

    Returns:
        ours; decode: decoding alone; torchcodec: the task's whole work on the same files; first: creating a loader,
        taking one batch and closing it, including what it prefetched, per clip of that batch.
    """
    torch.set_num_threads(1)
    task = default_task(name)
    settings: dict[str, Any] = {"batch_size": BATCH, "threads": 1}
    whole = ClipLoader(index, task, **settings)
    decode = ClipLoader(index, DecodeTask(task.name, task.cfg), **settings)
    clips = PeerDataset(PEERS[PEER], peer_clips(whole, 0, len(whole), prepared=True))
    ours, decoding, peer = endless(whole), endless(decode), map(clips.__getitem__, cycle(range(len(clips))))

    def first() -> None:
        with closing(ClipLoader(index, task, **settings)) as loader:
            next(iter(loader))

    turns: dict[str, tuple[Callable[[], object], int]] = {
        "ours": (lambda: next(ours), BATCH),
        "decode": (lambda: next(decoding), BATCH),
        "torchcodec": (lambda: [*islice(peer, PEER_CLIPS)], PEER_CLIPS),
        "first": (first, BATCH),
    }
    found: dict[str, list[float]] = {turn: [] for turn in turns}
    with closing(whole), closing(decode):
        for number in range(1 + rounds):
            for turn, (run, count) in turns.items():
                milliseconds = 1000 * cpu_seconds(run) / count
                if number:  # the first round warms up
                    found[turn].append(round(milliseconds, 3))
    return found


def ratios(of_task: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return how a task's loader compares, from its `times`; higher is better.

    Other load on the machine only makes turns longer, so the shortest turns are compared.
    """
    ours, decode, torchcodec, first = (min(of_task[turn]) for turn in ("ours", "decode", "torchcodec", "first"))
    return {
        "lead_over_torchcodec": round(torchcodec / ours, 3),
        "share_of_decode_only": round(decode / ours, 3),
        "first_batch": round(torchcodec / first, 3),
    }


def cpu_seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of the process for `run` and for the work of its threads after it."""
    settle()
    began = time.process_time()
    run()
    settle()
    return time.process_time() - began


def settle() -> None:
    """Wait until no other thread of this process is busy: DALI prefetches batches."""
    idle = 0
    while idle < 3:
        time.sleep(0.002)
        idle = idle + 1 if busy_threads() <= 1 else 0  # this one runs


def busy_threads() -> int:
    """Return the number of threads of this process that run or wait for a disk."""
    busy = 0
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended by now
            busy += Path(thread, "stat").read_text().rpartition(")")[2].split()[0] in "RD"
    return busy


def count_faults(counted: Figures, observed: Mapping[str, Any]) -> list[str]:
    """Return a line for each count that differs from the observed one."""
    return [
        f"{task}: {name} is {counted[task][name]} a clip and was {before}; if that is meant: --update"
        for task, of_task in observed["counts"].items()
        for name, before in of_task.items()
        if counted[task][name] != before
    ]


def ratio_faults(measured: Figures, observed: Figures, *, cpu: str) -> list[str]:
    """Return a line for each ratio that is too far below the observed one."""
    return [
        f"{task}: {name} is {measured[task][name]}, below {MIN_RATIO} x {before}, which {cpu} had"
        for task, of_task in observed.items()
        for name, before in of_task.items()
        if measured[task][name] < MIN_RATIO * before
    ]


def table(measured: Figures, observed: Figures) -> str:
    """Return the ratios as Markdown, next to the observed ones."""
    rows = (
        [f"`{task}`", name, value, observed[task][name], f"{value / observed[task][name]:.2f}"]
        for task, of_task in measured.items()
        for name, value in of_task.items()
    )
    return "\n".join(markdown(["task", "ratio of CPU time", "now", "observed", "now / observed"], rows))


if __name__ == "__main__":
    run_cli(main)
