"""Compare the results of two runs: checkpoints bit by bit, and each line of tables and TensorBoard, once."""

import csv
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dali_pipelines.store.files import TEMPORARY
from trainers.engine import checkpoint
from trainers.engine.work_dir import CHECKPOINTS, run_in

MEASURED = {"time", "clips_per_s", "data_wait", "rss_mib", "cuda_peak_mib", "amplification", "replaced_samples"}
"""Figures of the process, not of the run."""
OF_THE_FOLDER = {"run", "config"}
"""Entries of checkpoints that describe the command: work dirs and workers differ between runs."""
Line = tuple[int, Any]

logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of steps that a later file repeats


def compare(ours: Path, theirs: Path) -> tuple[list[str], int]:
    """Return the differences between two work dirs, in words, and the number of lost or repeated lines."""
    found, lost = [], 0
    mine, other = dict(tables(ours)), dict(tables(theirs))
    for name in {**mine, **other}:
        here, there = mine.get(name, []), other.get(name, [])
        steps, expected = Counter(step for step, _ in here), Counter(step for step, _ in there)
        lost += (steps - expected).total() + (expected - steps).total()
        if here != there:
            found.append(f"{name}: {next((pair for pair in zip(here, there, strict=False) if pair[0] != pair[1]), '')}")
    names, expected_names = (sorted(path.name for path in (run / CHECKPOINTS).iterdir()) for run in (ours, theirs))
    if names != expected_names:
        found.append(f"checkpoints {names}, not {expected_names}")
    for name in set(names) & set(expected_names):
        content, expected_content = (checkpoint.read(run / CHECKPOINTS / name) for run in (ours, theirs))
        keys = (content | expected_content).keys() - OF_THE_FOLDER
        found += [f"{name}: {key}" for key in keys if not same(content, expected_content, key)]
        if content["run"] != run_in(ours):
            found.append(f"{name} is of another run than config.yaml")
    found += [f"{path} is left" for path in ours.rglob(TEMPORARY.format("*"))]
    return found, lost


def same(ours: Any, theirs: Any, *keys: Any) -> bool:
    """Tell whether two trees of tensors, or their subtrees under the keys, are equal bit for bit."""
    for key in keys:
        if not (key in ours and key in theirs):
            return False
        ours, theirs = ours[key], theirs[key]
    if isinstance(ours, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(ours, Mapping):
        return ours.keys() == theirs.keys() and all(same(ours, theirs, key) for key in ours)
    if isinstance(ours, Sequence) and not isinstance(ours, str):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def tables(work_dir: Path) -> Iterator[tuple[str, list[Line]]]:
    """Yield each table of a run with its lines: the step, and all entries that are not in MEASURED."""
    for path in (*sorted(work_dir.glob("*.jsonl")), *sorted(work_dir.glob("*.csv"))):
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file) if path.suffix == ".csv" else map(json.loads, file)
            yield (
                path.name,
                [
                    (int(row.get("step", 0)), {key: value for key, value in row.items() if key not in MEASURED})
                    for row in rows
                ],
            )
    if not (folder := work_dir / "tensorboard").is_dir():
        return
    board = EventAccumulator(str(folder)).Reload()
    for tag in board.Tags()["scalars"]:
        measured = tag.rpartition("/")[2] in MEASURED
        yield f"TensorBoard's {tag}", [(event.step, None if measured else event.value) for event in board.Scalars(tag)]
