"""bench.faults --plot draws the curves of long runs."""

import pytest
from PIL import Image

from bench.faults.__main__ import main
from bench.faults.row import Row, save
from configs.errors import UserError

CURVE = {"growth": 0.001, "curve": [[0, 100.0, 7], [60, 101.0, 7]], "curve_of": ["seconds", "MiB", "open files"]}


def test_a_picture_has_a_panel_for_each_row_with_a_curve(tmp_path):
    file, heights = tmp_path / "faults.json", []
    rows = [Row(name, 1, 1, 0, None, CURVE) for name in ("soak", "loader")]
    for shown in (rows[:1], rows):
        save(file, [*shown, Row("kills", 1, 1, 0, True)], command="x")
        assert main(["--json", str(file), "--plot", str(tmp_path / "memory.png")]) == 0
        heights.append(Image.open(tmp_path / "memory.png").height)
    assert heights[1] == 2 * heights[0]


def test_rows_without_a_curve_are_an_error_that_names_the_faults_with_one(tmp_path):
    save(tmp_path / "faults.json", [Row("kills", 1, 1, 0, True)], command="x")
    with pytest.raises(UserError, match=r"no row has a curve; python -m bench.faults soak memory --json"):
        main(["--json", str(tmp_path / "faults.json"), "--plot", str(tmp_path / "memory.png")])


def test_a_picture_of_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--plot needs --json FILE"):
        main(["--plot", str(tmp_path / "memory.png")])
