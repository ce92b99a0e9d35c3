"""`reconstruction.png`, a task's picture of a batch, read back pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from dali_pipelines.draw import GAP, LINE, zoom
from nets.tasks import Pretext
from tests.helpers.runs import ROOT
from trainers.commands import pretrain, report
from trainers.engine.pictures import PICTURED, reconstruction
from trainers.engine.work_dir import OF_A_RUN, RECONSTRUCTION

SIDE, FRAMES = 64, 2


class Dimmed(Pretext):
    """Task that shows the clips, and next to them the same at half brightness."""

    def picture(self, batch):
        assert not self.training
        assert not torch.is_grad_enabled()
        return {"clip": batch["clips"], "dimmed": batch["clips"] / 2}


def test_each_clip_has_a_row_per_picture_of_the_task():
    clips = torch.rand(PICTURED + 3, 3, FRAMES, SIDE, SIDE)
    net = Dimmed().train()
    image = reconstruction(net, {"clips": clips})
    assert net.training
    assert image is not None
    tile, down = SIDE * zoom(SIDE), SIDE * zoom(SIDE) + LINE
    pixels, across = np.array(image), 8 // FRAMES  # two strips per clip and two clips per row
    assert across == 4
    assert pixels.shape[0] == (PICTURED // 2) * down + (PICTURED // 2 - 1) * 4 * GAP
    for sample in range(PICTURED):
        row, column = divmod(sample, 2)
        y, x = row * (down + 4 * GAP), column * (4 * tile + 3 * GAP + 4 * GAP)
        for part, factor in enumerate((1.0, 0.5)):
            for frame in range(FRAMES):
                left = x + (2 * part + frame) * (tile + GAP)
                shown = pixels[y : y + tile : zoom(SIDE), left : left + tile : zoom(SIDE)]
                expected = 255 * factor * clips[sample, :, frame].permute(1, 2, 0).numpy()
                np.testing.assert_allclose(shown, expected, atol=0.51)


def test_a_task_without_reconstruction_has_no_picture():
    assert reconstruction(Pretext(), {"clips": torch.rand(1, 3, 1, 8, 8)}) is None


@pytest.mark.slow
def test_a_run_writes_the_picture_and_the_report_names_it(demo_set, tmp_path, capsys):
    options = ["--data-dir", demo_set, "--work-dir", tmp_path / "run", "--max-steps", 1, "--device", "cpu"]
    options += ["--set", "train={log_every: 1, global_batch: 4}"]
    pretrain.main(["--config", *map(str, [ROOT / "configs/videomae/demo.yaml", *options])])
    picture = tmp_path / "run" / RECONSTRUCTION
    assert Image.open(picture).width > 8 * 64
    report.main(["--work-dir", str(tmp_path / "run"), "--out", str(tmp_path / "curves.png")])
    assert f"  clips         {picture}\n" in capsys.readouterr().out
    assert RECONSTRUCTION in OF_A_RUN
