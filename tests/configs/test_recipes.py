"""The recipes that come with clipfeed: listed, found by name from any folder, copied."""

from pathlib import Path

import pytest
import yaml

from configs import copy_recipe, recipes
from configs.errors import UserError
from configs.load import load
from tests.helpers.runs import ROOT

NAMES = sorted(str(path.relative_to(ROOT / "configs").with_suffix("")) for path in ROOT.glob("configs/*/*.yaml"))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Change to a folder outside the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_lists_every_file(folder, capsys):
    assert len(NAMES) > 50
    recipes.main(["--names"])
    assert capsys.readouterr().out.split() == NAMES


def test_the_list_matches_the_loaded_recipes(folder, capsys):
    recipes.main([])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")}
    assert sorted(lines) == NAMES
    for name in ("vcop/demo", "concepts/r2plus1d10_ucf101", "recognition/ctp_r3d18_ssv1"):
        config = load(name)
        assert lines[name].split()[1:3] == [config.backbone, config.data.root]
    assert lines["ctp/r3d18_ucf101"].endswith("  Catch-the-Patch on UCF101 split 1, hyperparameters of the original")


def test_every_recipe_lies_in_the_folder_of_its_task():
    """The list groups recipes by task."""
    tasks = {name: yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())["task"] for name in NAMES}
    assert [name for name, task in tasks.items() if name.split("/")[0] != task] == []


def test_recipes_of_one_task_are_listed(folder, capsys):
    recipes.main(["vcop"])
    task, *rows = capsys.readouterr().out.splitlines()
    assert (task, [row.split()[0] for row in rows]) == ("vcop", [name for name in NAMES if name.startswith("vcop/")])
    with pytest.raises(UserError, match=r"no 'vcpo'; did you mean vcop\?"):
        recipes.main(["vcpo"])


@pytest.mark.parametrize("name", ["ctp/demo", "ctp/demo.yaml", "configs/ctp/demo.yaml", "configs/ctp/demo"])
def test_a_recipe_is_found_from_any_folder(folder, name):
    assert recipes.find(name).samefile(ROOT / "configs/ctp/demo.yaml")


@pytest.mark.parametrize("name", ["ctp/demo", "ctp/demo.yaml"])
def test_a_users_file_takes_precedence_over_a_recipe(folder, name):
    (folder / "ctp").mkdir()
    (folder / "ctp/demo.yaml").write_text((ROOT / "configs/ctp/demo.yaml").read_text() + "seed: 77\n")
    assert load(name).seed == 77


def test_unknown_recipe_names_the_nearest(folder):
    (folder / "demo").mkdir()  # left by `make demo`
    with pytest.raises(UserError, match=r"cannot read .*: No such file.*called demo; did you mean \w+/demo\?"):
        recipes.find("demo")
    with pytest.raises(UserError, match=r"^no recipe is called ctp/r3d18_ucf10; did you mean ctp/r3d18_ucf101\?"):
        copy_recipe.main(["ctp/r3d18_ucf10"])


@pytest.mark.parametrize("name", ["ctp/r3d18_ucf101", "recognition/demo"])
def test_a_copied_recipe_loads_to_the_same_config(folder, name, capsys):
    copy_recipe.main([name])
    (copy,) = folder.glob("*.yaml")
    command = "finetune" if name.startswith("recognition/") else "pretrain"
    assert capsys.readouterr().out.endswith(f": clipfeed {command} --config {copy.name}\n")
    assert load(copy.name) == load(name)


def test_a_copy_never_overwrites_a_file(folder):
    (folder / "sub").mkdir()
    for out in ("mine.yaml", "sub"):
        copy_recipe.main(["ctp/demo", "--out", out])
    copies = [folder / "mine.yaml", folder / "sub/ctp_demo.yaml"]
    for copy in copies:
        copy.write_text("edited")
    for out in ("mine.yaml", "sub"):
        with pytest.raises(UserError, match=r"already exists and is left as it is"):
            copy_recipe.main(["ctp/demo", "--out", out])
    assert [copy.read_text() for copy in copies] == ["edited"] * 2
