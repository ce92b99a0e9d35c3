"""The package of docs/extending.md: a task, backbone, optimizer and logger; and names that do not resolve."""

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.load import parse
from dali_pipelines.tasks import task_module
from nets import backbones
from nets.tasks import net_module
from tests.helpers.docs import new_files
from tests.helpers.processes import join, start_command
from tests.helpers.runs import PRETRAIN, ROOT

pytestmark = pytest.mark.slow

PAGE = new_files(ROOT / "docs" / "extending.md")


def write_package(folder: Path) -> None:
    task = folder / "my_pkg" / "my_task"
    task.mkdir(parents=True)
    for path, content in {
        task.parent / "__init__.py": "",
        task.parent / "parts.py": PAGE["my_pkg/parts.py"],
        task / "__init__.py": "",
        task / "data.py": PAGE["dali_pipelines/tasks/mirror.py"],
        task / "net.py": PAGE["nets/tasks/mirror.py"],
    }.items():
        path.write_text(content)


def recipe(folder: Path) -> str:
    text = PAGE["mine.yaml"].replace("root: data/mine", f"root: {folder / 'data'}")
    return text.replace("runs/my_task", str(folder / "run"))


def test_a_package_provides_task_backbone_optimizer_and_logger(vp9_store, tmp_path, monkeypatch):
    """With a worker process, which must find the package too."""
    write_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # the command's process gets this path too
    (tmp_path / "data").symlink_to(vp9_store.root)
    (tmp_path / "mine.yaml").write_text(recipe(tmp_path))
    output = tmp_path / "output"
    command = start_command(PRETRAIN, "--config", tmp_path / "mine.yaml", "--max-steps", 1, output=output)
    assert join([command]) == [0], output.read_text()
    printed = [line for line in output.read_text().splitlines() if not line.startswith("step 1/1")]
    assert printed[:4] == ["logger of my_pkg.my_task from step 0", "picture of input", "train step 1 True", "closed"]
    assert printed[4].startswith("done")
    assert (tmp_path / "run/checkpoints/step_00000001.pt").is_file()
    assert not (tmp_path / "run/tensorboard").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_pkg.my_task", "task 'no_pkg.my_task': cannot import no_pkg.my_task.data; it must be installed"),
        ("my_pkg.other", "task 'my_pkg.other': cannot import my_pkg.other.data"),
        ("my_pkg.", "task 'my_pkg.': cannot import my_pkg..data"),
        ("ctpp", "no task 'ctpp'; did you mean ctp?; there are: concepts, cpc_transformer, cstp, ctp"),
    ],
)
def test_a_task_that_cannot_be_imported_is_named(tmp_path, monkeypatch, name, message):
    write_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = recipe(tmp_path).replace("my_pkg.my_task", name)
    for load in (task_module, net_module, lambda _: parse(text, source="x.yaml")):
        with pytest.raises(UserError) as caught:
            load(name)
        assert message.replace(".data", ".net" if load is net_module else ".data") in str(caught.value)
    assert str(caught.value).startswith("x.yaml: task: ")


def test_a_failing_import_inside_a_package_is_raised(tmp_path, monkeypatch):
    broken = tmp_path / "broken_pkg" / "task"
    broken.mkdir(parents=True)
    (broken / "data.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        task_module("broken_pkg.task")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_pkg.make", "backbone: cannot import no_pkg of 'no_pkg.make'; it must be installed"),
        ("os.path.joim", "backbone: os.path has no 'joim'; did you mean join?"),
    ],
)
def test_a_backbone_that_cannot_be_imported_is_named(name, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        backbones.create(name)
