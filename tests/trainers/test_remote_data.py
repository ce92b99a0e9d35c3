"""Commands on a dataset at a URL read it and its lists there, and write nothing to a folder of that name."""

import json

import numpy as np
import pytest

from dali_pipelines import preview
from tests.helpers.finetuning import RECIPE
from tests.helpers.http_files import served
from tests.helpers.runs import write_recipe as write_pretraining
from trainers.commands import extract_features, finetune, pretrain
from trainers.commands import test as test_command

pytestmark = pytest.mark.slow
CPU = ["--device", "cpu"]


@pytest.fixture(autouse=True)
def reject_url_folders(tmp_path, monkeypatch):
    """Run in a working directory in which a path made from the URL would show up."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.glob("http*"))


def test_finetune_and_test_from_a_url_match_the_local_results(root, tmp_path):
    results = {}
    with served(root) as files:
        for name, where in ("here", str(root)), ("there", files.url):
            recipe = tmp_path / f"{name}.yaml"
            recipe.write_text(RECIPE.format(work_dir=tmp_path / name, root=root))
            finetune.main(["--config", str(recipe), "--data-dir", where, "--mode", "scratch", "--max-steps", "2", *CPU])
            for protocol in "video", "retrieval":
                out = tmp_path / f"{name}_{protocol}"
                options = ["--checkpoint", str(tmp_path / name), "--data-dir", where, "--out", str(out)]
                test_command.main([*options, "--protocol", protocol, *CPU])
                results[name, protocol] = json.loads(next(out.glob("*.json")).read_text())
    for protocol in "video", "retrieval":
        here, there = (
            {key: value for key, value in results[name, protocol].items() if isinstance(value, float)}
            for name in ("here", "there")
        )
        assert here
        assert here == there


def test_pretraining_reads_dataset_and_list_from_a_url(root, tmp_path):
    recipe = write_pretraining(tmp_path, root)
    with served(root) as files:
        options = ["--data-dir", files.url, "--set", "data.list=train.txt", "--max-steps", "1"]
        pretrain.main(["--config", str(recipe), *options, *CPU])
        assert "/train.txt" in dict(files.asked)
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_the_preview_from_a_url_equals_the_local_one(root, tmp_path):
    recipe = write_pretraining(tmp_path, root)
    with served(root) as files:
        for name, where in ("here", root), ("there", files.url):
            preview.main(["--config", str(recipe), "--data-dir", str(where), "--out", str(tmp_path / f"{name}.png")])
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()


def test_features_from_a_url_equal_local_ones(root, tmp_path):
    recipe = write_pretraining(tmp_path, root)
    pretrain.main(["--config", str(recipe), "--max-steps", "1", *CPU])
    with served(root) as files:
        for number, tail in enumerate(("", "/videos/class0/video00.mp4")):
            values = []
            for where in (files.url, root):
                out = tmp_path / "features.npz"
                options = ["--checkpoint", str(tmp_path / "run"), "--out", str(out), "--clips", "1", "--workers", "0"]
                assert extract_features.main([f"{where}{tail}", *options, *CPU]) == 0
                with np.load(out) as file:
                    values.append(file["features"])
            assert len(values[0]) == (12, 1)[number]
            assert (values[0] == values[1]).all()


def test_a_url_without_dataset_is_named(root, tmp_path):
    recipe = write_pretraining(tmp_path, root)
    with served(root) as files, pytest.raises(Exception, match=f"{files.url}/none is no prepared dataset"):
        pretrain.main(["--config", str(recipe), "--data-dir", f"{files.url}/none", *CPU])
