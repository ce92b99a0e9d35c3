"""The quick-start notebook, run from the first cell to the last on a few videos."""

import base64
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.processes import join, start
from tests.helpers.runs import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "quickstart.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_committed_without_outputs():
    assert len(CELLS) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)


def run_cells(result: Path) -> None:
    """Run the cells in IPython; write what they print, and the pictures that they show, as JSON.

    A kernel shows pictures in the same way, but takes 4 s to start. Other test processes do without these imports.
    """
    import matplotlib
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    matplotlib.use("module://matplotlib_inline.backend_inline")
    shell = InteractiveShell.instance()
    printed, pictures = "", []
    for cell in CELLS:
        with capture_output() as captured:
            done = shell.run_cell("".join(cell["source"]))
        print(captured.stdout, captured.stderr)
        done.raise_error()
        printed += captured.stdout
        shown = [output.data for output in captured.outputs]
        shown += [shell.display_formatter.format(done.result)[0]]  # of the last line
        pictures += [data["image/png"] for data in shown if "image/png" in data]
    result.write_text(json.dumps({"printed": printed, "pictures": pictures}))


@pytest.mark.slow
def test_every_cell_runs_and_shows_three_pictures(demo_set, tmp_path, monkeypatch):
    shutil.copytree(demo_set, tmp_path / "quickstart" / "data")
    monkeypatch.chdir(tmp_path)
    few = {"CLIPFEED_VIDEOS": "16", "CLIPFEED_EPOCHS": "2"}  # as many videos as already exist
    process = start(run_cells, tmp_path / "result.json", env=few | {"IPYTHONDIR": str(tmp_path / "ipython")})
    assert join([process]) == [0]
    result = json.loads((tmp_path / "result.json").read_text())
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in result["pictures"]]
    assert len(sizes) == 3
    assert all(min(size) > 100 for size in sizes)
    assert " is nearest to " in result["printed"]
    assert "R@1" in result["printed"]
    steps = (tmp_path / "quickstart" / "ctp" / "metrics.jsonl").read_text().splitlines()
    assert len(steps) == 2
