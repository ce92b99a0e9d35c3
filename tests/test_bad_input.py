"""What people get wrong: one line that names the thing and the way out, status 2, and nothing of theirs lost."""

import csv
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from configs import errors
from configs.errors import UserError, run_cli
from dali_pipelines import prepare
from dali_pipelines.store.index import Index
from tests.helpers.loop import history, lines
from tests.helpers.media import make_video
from tests.helpers.processes import join, start_command
from tests.helpers.ranks import two_ranks
from tests.helpers.runs import PRETRAIN, write_recipe
from trainers.commands import pretrain, probe

pytestmark = pytest.mark.slow


@pytest.fixture
def refused(monkeypatch, capsys) -> Callable[..., str]:
    """Call a command as its `__main__` does; return its only line on stderr after checking the status."""

    def call(main, *args: object) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run_cli(main)
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return call


def train(recipe: Path, *args: object) -> None:
    pretrain.main(["--config", str(recipe), "--device", "cpu", *map(str, args)])


def copy_of(store: Index, root: Path) -> Index:
    shutil.copytree(store.root, root)
    return Index.load(root)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(vp9_store, tmp_path_factory) -> Path:
    """A folder with a finished run of 6 steps in "run", checkpoints of steps 4 and 6."""
    folder = tmp_path_factory.mktemp("whole")
    train(write_recipe(folder, vp9_store.root), "--max-steps", 6)
    return folder


@pytest.fixture
def earlier(whole, vp9_store, tmp_path) -> tuple[Path, Path]:
    """A recipe whose work dir holds a copy of that run, and the folder of its checkpoints."""
    shutil.copytree(whole / "run", tmp_path / "run")
    return write_recipe(tmp_path, vp9_store.root), tmp_path / "run" / "checkpoints"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


# Datasets


def test_a_folder_that_is_no_dataset_is_named_with_the_command_that_makes_one(vp9_store, tmp_path, refused):
    recipe = write_recipe(tmp_path, vp9_store.root)
    (tmp_path / "empty").mkdir()
    video = make_video(tmp_path / "raw" / "class" / "a.mp4", frames=3)
    for data, means in {
        tmp_path / "nowhere": "does not exist; make a dataset with `clipfeed prepare SRC --out DIR`",
        tmp_path / "empty": f"has no index.npz); make one with `clipfeed prepare SRC --out {tmp_path}",
        tmp_path / "raw": f"run `clipfeed prepare {tmp_path / 'raw'} --out DIR` and give DIR",
        video: "is a file and not the folder of a dataset",
    }.items():
        line = refused(pretrain.main, "--config", recipe, "--data-dir", data)
        assert line.startswith(f"error: {data} ")
        assert means in line
    assert not (tmp_path / "run").exists()


def test_a_dataset_smaller_than_a_batch(vp9_store, tmp_path, refused):
    recipe = write_recipe(tmp_path, vp9_store.root)
    line = refused(pretrain.main, "--config", recipe, "--set", "train.global_batch=16")
    assert f"{vp9_store.root} has 12 videos, fewer than one global batch of 16: lower train.global_batch" in line


def test_a_list_that_is_missing_or_names_missing_videos(vp9_store, tmp_path, refused):
    recipe = write_recipe(tmp_path, vp9_store.root)
    line = refused(pretrain.main, "--config", recipe, "--set", f"data.list={tmp_path / 'gone.txt'}")
    assert "cannot read the list of videos" in line
    assert f"{tmp_path / 'gone.txt'}': No such file or directory" in line
    (tmp_path / "list.txt").write_text("class0/video00.avi 1\nclass0/gone.avi 1\n")
    line = refused(pretrain.main, "--config", recipe, "--set", f"data.list={tmp_path / 'list.txt'}")
    assert f"list.txt names 1 videos that {vp9_store.root} does not hold (class0/gone.avi)" in line


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: cut(path, 600)], ids=["deleted", "truncated"])
def test_a_video_damaged_after_prepare_has_a_stand_in_that_is_named(vp9_store, tmp_path, caplog, damage, workers):
    store = copy_of(vp9_store, tmp_path / "store")
    damage(store.path(3))
    train(write_recipe(tmp_path, Path(store.root)), "--max-steps", 3, "--set", f"data.workers={workers}")
    (message,) = caplog.messages
    assert message.startswith(f"{store.info(3).name} is unreadable and replaced by others from now on: ")
    assert str(store.path(3)) in message
    assert [(line["step"], line["unreadable_videos"]) for line in lines(tmp_path)][-1] == (3, 1)


