"""The picture of what the network sees."""

import pytest
import torch
from torchvision.io import decode_image

from configs.errors import UserError
from dali_pipelines.preview import COLOURS, ZOOM, main

RECIPE = "{task: ctp, backbone: r3d_tiny, work_dir: w, data: {root: ROOT}, plan: {strides: [1]}, train: {epochs: 1}}"
RED = torch.tensor([255, 0, 0]).view(3, 1, 1)


@pytest.fixture
def recipe(tmp_path, vp9_store):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("ROOT", str(vp9_store.root)))
    return path


def test_every_tile_is_a_frame_with_the_box_of_the_first_patch_where_the_plan_has_it(recipe, tmp_path, vp9_store):
    out = tmp_path / "new" / "preview.png"
    main(["--config", str(recipe), "--out", str(out), "--samples", "2", "--frames", "3"])
    picture = decode_image(str(out))
    tile, gap = 112 * ZOOM, 4
    assert picture.shape == (3, 2 * (tile + gap) + gap, 3 * (tile + gap) + gap)

    from configs.load import load
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.tasks import Task

    config = load(recipe)
    batch = next(iter(ClipLoader(vp9_store, Task("ctp", config.plan), batch_size=2, seed=config.seed)))
    assert COLOURS[0] == "red"
    red = (picture == RED).all(dim=0)
    for sample in range(2):
        for column, t in enumerate((0, 8, 15)):
            x1, y1, x2, y2 = (int(side) * ZOOM for side in batch["boxes"][sample, 0, t])
            top, left = gap + sample * (tile + gap), gap + column * (tile + gap)
            outline = red[top + y1 : top + y2, left + x1 : left + x2]
            # Other boxes may be drawn over it, so most of its corners and edges, not all.
            assert outline[0].float().mean() + outline[-1].float().mean() > 0.8


def test_another_ending_than_png_is_refused(recipe, tmp_path):
    with pytest.raises(UserError, match=r"x\.gif"):
        main(["--config", str(recipe), "--out", str(tmp_path / "x.gif")])
