"""Steps with a non-finite gradient are skipped, up to the allowed number, and leave no trace in the network."""

import pytest
import torch
from PIL import Image

from configs.errors import UserError
from tests.helpers.loop import LATE_ROW, assert_same_weights, lines, run, weights

EVERY_STEP = ("--set", "train.checkpoint_every=1", "--set", "train.keep=20")
PASSED_OVER = ("--set", f"plan.nan_row={LATE_ROW}", "--set", "train.skip_nonfinite=2")


def test_a_skipped_step_changes_neither_weights_nor_statistics(tmp_path, capsys):
    run(tmp_path, "--max-steps", "7", *EVERY_STEP, *PASSED_OVER)
    for step in (5, 6):  # the last of an epoch and the first of the next
        assert_same_weights(weights(tmp_path, step), weights(tmp_path, 4))  # including batch norm's statistics
    moved = weights(tmp_path, 7)
    assert all(value.isfinite().all() for value in moved.values())
    assert not torch.equal(moved["head.2.weight"], weights(tmp_path, 6)["head.2.weight"])
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 8))
    warning, _ = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warning.startswith("warning: step 5: some samples have nan or infinity in clips")
    assert f"{LATE_ROW} class/video_{LATE_ROW}. Nothing was updated" in warning
    with Image.open(tmp_path / "run" / "nonfinite" / "step_00000005_rank_0_0.png") as picture:
        assert min(picture.size) > 8


def test_too_many_skipped_steps_in_a_row_end_the_run(tmp_path):
    """The first update moves the weights so far that no later step is finite."""
    far = ("--set", "optim.lr=2e9", "--set", "schedule.warmup_iters=0", "--set", "optim.clip_norm=null")
    for allowed in (0, 2):
        name = f"allowed_{allowed}"
        with pytest.raises(UserError, match=rf"^step {2 + allowed}: the loss is not finite"):
            run(tmp_path, *far, "--set", f"train.skip_nonfinite={allowed}", name=name)
        assert len(lines(tmp_path, name)) == 1 + allowed


def test_a_resumed_run_skips_the_same_steps(tmp_path):
    run(tmp_path, *PASSED_OVER, name="whole")
    for steps in (4, 6, 15):
        run(tmp_path, *PASSED_OVER, "--max-steps", str(steps))
    assert_same_weights(weights(tmp_path), weights(tmp_path, name="whole"))