def test_a_dataset_that_lost_all_its_videos(vp9_store, tmp_path, refused):
    store = copy_of(vp9_store, tmp_path / "store")
    shutil.rmtree(Path(store.root, "videos"))
    line = refused(pretrain.main, "--config", write_recipe(tmp_path, Path(store.root)))
    assert f"{store.root}: 20 videos in a row could not be read (cannot read {store.root}/videos/" in line
    assert "is the folder complete?" in line
    assert "Run `clipfeed prepare`" in line


# Videos given to prepare


def test_videos_that_cannot_be_used_are_listed_with_the_reason_and_the_others_train(tmp_path, capsys):
    videos = tmp_path / "videos"
    for number in range(4):
        make_video(videos / f"good{number}.mp4", frames=20)
    make_video(videos / "one.mp4", frames=1)
    (videos / "text.mp4").write_text("not a video\n" * 100)
    cut(make_video(videos / "truncated.mp4", frames=20), 3000)
    webm = make_video(videos / "half.webm", codec="vp9", frames=40)
    cut(webm, webm.stat().st_size // 2)
    data = tmp_path / "data"
    assert prepare.main([str(videos), "--out", str(data), "--workers", "1"]) == 3
    assert f"quarantined 4 of 8 videos, reasons in {data / 'quarantine.csv'}" in capsys.readouterr().out
    with (data / "quarantine.csv").open() as file:
        reasons = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {
        "one.mp4": "has only one frame, a clip needs motion",
        "text.mp4": "not a video file, or its header is damaged",
        "truncated.mp4": "not a video file, or its header is damaged",
        "half.webm": reasons["half.webm"],
    }
    assert reasons["half.webm"].startswith("truncated: the header says 1.6 s")
    train(write_recipe(tmp_path, data), "--max-steps", 1)


def test_prepare_with_nothing_usable_or_nowhere_to_write(tmp_path, refused):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    line = refused(prepare.main, text, "--out", tmp_path / "data", "--workers", 1)
    assert line.startswith("error: none of the 1 videos can be used, see ")
    assert line.endswith(f"{text}: not a video file, or its header is damaged")
    with pytest.raises(UserError, match=r"cannot write the dataset to .*text.mp4/x: Not a directory; give another"):
        prepare.main([str(text), "--out", str(text / "x")])


# Configs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=3", "--set train.epoch: no such key; did you mean train.epochs?"),
        ("train.epochs=many", "--set train.epochs: expected a whole number, got 'many'"),
        ("task=cpt", "--set task: no task 'cpt'; did you mean ctp?"),
        ("backbone=r3d_18", "backbone: no 'r3d_18'; did you mean r3d18?; there are: r3d18, "),
        ("plan.strides=[]", "--set plan.strides = [] must be one whole number or more, each at least 1"),
        ("plan.short_sides=[0]", "--set plan.short_sides = [0] must be one whole number or more, each at least 1"),
        ("plan.num_frames=1", "--set plan.num_frames = 1 must be at least 2"),
        ("plan.size=0", "--set plan.size = 0 must be at least 16"),
        ("plan.patches=0", "--set plan.patches = 0 must be at least 1"),
        ("plan.flip_prob=2", "--set plan.flip_prob = 2.0 must be from 0 to 1"),
        ("plan.visible_prob=.nan", "--set plan.visible_prob = nan must be from 0 to 1"),
        ("plan.velocity=-1", "--set plan.velocity = -1.0 must be from 0 to 64"),
        ("plan.growth=.inf", "--set plan.growth = inf must be from 0 to 1"),
    ],
)
def test_a_wrong_setting_names_key_and_value(vp9_store, tmp_path, refused, change, message):
    recipe = write_recipe(tmp_path, vp9_store.root)
    line = refused(pretrain.main, "--config", recipe, "--device", "cpu", "--set", change)
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_typo_in_the_file_names_file_and_key_and_a_missing_file_is_named(vp9_store, tmp_path, refused):
    recipe = write_recipe(tmp_path, vp9_store.root)
    recipe.write_text(recipe.read_text().replace("log_every", "log_evry"))
    line = refused(pretrain.main, "--config", recipe)
    assert line == f"error: {recipe}: train.log_evry: no such key; did you mean train.log_every?"
    line = refused(pretrain.main, "--config", tmp_path / "gone.yaml")
    assert line.startswith(f"error: cannot read the config '{tmp_path / 'gone.yaml'}': No such file or directory; ")


@pytest.mark.parametrize("option", ["--clips", "--stride"])
def test_a_probe_without_clips_or_run(tmp_path, option, refused, capsys):
    needed = ["--work-dir", str(tmp_path / "gone"), "--train", "a", "--test", "b"]
    assert refused(probe.main, *needed).startswith(f"error: no run at {tmp_path / 'gone'}; make one with ")
    with pytest.raises(SystemExit, match="2"):
        probe.main([*needed, option, "0"])
    assert capsys.readouterr().err.endswith(f"error: {option} 0: at least 1\n")


