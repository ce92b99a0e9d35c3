"""An index as large as that of Kinetics-700, and the memory of processes that share it.

Its frame sizes are synthetic, a slow wave plus noise: a table of fragments takes 9.4 bits a frame for them, and 9.2 for
a Kinetics clip encoded by `prepare`.
"""

import multiprocessing
import pickle
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dali_pipelines.store.index import Index
from dali_pipelines.store.ragged import Ragged, narrowed
from dali_pipelines.store.table import Table
from dali_pipelines.store.units import pack_units, unpack_units

DISTINCT = 256
"""Number of distinct fragment tables; videos use them in turn."""
CLASSES = 700
LOOK_UPS = 2000


def synthetic(root: Path, *, videos: int, frames: int) -> Index:
    """Write and open an index of made-up videos with a GOP of 1, named like those of Kinetics-700."""
    rng = np.random.default_rng(0)
    classes = tuple(f"a made up class {number:03d}" for number in range(CLASSES))
    labels = np.arange(videos, dtype=np.int64) * CLASSES // videos
    tables = Ragged.of_bytes(_synthetic_table(rng, frames) for _ in range(DISTINCT))
    ids = "".join(map(chr, rng.choice([*b"abcdefghijklmnopqrstuvwxyz"], 11 * videos).tolist()))
    table = Table.of(
        labels=labels,
        num_frames=np.full(videos, frames),
        sizes_WH=np.tile([256, 144], (videos, 1)),
        fps=np.full(videos, 30.0),
        format_ids=np.zeros(videos, np.int64),
        init_sizes=np.full(videos, 800),
        names=Ragged.of_texts(
            f"{classes[label]}/{ids[11 * row : 11 * row + 11]}_000012_000022"
            for row, label in enumerate(labels.tolist())
        ),
        sources=Ragged.of_distinct([""] * videos),
        software_only=Ragged.of_distinct([""] * videos),
        fragments=_tiled(tables, videos),
        class_names=classes,
        formats=("h264 yuv420p mp4",),
    )
    root.mkdir(parents=True, exist_ok=True)
    Index(root, table).save()
    return Index.load(root)


def _synthetic_table(rng: np.random.Generator, frames: int) -> bytes:
    trend = 3700 + 500 * np.sin(np.linspace(0, rng.uniform(1, 6), frames) + rng.uniform(0, 6))
    sizes = (trend + rng.normal(0, 100, frames)).astype(np.int64)
    starts = 800 + np.cumsum(sizes) - sizes
    return pack_units(starts, sizes, np.ones(frames, np.int64), np.zeros(frames, np.bool_))


def _tiled(tables: Ragged, videos: int) -> Ragged:
    """Give each video its own copy, as in a real index."""
    rows = np.arange(videos) % len(tables)
    copies, rest = divmod(videos, len(tables))
    values = [tables.values] * copies + [tables.values[: int(tables.starts[rest])]]
    return Ragged(np.concatenate(values), narrowed(np.concatenate([[0], np.cumsum(tables.lengths[rows])])))


def memory_per_process(index: Index, processes: int) -> list[dict[str, float]]:
    """Open an index in concurrent processes; return how much memory it adds to each.

    Each process gets the index as a loader's worker does, touches all its pages and looks up videos. Results are
    bytes for `private` and `pss`, its share of all memory, and CPU `microseconds` per lookup.
    """
    context = multiprocessing.get_context("spawn")
    pipes = []
    running = []
    for seed in range(processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_open_and_measure, args=(theirs, seed), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        running.append(process)
    data = pickle.dumps(index)
    for stage in ("imported", "opened"):  # all must arrive before any continues
        assert [pipe.recv() for pipe in pipes] == [stage] * processes
        for pipe in pipes:
            pipe.send(data)
    found = [pipe.recv() for pipe in pipes]
    for pipe, process in zip(pipes, running, strict=True):
        pipe.send("measured")
        process.join()
    return found


def _open_and_measure(pipe: Connection, seed: int) -> None:
    unpack_units(_synthetic_table(np.random.default_rng(seed), 16))  # imports of a first call must not count
    pipe.send("imported")
    data = pipe.recv()
    pickle.loads(data).info(0)  # nor those of this one
    before = _memory()
    index: Index = pickle.loads(data)
    rows = np.random.default_rng(seed).integers(len(index), size=LOOK_UPS).tolist()
    table = index.table
    columns = [table.names.values, table.names.starts, table.fragments.values, table.fragments.starts, table.labels]
    assert all(column[::512].sum() > 0 for column in columns)  # touches each page of 4096 bytes
    start = time.process_time()
    for row in rows:
        index.info(row), index.units(row)
    took = (time.process_time() - start) / LOOK_UPS * 1e6
    pipe.send("opened")
    pipe.recv()
    after = _memory()
    added: dict[str, float] = {name: after[name] - before[name] for name in after}
    pipe.send(added | {"microseconds": took})
    pipe.recv()


def _memory() -> dict[str, int]:
    """Return the bytes that are private to this process, and its proportional share (PSS).

    Unlike in USS, a file's page that no other process has touched yet does not count as private.
    """
    lines = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    kib = {words[0]: int(words[1]) for words in lines}
    return {"private": kib["Private_Dirty:"] << 10, "pss": kib["Pss:"] << 10}
