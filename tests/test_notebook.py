"""The quick-start notebook, run from the first cell to the last on a few videos."""

import base64
import io
import json
import os
import shutil

import pytest
from PIL import Image

from tests.helpers.runs import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "quickstart.ipynb"


def test_the_notebook_is_committed_without_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
def test_every_cell_runs_and_shows_three_pictures(demo_set, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # if set, ipykernel hides the output of commands
    shutil.copytree(demo_set, tmp_path / "quickstart" / "data")
    monkeypatch.setenv("CLIPFEED_VIDEOS", "16")  # as many as already exist
    monkeypatch.setenv("CLIPFEED_EPOCHS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    loaded = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(loaded, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in loaded.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures]
    assert len(sizes) == 3
    assert all(min(size) > 100 for size in sizes)
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert " is nearest to " in printed
    assert "R@1" in printed
    steps = (tmp_path / "quickstart" / "ctp" / "metrics.jsonl").read_text().splitlines()
    assert len(steps) == 2
