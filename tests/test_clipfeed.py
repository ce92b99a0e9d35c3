"""The README's Python, run as it stands, against the commands."""

import re

import numpy as np
import pytest
import torch

import clipfeed
from configs.errors import UserError
from tests.helpers.media import make_video
from tests.helpers.runs import ROOT
from tests.trainers.test_weights import write_checkpoint
from trainers.commands.extract_features import main
from trainers.engine import checkpoint


def readme_blocks() -> list[str]:
    """The code blocks of the README's section on Python."""
    section = (ROOT / "README.md").read_text().partition("## Python in five lines")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture
def folder(vp9_store, tmp_path, monkeypatch):
    """The current directory, with all that the README names: a store, a run and plain videos."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(vp9_store.root)
    for name, frames in {"one/a": 40, "two/b": 24}.items():
        make_video(tmp_path / "videos" / f"{name}.mp4", frames=frames)
    checkpoints = tmp_path / "runs" / "mine" / "checkpoints"
    checkpoints.mkdir(parents=True)
    write_checkpoint(checkpoint.path_of(checkpoints, 6))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def test_the_readme_loads_clips_and_extracts_the_features_of_the_command(folder, capsys):
    loader_and_features, backbone_alone = readme_blocks()
    names: dict = {}
    exec(loader_and_features, names)
    shapes = f"{torch.Size([4, 3, 16, 112, 112])} {torch.Size([4, 3, 16, 4])}\n"
    assert capsys.readouterr().out == 3 * shapes  # 12 videos

    features = names["features"]
    out = folder / "features.npz"
    options = ["--checkpoint", "runs/mine", "--out", str(out), "--workers", "0", "--device", "cpu"]
    assert main(["videos", *options]) == 0
    with np.load(out) as written:
        assert features.names == written["names"].tolist() == ["one/a", "two/b"]
        assert features.class_names == tuple(written["class_names"]) == ("one", "two")
        np.testing.assert_array_equal(features.labels, written["labels"])
        np.testing.assert_array_equal(features.values, written["features"])
        assert features.values.shape == (2, 64)

    exec(backbone_alone, names)
    trained = write_checkpoint(folder / "same.pt")
    for key, value in names["backbone"].state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])


def test_loaded_weights_and_a_list_of_sources_give_the_features_of_their_paths(folder):
    one = clipfeed.extract_features("runs/mine", "videos", clips=2, device="cpu")
    weights = clipfeed.load_weights(folder / "runs" / "mine")
    other = clipfeed.extract_features(weights, [folder / "videos"], clips=2, device="cpu")
    np.testing.assert_array_equal(one.values, other.values)


def test_a_task_is_loaded_by_a_recipes_name_by_its_file_and_with_changes(folder):
    by_name = clipfeed.load_task("ctp/demo", "plan.size=48")
    by_file = clipfeed.load_task(ROOT / "configs" / "ctp" / "demo.yaml", "plan.size=48")
    assert by_name == by_file
    assert by_name.batch_schema["clips"][0][-2:] == (48, 48)
    with pytest.raises(UserError, match=r"cannot read the config 'ctp/dmo'.*did you mean ctp/demo"):
        clipfeed.load_task("ctp/dmo")
