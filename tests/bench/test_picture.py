"""Pictures of the benches, which must not be cut off at the edges."""

import numpy as np
from PIL import Image

from bench.picture import panels, save


def test_a_wide_title_is_not_cut_off(tmp_path):
    (axes,) = panels(1, 1, size=(3, 2.5), title="wider than three inches " * 4)
    axes.plot([0, 1])
    save([axes], tmp_path / "a.png")
    ink = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 255
    assert ink.any()
    assert not ink[:, :2].any()
    assert not ink[:, -2:].any()
    assert not ink[:2].any()


def test_unused_panels_of_the_last_row_are_not_drawn():
    axes = panels(5, 3, size=(6, 4))
    assert len(axes) == len(axes[0].figure.axes) == 5
    assert [one.get_subplotspec().rowspan.start for one in axes] == [0, 0, 0, 1, 1]