# Work dirs and checkpoints


@pytest.mark.parametrize("work_dir", ["file", "file/run", "holds_file"])
def test_a_work_dir_that_takes_no_files_is_known_before_training(vp9_store, tmp_path, refused, work_dir):
    (tmp_path / "file").write_text("")
    (tmp_path / "holds_file").mkdir()
    (tmp_path / "holds_file" / "checkpoints").write_text("")
    recipe = write_recipe(tmp_path, vp9_store.root)
    line = refused(pretrain.main, "--config", recipe, "--work-dir", tmp_path / work_dir)
    assert line.startswith(f"error: cannot write to {tmp_path / work_dir}")
    assert line.endswith("; choose another --work-dir")


def as_of_task(path: Path, task: str) -> None:
    content = torch.load(path, weights_only=True)
    content["identity"]["task"] = task
    torch.save(content, path)


def test_a_checkpoint_of_another_task_backbone_or_plan_is_refused_and_kept(earlier, refused):
    recipe, checkpoints = earlier
    before = contents(checkpoints.parent)
    line = refused(pretrain.main, "--config", recipe, "--set", "backbone=r3d18")
    assert "checkpoint of step 6 has backbone = 'r3d_tiny', this run has 'r3d18'; set it back to 'r3d_tiny'" in line
    line = refused(pretrain.main, "--config", recipe, "--set", "plan.num_frames=16")
    assert "of another network: plan.num_frames: 8 -> 16; set that back, or pass another --work-dir" in line
    assert contents(checkpoints.parent) == before
    as_of_task(checkpoints / "step_00000006.pt", "vcop")
    line = refused(pretrain.main, "--config", recipe)
    assert "checkpoint of step 6 has task = 'vcop', this run has 'ctp'" in line


def test_a_checkpoint_cut_short_is_passed_over_for_the_one_before_it(earlier, whole, tmp_path, capsys):
    recipe, checkpoints = earlier
    cut(checkpoints / "step_00000006.pt", 5000)
    train(recipe, "--max-steps", 6)
    output = capsys.readouterr().out
    assert f"warning: checkpoint {checkpoints / 'step_00000006.pt'} is damaged" in output
    assert "resumed at step 4 of 12 from" in output
    assert history(tmp_path) == history(whole)


def test_checkpoints_all_cut_short_are_an_error_and_no_fresh_start(earlier, refused):
    recipe, checkpoints = earlier
    for path in checkpoints.iterdir():
        cut(path, 5000)
    before = contents(checkpoints.parent)
    line = refused(pretrain.main, "--config", recipe)
    assert f"none of the 2 checkpoints in {checkpoints} is readable; move them away to start again" in line
    line = refused(pretrain.main, "--config", recipe, "--work-dir", checkpoints.parents[1] / "new", "--resume", path)
    assert f"checkpoint {path} is damaged" in line
    assert "--resume takes auto, none or a checkpoint's .pt file" in line
    assert contents(checkpoints.parent) == before


# The command line itself


def test_under_torchrun_the_line_comes_once(vp9_store, tmp_path):
    recipe, gone = write_recipe(tmp_path, vp9_store.root), tmp_path / "gone"
    # As torchrun does, the other rank is killed when the first has failed.
    statuses, said = two_ranks(PRETRAIN, tmp_path, "--config", recipe, "--data-dir", gone, "--device", "cpu", grace=3)
    assert statuses == [2, -signal.SIGKILL]
    assert [line for line in said.splitlines() if "gone" in line] == [
        f"error: {gone} does not exist; make a dataset with "
        "`clipfeed prepare SRC --out DIR` and give DIR, to a recipe with --data-dir"
    ]
    assert "gone" not in (tmp_path / "rank1.out").read_text()


def test_an_error_of_another_rank_alone_is_not_swallowed(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(errors, "REPORT_DELAY_S", 0)
    monkeypatch.setenv("RANK", "1")
    line = refused(pretrain.main, "--config", tmp_path / "gone.yaml")
    assert line.startswith("error: rank 1: cannot read the config")


def test_debug_shows_the_traceback_and_without_it_there_is_one_line_and_status_2(tmp_path):
    arguments = (PRETRAIN, "--config", tmp_path / "gone.yaml")
    plain, debug = tmp_path / "plain", tmp_path / "debug"
    assert join([start_command(*arguments, output=plain)]) == [2]
    assert plain.read_text().count("\n") == 1
    assert join([start_command(*arguments, "--debug", output=debug)]) == [1]
    assert "Traceback" in debug.read_text()
    assert "gone.yaml" in debug.read_text().splitlines()[-1]
