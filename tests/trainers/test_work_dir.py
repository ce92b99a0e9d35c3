"""One run per folder: what happens to the files of an earlier run, and what a resume reports."""

import os
import re
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from tests.helpers.loop import assert_same_weights, history, run, weights
from tests.helpers.runs import ROOT, write_recipe
from trainers.commands import pretrain
from trainers.engine import checkpoint
from trainers.engine.work_dir import OF_A_RUN, locked, make_way, run_in


@pytest.fixture(scope="module")
def first_checkpoint(tmp_path_factory):
    """Return the checkpoint of a run's first four steps."""
    folder = tmp_path_factory.mktemp("begun")
    run(folder, "--max-steps", "4")
    return folder / "run" / "checkpoints" / "step_00000004.pt"


def test_a_second_run_is_refused_and_a_stale_lock_is_ignored(tmp_path):
    work_dir = tmp_path / "run"
    work_dir.mkdir()
    with (
        locked(work_dir),
        pytest.raises(
            UserError, match=rf"another run is training in {work_dir} \(process {os.getpid()} on .*--work-dir"
        ),
    ):
        run(tmp_path, "--max-steps", "1")
    assert not (work_dir / "checkpoints" / "step_00000001.pt").exists()
    assert "process" in (work_dir / ".lock").read_text()
    run(tmp_path, "--max-steps", "1")
    assert (work_dir / "checkpoints" / "step_00000001.pt").exists()


def test_a_new_run_moves_old_files_aside(whole, tmp_path, capsys):
    """When the user had moved the checkpoints away, as a message advises, all other files were once left in place."""
    run(tmp_path, "--max-steps", "2")
    work_dir = tmp_path / "run"
    first, lines = run_in(work_dir), (work_dir / "metrics.jsonl").read_text()
    (work_dir / "checkpoints" / "step_00000002.pt").unlink()
    (work_dir / "checkpoints" / "best.pt").write_text("the best of the first run")
    run(tmp_path, "--max-steps", "3")
    assert (
        f"note: {work_dir} holds files of an earlier run: they are moved to {work_dir}/earlier_1"
        in capsys.readouterr().out
    )
    earlier = work_dir / "earlier_1"
    assert (earlier / "metrics.jsonl").read_text() == lines
    assert (earlier / "best.pt").read_text() == "the best of the first run"
    assert {"config.yaml", "tensorboard"} < {path.name for path in earlier.iterdir()}
    assert not (work_dir / "checkpoints" / "best.pt").exists()
    assert history(tmp_path) == history(whole)[:3]
    second = run_in(work_dir)
    assert re.fullmatch("[0-9a-f]{12}", second)
    assert first != second
    run(tmp_path, "--max-steps", "4")  # same run: nothing moves
    assert [path.name for path in work_dir.glob("earlier_*")] == ["earlier_1"]
    newest = torch.load(work_dir / "checkpoints" / "step_00000004.pt", weights_only=True)
    assert newest["run"] == run_in(work_dir) == second


def test_every_file_that_the_docs_name_is_moved_aside():
    """The missing.csv of an earlier run stayed, as if it were of the new one."""
    page = (ROOT / "docs" / "training.md").read_text()
    table = page.partition("## What a run writes\n")[2].partition("\n## ")[0]
    columns = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    named = {name.rstrip("/") for column in columns for name in re.findall("`(.+?)`", column)}
    assert named - {"checkpoints/step_*.pt", "earlier_1"} == {*OF_A_RUN}


def test_a_run_whose_folder_is_moved_saves_ends_and_resumes(whole, tmp_path, monkeypatch):
    after_the_first_checkpoint(monkeypatch, lambda work_dir: work_dir.rename(tmp_path / "moved"))
    with pytest.raises(UserError, match=r"was moved or deleted while .*step_00000008.pt is all that is there now"):
        run(tmp_path)
    assert history(tmp_path, name="moved") == history(whole)[:8]
    run(tmp_path)
    assert history(tmp_path) == history(whole)[8:]
    assert_same_weights(weights(tmp_path), weights(whole))


