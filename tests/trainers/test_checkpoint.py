"""trainers.engine.checkpoint: no failure while writing or reading loses an older checkpoint."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.store.files import TEMPORARY
from trainers.engine import checkpoint


def content(step: int) -> dict:
    return {
        "model": {"weight": torch.full((1000,), float(step))},
        "loader": {"epoch": step},
    }


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, content(step), keep=3)
    return tmp_path


def newest(folder: Path, resume: str = "auto") -> dict[str, Any]:
    found = checkpoint.find(folder, resume)
    assert found is not None
    return found


def test_saving_and_loading_keeps_the_content(folder):
    found = newest(folder)
    assert found["step"] == 30
    assert found["loader"] == {"epoch": 30}
    assert torch.equal(found["model"]["weight"], torch.full((1000,), 30.0))
    assert files(folder) == ["step_00000010.pt", "step_00000020.pt", "step_00000030.pt"]


def test_the_file_loads_without_running_code_in_it(folder):
    raw = torch.load(checkpoint.path_of(folder, 30), weights_only=True)
    assert raw["format"] == checkpoint.FORMAT


def test_content_that_could_not_be_read_back_is_refused_at_once(folder):
    """An optimizer of another package may keep NumPy's arrays: the run was saved, and could not go on."""
    moments = {"optimizer": {"state": {0: {"norms": np.zeros(2)}}}}
    with pytest.raises(UserError, match=r"^the state of the network or the optimizer holds objects of numpy.*, and no"):
        checkpoint.save(folder, 40, content(40) | moments, keep=3)
    assert files(folder) == ["step_00000010.pt", "step_00000020.pt", "step_00000030.pt"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6, unique=True), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_the_newest_are_kept_after_every_save(tmp_path_factory, steps, keep):
    folder = tmp_path_factory.mktemp("keep")
    for count, step in enumerate(sorted(steps), 1):
        checkpoint.save(folder, step, content(step), keep=keep)
        assert checkpoint.list_steps(folder) == sorted(steps)[:count][-keep:]


def test_old_checkpoints_are_removed_only_after_the_rename(folder, monkeypatch):
    def no_rename(*paths):
        assert len(checkpoint.list_steps(folder)) == 3
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", no_rename)
    with pytest.raises(OSError, match=r"Input/output error"):
        checkpoint.save(folder, 40, content(40), keep=1)
    assert checkpoint.list_steps(folder) == [10, 20, 30]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_old_checkpoints_and_leaves_no_temporary_file(folder, monkeypatch, call):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = files(folder)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device"):
        checkpoint.save(folder, 40, content(40), keep=1)
    assert files(folder) == before


def test_a_disk_that_fills_up_within_a_file_is_an_os_error(folder):
    before = files(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = content(40) | {"more": torch.zeros(10**6)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large"):
            checkpoint.save(folder, 40, large, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(folder) == before
    assert newest(folder)["step"] == 30


def test_temporary_files_of_a_killed_run_are_removed_by_the_next_save(folder):
    (folder / TEMPORARY.format("of-another-step")).write_bytes(b"half of one")
    assert newest(folder)["step"] == 30
    checkpoint.save(folder, 50, content(50), keep=1)
    assert files(folder) == ["step_00000050.pt"]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((100,), 30.0).numpy().tobytes()) + 40] ^= 1
    path.write_bytes(bytes(data))


def other_file(path):
    path.write_bytes(b"not a checkpoint" * 100)


@pytest.mark.parametrize("damage", [cut, empty, flip_a_bit, other_file])
def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning(folder, capsys, damage):
    damage(checkpoint.path_of(folder, 30))
    assert newest(folder)["step"] == 20
    warning = capsys.readouterr().out
    assert str(checkpoint.path_of(folder, 30)) in warning
    assert "is damaged" in warning


def test_damaged_checkpoints_do_not_displace_good_ones(folder):
    cut(checkpoint.path_of(folder, 30))
    checkpoint.save(folder, 25, content(25), keep=1)
    assert checkpoint.list_steps(folder) == [25, 30]
    assert newest(folder)["step"] == 25


def test_only_damaged_checkpoints_are_an_error(folder):
    for step in (10, 20, 30):
        cut(checkpoint.path_of(folder, step))
    with pytest.raises(UserError, match=r"0 of 3 checkpoints .* can be read; move the folder away to start again"):
        checkpoint.find(folder, "auto")
    path = checkpoint.path_of(folder, 20)
    with pytest.raises(UserError, match=rf"{path} is damaged .*; --resume takes auto, none or a checkpoint's .pt file"):
        checkpoint.find(folder, str(path))


def test_without_checkpoints_a_run_starts_from_scratch(tmp_path):
    (tmp_path / "step_x.pt").write_text("not one of ours")
    for how in ("auto", "none"):
        assert checkpoint.find(tmp_path, how) is None
        assert checkpoint.find(tmp_path / "missing", how) is None


def test_resume_none_refuses_a_folder_in_use(folder):
    with pytest.raises(UserError, match=r"up to step 30; pass --resume auto .* --work-dir"):
        checkpoint.find(folder, "none")


def test_an_explicit_file_is_used(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    path = str(checkpoint.path_of(folder, 20))
    assert newest(other, path)["step"] == 20
    with pytest.raises(UserError, match=r"step 20, but .* also holds step 30"):
        checkpoint.find(folder, path)
    with pytest.raises(UserError, match=r"no such checkpoint: .*nothing.pt; --resume takes auto"):
        checkpoint.find(folder, str(folder / "nothing.pt"))


def test_a_foreign_file_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"is not a checkpoint of clipfeed; `clipfeed import` takes those of other"):
        checkpoint.find(tmp_path, str(tmp_path / "other.pt"))


def test_a_foreign_file_in_torchs_old_format_suggests_import(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"damaged \(.*\), or is not one of clipfeed's; `clipfeed import` takes those"):
        checkpoint.read(tmp_path / "other.pth")


def test_a_file_of_a_later_format_is_refused(folder):
    path = checkpoint.path_of(folder, 30)
    torch.save(torch.load(path) | {"format": 2}, path)
    with pytest.raises(UserError, match=r"of another version of clipfeed, of format 2; this one reads format 1$"):
        checkpoint.read(path)
