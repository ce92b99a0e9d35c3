"""The Python of docs/api.md, run unchanged, against the commands and an uninterrupted epoch."""

from typing import Any

import numpy as np
import pytest
import torch

import clipfeed
from configs.errors import UserError
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.docs import run
from tests.helpers.runs import ROOT
from tests.helpers.users_folder import make_users_folder
from trainers.commands.extract_features import main


@pytest.fixture
def folder(vp9_store, tmp_path, monkeypatch):
    """Change into a directory with everything that the page names."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(make_users_folder(tmp_path, vp9_store))
    return tmp_path


@pytest.mark.slow
def test_the_api_page_runs_and_matches_the_command(folder, capsys):
    names = run(ROOT / "docs" / "api.md")
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

    trained = write_checkpoint(folder / "same.pt")
    for key, value in names["backbone"].state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])

    whole = clipfeed.ClipLoader(clipfeed.open_dataset("data/mine"), names["task"], batch_size=4)
    assert names["rest"] == [batch["index"][:2].tolist() for batch in whole][1:]


def test_weights_and_source_lists_give_the_features_of_paths(folder):
    one = clipfeed.extract_features("runs/mine", "videos", clips=2, device="cpu")
    weights = clipfeed.load_weights(folder / "runs" / "mine")
    other = clipfeed.extract_features(weights, [folder / "videos"], clips=2, device="cpu")
    np.testing.assert_array_equal(one.values, other.values)


def test_an_open_dataset_gives_the_features_of_its_list_alone(folder):
    whole = clipfeed.extract_features("runs/mine", "data/mine", clips=1, device="cpu")
    (folder / "list.txt").write_text("\n".join([whole.names[7], whole.names[2]]))
    part = clipfeed.extract_features("runs/mine", clipfeed.open_dataset("data/mine", "list.txt"), clips=1, device="cpu")
    assert part.names == [whole.names[2], whole.names[7]]
    assert part.labels.tolist() == whole.labels[[2, 7]].tolist()
    np.testing.assert_allclose(part.values, whole.values[[2, 7]], rtol=1e-5)


def test_features_neither_draw_the_callers_random_numbers_nor_take_its_defaults(folder):
    """Between two epochs they would change how a loop of one's own trains."""
    before = torch.get_rng_state()
    one = clipfeed.extract_features("runs/mine", "videos", clips=1, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        other = clipfeed.extract_features("runs/mine", "videos", clips=1, device="cpu")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    np.testing.assert_array_equal(one.values, other.values)


def test_load_task_takes_recipe_names_files_and_overrides(folder):
    by_name = clipfeed.load_task("ctp/demo", "plan.size=48")
    by_file = clipfeed.load_task(ROOT / "configs" / "ctp" / "demo.yaml", "plan.size=48")
    assert by_name == by_file
    assert by_name.batch_schema["clips"][0][-2:] == (48, 48)
    with pytest.raises(UserError, match=r"cannot read the config 'ctp/dmo'.*did you mean ctp/demo"):
        clipfeed.load_task("ctp/dmo")


def test_reprs_fit_a_screen(folder):
    for shown in (clipfeed.open_dataset("data/mine"), clipfeed.load_weights("runs/mine")):
        assert len(repr(shown)) < 2000


def test_numbers_of_numpy_are_numbers_and_others_are_refused(folder):
    """np.int64(2) clips were one clip at a random time."""
    two: Any = np.int64(2)
    whole, numpys = (clipfeed.extract_features("runs/mine", "videos", clips=n, device="cpu") for n in (2, two))
    np.testing.assert_array_equal(numpys.values, whole.values)
    with pytest.raises(ValueError, match=r"^stride = 1\.5 must be a whole number$"):
        clipfeed.extract_features("runs/mine", "videos", stride=1.5)  # type: ignore[arg-type]
