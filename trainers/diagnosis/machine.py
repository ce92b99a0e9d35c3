"""The machine: cores against workers and threads, open files, shared memory, room on the disk."""

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from configs.schema import Data
from configs.words import counted
from dali_pipelines import limits
from dali_pipelines.decode.choose import decoding_threads
from trainers.diagnosis import Finding, Subject

FILES_OF_A_RUN = 256
"""Open files of a training process without its workers, a generous estimate: libraries, sockets, checkpoints."""
FILES_OF_A_WORKER = 8
"""Open files per worker: two pipe ends, its log, and the videos it reads."""
MIN_SHM = 2**28
"""Bytes of /dev/shm that NCCL needs for several GPUs on a machine."""
LITTLE, TOO_LITTLE = 10 * 2**30, 2**30
"""Free bytes below which to warn, or report a problem: `train.keep` checkpoints may have some hundred MB each."""


def check(subject: Subject) -> Iterator[Finding]:
    """Compare the machine with what the recipe asks for, or else with the defaults."""
    data: Data = subject.config.data if subject.config else Data(root="")
    gpus = torch.cuda.device_count() if subject.device != "cpu" else 0
    yield cores(limits.cores(), data, gpus)
    yield open_files(data, resource.getrlimit(resource.RLIMIT_NOFILE))
    shared = os.statvfs("/dev/shm")
    yield shared_memory(shared.f_blocks * shared.f_frsize, gpus)
    yield space("work dir", Path(subject.config.work_dir)) if subject.config else space("this folder", Path())


def cores(count: int, data: Data, gpus: int) -> Finding:
    """Check the number of cores; each GPU's process has its own workers and threads."""
    processes = max(gpus, 1)
    threads = decoding_threads(data.threads, nvdec=False)
    busy = processes * (1 + data.workers)
    each = f"{counted(data.workers, 'worker')} and {counted(threads, 'thread')} each"
    text = f"{count} usable, for {counted(processes, 'process', 'processes')} with {each}"
    if busy > max(count, 2):
        fit = max(count // processes - 1, 0)
        return Finding("warning", "cores", text, f"more than the cores can run at once: --set data.workers={fit}")
    return Finding("ok", "cores", text)


def open_files(data: Data, limit: tuple[int, int]) -> Finding:
    """Check `ulimit -n`, soft and hard."""
    soft, hard = limit
    needed = FILES_OF_A_RUN + FILES_OF_A_WORKER * data.workers
    text = f"{'no limit' if soft == resource.RLIM_INFINITY else soft} may be open, a process needs up to {needed}"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Finding("ok", "open files", text)
    way = f"ulimit -n {needed}" if hard == resource.RLIM_INFINITY or hard >= needed else "have the hard limit raised"
    return Finding("problem", "open files", text, way)


def shared_memory(size: int, gpus: int) -> Finding:
    """Check /dev/shm, which NCCL needs. The loader does not: it passes clips in anonymous memory."""
    text = f"{size >> 20} MiB in /dev/shm; the loader needs none of it"
    if gpus > 1 and size < MIN_SHM:
        do = "start the container with --shm-size=1g or --ipc=host"
        return Finding("warning", "shared memory", f"{text}, but NCCL does, between {gpus} GPUs", do)
    return Finding("ok", "shared memory", text)


def space(about: str, folder: Path) -> Finding:
    """Check the free space on the disk of a folder, which need not exist yet."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK):
        return Finding("problem", about, f"{there} cannot be written", "choose another --work-dir")
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free at {there}"
    if free < LITTLE:
        do = "make room, choose another --work-dir, or lower train.keep"
        return Finding("problem" if free < TOO_LITTLE else "warning", about, text, do)
    return Finding("ok", about, text)
