"""The disk of the work dir: room for checkpoints."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from trainers.diagnosis import Finding, Subject

LITTLE, TOO_LITTLE = 10 * 2**30, 2**30
"""Free bytes below which to warn, or report a problem: `train.keep` checkpoints may have some hundred MB each."""


def check(subject: Subject) -> Iterator[Finding]:
    """Check the disk of the work dir, or of this folder if no recipe names one."""
    yield space("work dir", Path(subject.config.work_dir)) if subject.config else space("this folder", Path())


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