def test_a_folder_taken_over_by_another_run_is_left_alone(tmp_path, monkeypatch):
    def begin_another(work_dir: Path) -> None:
        work_dir.rename(tmp_path / "moved")
        (work_dir / "checkpoints").mkdir(parents=True)
        (work_dir / "config.yaml").write_text("# run 0123456789ab\n")
        (work_dir / "checkpoints" / "step_00000002.pt").write_text("of the other run")

    after_the_first_checkpoint(monkeypatch, begin_another)
    with pytest.raises(UserError, match=r"run was moved or deleted .*, and another has begun there: this one ends"):
        run(tmp_path, "--set", "train.keep=1")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000002.pt"]


def after_the_first_checkpoint(monkeypatch, act):
    """Have `act` called with the work dir once the first checkpoint, of step 4, is written."""
    save = checkpoint.save

    def save_and_act(folder, step, content, *, keep):
        saved = save(folder, step, content, keep=keep)
        if step == 4:
            act(folder.parent)
        return saved

    monkeypatch.setattr(checkpoint, "save", save_and_act)


def test_kills_while_moving_files_aside_lose_none(tmp_path, monkeypatch):
    """Each start moves one file and is killed."""
    results = ("metrics.jsonl", "validation.jsonl", "train.csv", "config.yaml")
    for name in results:
        (tmp_path / name).write_text("of the first run")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.pt").write_text("of the first run")
    rename, killed = Path.rename, 0

    def rename_one(path, target):
        if path.parent.joinpath("moved").exists():
            raise KeyboardInterrupt
        rename(path, target)
        (tmp_path / "moved").touch()
        (tmp_path / "checkpoints" / "moved").touch()

    monkeypatch.setattr(Path, "rename", rename_one)
    while True:
        try:
            make_way(tmp_path, "second")
            break
        except KeyboardInterrupt:
            killed += 1
            for mark in tmp_path.rglob("moved"):
                mark.unlink()
    assert killed == len(results)
    moved = sorted(path.name for path in tmp_path.glob("earlier_*/*"))
    assert moved == sorted(["best.pt", *results])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["moved"]


def test_resume_prints_the_step_and_changed_options(whole, first_checkpoint, tmp_path, capsys):
    run(tmp_path, "--resume", str(first_checkpoint), "--max-steps", "5")
    output = capsys.readouterr().out
    assert f"resumed at step 4 of 15 from {first_checkpoint}" in output
    assert "changed since" not in output
    assert history(tmp_path) == history(whole)[4:5]
    run(tmp_path, "--max-steps", "6", "--set", "optim.lr=0.5", "--set", "train.epochs=4", "--set", "schedule.gamma=0.2")
    output = capsys.readouterr().out
    newest = tmp_path / "run" / "checkpoints" / "step_00000005.pt"
    assert f"resumed at step 5 of 20 from {newest}" in output
    changes = "optim.lr: 0.05 -> 0.5, schedule.gamma: 0.1 -> 0.2, train.epochs: 3 -> 4"
    assert f"note: changed since step 5: {changes}\n" in output


