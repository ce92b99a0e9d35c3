"""The disks: room for checkpoints, and how fast the dataset is read."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.inspection import spread
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import locate_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.storage import is_url
from trainers.diagnosis import Finding, Subject

LITTLE, TOO_LITTLE = 10 * 2**30, 2**30
"""Free bytes below which to warn, or report a problem: `train.keep` checkpoints may have some hundred MB each."""
CLIPS, FRAMES = 32, 16
SLOW = 0.1
"""Seconds per clip above which even eight workers read fewer than a hundred clips a second."""


def check(subject: Subject) -> Iterator[Finding]:
    """Check the disk of the work dir, if a recipe names one, and read some clips."""
    yield space("work dir", Path(subject.config.work_dir)) if subject.config else space("this folder", Path())
    if subject.data_dir is None:
        return
    try:
        index = Index.load(subject.data_dir)
    except (UserError, OSError):
        return  # the dataset check reports it
    yield speed(index)


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


def speed(index: Index) -> Finding:
    """Time reading one clip from each of some videos, bypassing the page cache if possible."""
    rows = spread(len(index), CLIPS)
    seconds, size = [], 0
    for row in rows:
        try:
            first = int(index.num_frames[row]) // 2
            clip = locate_clip(index, row, np.minimum(first + np.arange(FRAMES), index.num_frames[row] - 1))
            for place in {span.location for span in clip.spans}:
                _forget(place)
            start = time.perf_counter()
            clip.read()
        except (ClipError, OSError, IndexError):
            continue  # the dataset check reports it
        seconds.append(time.perf_counter() - start)
        size += clip.nbytes
    if not seconds:
        return Finding(
            "problem", "reading", f"0 of {counted(len(rows), 'clip')} of {index.root} can be read", "see the dataset"
        )
    each, rate = sum(seconds) / len(seconds), size / sum(seconds) / 1e6
    text = f"{1000 * each:.1f} ms for a clip of {FRAMES} frames, {rate:.0f} MB/s, one after the other"
    if each > SLOW:
        return Finding("warning", "reading", text, "copy the dataset to a local disk, or take more data.workers")
    return Finding("ok", "reading", text)


def _forget(place: Path | str) -> None:
    """Drop a local file from the page cache, so that the disk is measured and not memory."""
    if not is_url(place):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
