"""Every recipe has a setting for speed, `+speed`, which leaves the rest unchanged."""

import dataclasses

import pytest

from configs.errors import UserError
from configs.load import load
from configs.recipes import find, names


@pytest.mark.parametrize("name", names())
def test_speed_changes_only_settings_of_speed(name):
    slow, fast = load(name), load(f"{name}+speed")
    assert fast.train.amp == "bf16"
    assert fast.train.global_batch >= 256
    assert fast.data.workers >= 8
    assert fast.work_dir == f"{slow.work_dir}_speed"
    restored = dataclasses.replace(
        fast,
        train=dataclasses.replace(fast.train, amp=slow.train.amp, global_batch=slow.train.global_batch),
        data=dataclasses.replace(fast.data, workers=slow.data.workers),
        optim=dataclasses.replace(fast.optim, lr=slow.optim.lr),
        work_dir=slow.work_dir,
    )
    assert restored == slow


def test_learning_rate_scales_with_the_batch_or_its_root_for_adamw(tmp_path):
    assert load("ctp/r3d18_ucf101").optim.lr == 0.01
    assert load("ctp/r3d18_ucf101+speed").optim.lr == pytest.approx(0.08)
    recipe = tmp_path / "mine.yaml"
    text = find("ctp/r3d18_ucf101").read_text().replace("name: sgd", "name: adamw")
    recipe.write_text(text.replace("global_batch: 32", "global_batch: 64"))
    assert load(f"{recipe}+speed").optim.lr == pytest.approx(0.02)
    recipe.write_text(text.replace("global_batch: 32", "global_batch: 1024"))
    assert load(tmp_path / "mine+speed").optim.lr == 0.01
    assert load(tmp_path / "mine+speed").train.global_batch == 1024


def test_set_overrides_speed_and_a_misspelled_recipe_is_named():
    assert load("ctp/r3d18_ucf101+speed", ["train.global_batch=64"]).train.global_batch == 64
    with pytest.raises(UserError, match="no recipe is called ctp/r3d18_ucf10; did you mean ctp/r3d18_ucf101"):
        load("ctp/r3d18_ucf10+speed")
