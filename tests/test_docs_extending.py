"""docs/extending.md, applied to and run in a copy of the repository: every row of its table works."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.docs import apply_diff, blocks, new_files
from tests.helpers.processes import join, start_command
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "extending.md"
PACKAGE = "A package of yours"

PACKAGES = ("configs", "dali_pipelines", "nets", "trainers")
RUN = f"""\
import sys
from pathlib import Path

for name in [*sys.modules]:  # those of the checkout
    if name.partition(".")[0] in {PACKAGES}:
        del sys.modules[name]

import dali_pipelines, nets
from dali_pipelines import preview
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, mirror
from tests.helpers.docs import run
from trainers import weights
from trainers.commands import pretrain

run(Path(sys.argv[1]))
print("here:", *dali_pipelines.__path__, *nets.__path__)
pretrain.main(["--list-tasks"])
print("strides:", weights.read("runs/mirror").clip["strides"])
preview.main(["--config", "configs/mirror/demo.yaml", "--out", "mirror.png"])
loader = ClipLoader(Index.load("data/mine"), Task("mirror", mirror.Config()), batch_size=2, decoder="pyav")
print("host:", loader.source.names[2:], loader.source.read(0, 1)[2].shape, *next(iter(loader))["clips"].shape)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory, vp9_store) -> tuple[Path, str]:
    """Apply the page to a copy of the repository and run its blocks; return the folder and the output."""
    folder = tmp_path_factory.mktemp("extended")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "clipfeed.py", folder)
    shutil.copytree(vp9_store.root, folder / "data" / "mine")
    for block in blocks(PAGE):
        path = folder / block.title
        if block.language == "diff":
            path.write_text(apply_diff(path.read_text(), block.code))
        elif block.title and block.section != PACKAGE:
            assert not path.exists()
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.code)
    script, output = folder / "run_page.py", folder / "output"
    script.write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        status = join([start_command(script, PAGE, output=output)])
    printed = output.read_text()
    assert status == [0], printed
    assert f"here: {folder / 'dali_pipelines'} {folder / 'nets'}\n" in printed  # the copy, not this checkout
    return folder, printed


def test_a_task_of_three_files_trains_is_listed_and_previewed(copy):
    folder, printed = copy
    steps = [json.loads(line) for line in (folder / "runs/mirror/metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2]
    assert all(step["accuracy"] in (0, 0.25, 0.5, 0.75, 1) for step in steps)
    assert "mirror\n  mirror/demo  " in printed
    assert "strides: [2]\n" in printed  # for users of the network
    assert (folder / "mirror.png").stat().st_size > 1000


def test_a_backbone_an_optimizer_and_a_logger_train_together(copy):
    folder, printed = copy
    assert "torch.Size([2, 96, 4, 4, 4])\n" in printed
    latest = json.loads((folder / "runs/parts/latest.json").read_text())
    steps = [json.loads(line) for line in (folder / "runs/parts/metrics.jsonl").read_text().splitlines()]
    assert latest["train/loss"] == steps[-1]["loss"]
    assert latest["step"] == 2
    assert not (folder / "runs/parts/tensorboard").exists()


def test_a_list_format_and_a_protocol_work_together(copy):
    folder, printed = copy
    assert "\n8\n" in printed
    measured = json.loads((folder / "runs/mirror/test_vote/vote.json").read_text())
    assert (measured["queries"], measured["gallery"]) == (4, 8)
    assert measured["top1"] in (0, 0.25, 0.5, 0.75, 1)
    assert f"top-1       {100 * measured['top1']:6.2f} %" in printed


def test_the_host_executes_a_new_operation(copy):
    """DALI then gets frames of the task's output size, and only the labels of the plan."""
    _, printed = copy
    assert printed.endswith("host: ('media', 'labels') (8, 64, 64, 3) 2 3 8 64 64\n")


def test_the_table_counts_the_files_of_each_section():
    table = re.findall(r"^\| an? \[.+?\]\(#(.+?)\) \| (\d) \| (\d)", PAGE.read_text(), re.MULTILINE)
    assert len(table) == 8
    for anchor, new, changed in table:
        section = [block for block in blocks(PAGE) if block.section.lower().replace(" ", "-") == anchor]
        diffs = {block.title for block in section if block.language == "diff"}
        files = {block.title for block in section if block.title} - diffs
        assert (len(files), len(diffs)) == (int(new), int(changed)), anchor


def test_no_file_of_the_page_exists_in_the_repository():
    assert [title for title in new_files(PAGE) if (ROOT / title).exists()] == []
