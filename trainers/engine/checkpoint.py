"""Checkpoints that survive a crash, a full disk and a kill in the middle of writing, and what their tensors must be.

A file is written under a temporary name, flushed to disk and then renamed. Only then are older ones deleted.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.errors import UserError, first_names
from configs.words import counted
from dali_pipelines.store.files import TEMPORARY, replacing, sync

FORMAT = 1
ZIP = b"PK"
"""First bytes of a file of `torch.save`; older files of other programs start differently."""
REFUSED = re.compile(r"GLOBAL (\S+)(?P<blocked> whose module \S+ is blocked)?")
"""In an error of torch.load: the name of an object that it does not load, since that can run code."""
ADVICE = re.compile(r"Weights only load failed\.|In PyTorch 2\.6.*|Please file an issue.*?: |WeightsUnpickler error: ")
"""In an error of torch.load: how to run the code of the file all the same, which is no way out for a damaged one."""
IMPORT = "`clipfeed import` takes those of other programs"
WRAPPED = re.compile(r"^(?:(?:module|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
"""Prefixes that DDP adds to all keys, and torch.compile to those of any module, in any order and number."""


def list_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint in the folder, ascending."""
    matches = (re.fullmatch(r"step_(\d+)\.pt", path.name) for path in folder.glob("step_*.pt"))
    return sorted(int(match[1]) for match in matches if match)


def path_of(folder: Path, step: int) -> Path:
    """Return the file of the checkpoint after `step` optimizer steps."""
    return folder / f"step_{step:08d}.pt"


def save(folder: Path, step: int, content: Mapping[str, Any], *, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep` up to this step. OSError leaves all as it was."""
    target = path_of(folder, step)
    write(target, dict(content, step=step))
    prune(folder, step, keep=keep)
    return target


def prune(folder: Path, step: int, *, keep: int) -> None:
    """Remove what the checkpoint of a step replaces: half-written files, and all but the newest `keep` up to it."""
    for leftover in folder.glob(TEMPORARY.format("*")):  # from a run that was killed while writing
        leftover.unlink()
    # Newer steps are unreadable files that --resume auto skipped: they do not count, and stay.
    for old in [other for other in list_steps(folder) if other <= step][:-keep]:
        path_of(folder, old).unlink()


def write(target: Path, content: Mapping[str, Any]) -> None:
    """Write one checkpoint atomically. OSError if that fails, UserError for content that `read` would refuse."""
    with replacing(target) as part:
        with part.open("wb") as file:
            try:
                torch.save(dict(content, format=FORMAT), file)
            except RuntimeError as error:  # torch's zip writer hides the OSError of a full disk
                hidden = error.__context__
                raise (hidden if isinstance(hidden, OSError) else OSError(f"torch.save: {error}")) from None
        if objects := torch.serialization.get_unsafe_globals_in_checkpoint(part):
            raise UserError(
                f"the state of the network or the optimizer holds objects of {', '.join(objects)}, and no run could go "
                "on from a checkpoint of it: keep tensors, numbers, text, lists and dicts alone there"
            )
    sync(target.parent)


def find(folder: Path, resume: str) -> dict[str, Any] | None:
    """Return the checkpoint to resume from, or None to start from the beginning.

    `resume` is "auto" for the newest readable one in `folder`, which may be missing; "none" to require an empty folder;
    else a file's path. UserError if none is readable, or the folder holds others that must not mix with the run's own.
    """
    steps = list_steps(folder)
    if resume == "none":
        if steps:
            raise UserError(
                f"--resume none: {folder} already holds checkpoints up to step {steps[-1]}; "
                "pass --resume auto to go on, or another --work-dir to start again"
            )
        return None
    if resume != "auto":
        try:
            content = read(Path(resume))
        except UserError as error:
            raise UserError(f"{error}; --resume takes auto, none or a checkpoint's .pt file") from None
        if steps and steps[-1] > content["step"]:
            raise UserError(
                f"--resume {resume} is of step {content['step']}, but {folder} also holds step {steps[-1]}; "
                "pass another --work-dir, or move the newer checkpoints away"
            )
        return content
    for step in reversed(steps):
        try:
            return read(path_of(folder, step))
        except UserError as error:
            print(f"warning: {error}; trying the one before it", flush=True)
    if steps:
        count = counted(len(steps), "checkpoint")
        raise UserError(f"0 of {count} in {folder} can be read; move the folder away to start again")
    return None


def why(error: Exception) -> str:
    """Return the first line of an error of torch.load, without the advice to run the file's code."""
    lines = (line.strip() for line in ADVICE.sub("", str(error)).splitlines())
    return next(filter(None, lines), type(error).__name__)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU. UserError if it is missing, damaged, or not ours."""
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}")
    try:
        with zipfile.ZipFile(path) as file:
            if part := file.testzip():  # torch.load does not verify checksums
                raise zipfile.BadZipFile(f"checksum of {part}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        if refused := REFUSED.search(str(error)):
            what = f"it holds an object of {refused[1]}"
            raise UserError(f"{path} is not a checkpoint of clipfeed: {what}; {IMPORT}") from None
        reason = why(error)
        with path.open("rb") as head:
            ours = head.read(len(ZIP)) == ZIP
        or_not = "" if ours else f", or is not one of clipfeed's; {IMPORT}"
        raise UserError(f"checkpoint {path} is damaged ({reason}){or_not}") from None
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(f"{path} is not a checkpoint of clipfeed; {IMPORT}")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} is a checkpoint of another version of clipfeed, of format {content['format']!r}; this one reads "
            f"format {FORMAT}"
        )
    return content


def plain(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """Strip the prefixes of DDP and torch.compile from all keys. UserError if two keys become one."""
    named = {WRAPPED.sub("", key): value for key, value in state.items()}
    if len(named) < len(state):
        count = counted(len(state) - len(named), "tensor")
        raise UserError(f"{where} has {count} twice, with and without the prefix module. or _orig_mod.")
    return named


def require_finite(state: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError naming tensors with nan or infinity: results of such a network mean nothing."""
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{where} holds nan or infinity in {len(broken)} of {counted(len(state), 'tensor')} "
            f"({first_names(broken)}): the training that wrote it had failed; take an earlier checkpoint"
        )
