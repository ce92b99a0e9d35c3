"""bench.faults --plot draws the curves of long runs."""

import pytest
from PIL import Image

from bench.faults.__main__ import main
from bench.faults.row import Row, save
from configs.errors import UserError

CURVE = {"growth": 0.001, "curve": [[0, 100.0, 7], [60, 101.0, 7]], "curve_of": ["seconds", "MiB", "open files"]}


def test_plot_has_one_panel_per_curve(tmp_path):
    file, heights = tmp_path / "faults.json", []
    rows = [Row(name, 1, 1, 0, None, CURVE) for name in ("soak", "loader")]
    for shown in (rows[:1], rows):
        save(file, [*shown, Row("kills", 1, 1, 0, True)], command="x")
        assert main(["--json", str(file), "--plot", str(tmp_path / "memory.png")]) == 0
        heights.append(Image.open(tmp_path / "memory.png").height)
    assert heights[1] == 2 * heights[0]


def test_plot_without_curves_names_the_faults_that_have_one(tmp_path):
    save(tmp_path / "faults.json", [Row("kills", 1, 1, 0, True)], command="x")
    with pytest.raises(UserError, match=r"no row has a curve; python -m bench.faults soak memory --json"):
        main(["--json", str(tmp_path / "faults.json"), "--plot", str(tmp_path / "memory.png")])


def test_plot_needs_a_json_file(tmp_path):
    with pytest.raises(UserError, match=r"--plot needs --json FILE"):
        main(["--plot", str(tmp_path / "memory.png")])
