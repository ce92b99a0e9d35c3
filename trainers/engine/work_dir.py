"""A run's folder: for one run at a time, without mixing or losing files of several runs."""

import fcntl
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.errors import UserError
from configs.load import dump
from configs.schema import Config
from dali_pipelines.datasets.fates import MISSING_FILE, TOO_SHORT_FILE, UNREADABLE_FILE
from dali_pipelines.store.files import write_file

CHECKPOINTS = "checkpoints"
BEST = "best.pt"
CONFIG = "config.yaml"
LOCK = ".lock"
NONFINITE = "nonfinite"
"""Folder of pictures of samples whose loss or gradient was not finite."""
RECONSTRUCTION = "reconstruction.png"
"""The network's picture of some samples at the newest checkpoint, for tasks that have one."""
LOGS = ("*.jsonl", "*.csv", "tensorboard", "tensorboard/*")
"""Files that grow during training, and TensorBoard's folder."""
RESULTS = ("metrics.jsonl", f"{CHECKPOINTS}/{BEST}")
"""Files of a run that are worth keeping."""
OF_A_RUN = (
    "validation.jsonl",
    "train.csv",
    "validation.csv",
    "tensorboard",
    CONFIG,
    TOO_SHORT_FILE,
    MISSING_FILE,
    UNREADABLE_FILE,
    NONFINITE,
    RECONSTRUCTION,
    *RESULTS,
)
"""All files of a run, except for the checkpoints to resume from."""


def require_writable(*folders: Path, option: str = "--work-dir") -> None:
    """Create the folders. UserError if one is not writable, before any work is done."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; choose another {option}") from error


@contextmanager
def locked(work_dir: Path) -> Iterator[None]:
    """Lock the folder against other runs. UserError if another run is training in it.

    The kernel releases the lock when the process ends, however it ends.
    """
    with (work_dir / LOCK).open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = (file.read() or b"").decode(errors="replace").strip() or "of another machine"
            raise UserError(
                f"another run is training in {work_dir} ({who}): wait until it ends, or pass another --work-dir"
            ) from None
        except OSError as error:
            print(f"note: {work_dir} cannot be locked ({error.strerror}): start no second run in it", flush=True)
        file.truncate(0)
        with suppress(OSError):  # a full disk, which later writes will report
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield


def run_in(work_dir: Path) -> str:
    """Return the id of the run whose files are in the folder; "" for none, or one from before runs had ids."""
    try:
        first = (work_dir / CONFIG).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return ""
    match = re.fullmatch(r"# run (\w+)", first)
    return match[1] if match else ""


def is_lost(work_dir: Path, run_id: str) -> bool:
    """Tell whether the folder was moved or deleted while the run trained; UserError if another has begun there."""
    if run_in(work_dir) not in ("", run_id):
        raise UserError(
            f"{work_dir} was moved or deleted while this run trained in it, and another has begun there: this one "
            "ends, as its checkpoints would take the place of the other's"
        )
    return not (work_dir / CONFIG).exists()


def write_config(work_dir: Path, config: Config, run_id: str) -> None:
    """Write config.yaml, with the run's id."""
    write_file(work_dir / CONFIG, f"# run {run_id}\n" * bool(run_id) + dump(config))


def make_way(work_dir: Path, run_id: str) -> str:
    """Move the files of another run out of the way; return a note, or "" if none is worth keeping."""
    results = [work_dir / name for name in RESULTS]
    if run_in(work_dir) == run_id or not any(path.is_file() and path.stat().st_size for path in results):
        return ""
    # The results go last: if the move is killed midway, the next start finds them here and finishes it.
    return f"{work_dir} holds files of an earlier run: they are moved to {set_aside(work_dir, OF_A_RUN)}"


def set_aside(work_dir: Path, names: Sequence[str]) -> Path:
    """Move the files that exist to a new `work_dir`/earlier_N, and return that folder."""
    number = 1
    while (folder := work_dir / f"earlier_{number}").exists():
        number += 1
    folder.mkdir()
    for name in names:
        if (work_dir / name).exists():
            (work_dir / name).rename(folder / Path(name).name)
    return folder