def test_a_finished_run_continues_only_with_more_epochs(tmp_path, capsys):
    one = ("--set", "train.epochs=1")
    run(tmp_path, *one)
    capsys.readouterr()
    run(tmp_path, *one, "--set", "optim.lr=0.5")
    note, line, *_ = capsys.readouterr().out.splitlines()
    assert note == "note: changed since step 5: optim.lr: 0.05 -> 0.5"
    assert line.startswith("nothing to do: ")
    assert line.endswith(
        " has done 5 of 5 steps; raise train.epochs to go on, or pass another --work-dir to start a new run"
    )
    assert "lr: 0.05" in (tmp_path / "run" / "config.yaml").read_text()
    run(tmp_path, "--set", "train.epochs=2", "--max-steps", "6")
    assert "note: changed since step 5: train.epochs: 1 -> 2" in capsys.readouterr().out
    assert [line["step"] for line in history(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("more", "what"), [({}, "holds a network alone, as best.pt does"), ({"imported": {}}, "was imported")]
)
def test_files_that_cannot_be_resumed_are_refused(first_checkpoint, tmp_path, more, what):
    content = checkpoint.read(first_checkpoint)
    path = tmp_path / "best.pt"
    checkpoint.write(path, {key: content[key] for key in ("run", "identity", "config", "model", "step")} | more)
    with pytest.raises(UserError) as caught:
        run(tmp_path, "--resume", str(path))
    assert str(caught.value) == (
        f"--resume {path}: it {what}, and no training can go on from it; give a step_*.pt, or start a new run with "
        f"clipfeed finetune --pretrained {path}"
    )


def test_a_resume_finishes_the_save_that_was_killed_before_it_removed_the_oldest(tmp_path):
    """With the number to keep of that save: another one, given later, removes nothing until the next save."""
    for step in ("1", "2", "3"):
        run(tmp_path, "--max-steps", step, "--set", "train.keep=2")
    folder = tmp_path / "run" / "checkpoints"
    assert checkpoint.list_steps(folder) == [2, 3]
    checkpoint.path_of(folder, 1).write_bytes(checkpoint.path_of(folder, 2).read_bytes())
    run(tmp_path, "--max-steps", "3", "--set", "train.keep=1")
    assert checkpoint.list_steps(folder) == [2, 3]


def test_a_checkpoint_of_another_run_is_refused(first_checkpoint, tmp_path):
    run(tmp_path, "--max-steps", "1")
    with pytest.raises(UserError, match=f"--resume {first_checkpoint} is of another run than the checkpoints in "):
        run(tmp_path, "--resume", str(first_checkpoint))
    assert checkpoint.list_steps(tmp_path / "run" / "checkpoints") == [1]


def test_a_checkpoint_with_nan_is_not_resumed(first_checkpoint, tmp_path):
    content = checkpoint.read(first_checkpoint)
    content["model"]["head.2.bias"].fill_(torch.nan)
    checkpoint.write(tmp_path / "step_00000004.pt", content)
    with pytest.raises(UserError, match=r"step_00000004.pt holds nan or infinity in 1 of \d+ tensors \(head.2.bias\)"):
        run(tmp_path, "--resume", str(tmp_path / "step_00000004.pt"))


def test_fewer_videos_than_a_global_batch_are_refused(tmp_path):
    """42 videos make 7 batches of 6, but a step needs 8."""
    message = "nowhere has 42 videos, fewer than one global batch of 48: lower train.global_batch or add videos"
    with pytest.raises(UserError, match=message):
        run(tmp_path, "--set", "train.global_batch=48", "--set", "train.accumulate=8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("optim.name=sdg",), "optim.name: no 'sdg'; did you mean sgd?; there are: sgd, adam, adamw, lars"),
        (("train.loggers=[tensorbord]",), "train.loggers: no 'tensorbord'; did you mean tensorboard?"),
        (("backbone=r3d_18",), "backbone: no 'r3d_18'; did you mean r3d18?"),
        (
            ("schedule.kind=warmup_cosine", "optim.lr=1e-6"),  # once ran at 1e-5
            "optim.lr = 1e-06 is below schedule.min_lr = 1e-05, the rate that warmup_cosine begins and ends with: ",
        ),
    ],
)
def test_names_and_rates_are_checked_before_the_dataset(tmp_path, changes, message):
    recipe = write_recipe(tmp_path, tmp_path / "gone")
    options = [word for change in changes for word in ("--set", change)]
    with pytest.raises(UserError, match=re.escape(message)):
        pretrain.main(["--config", str(recipe), "--device", "cpu", *options])
