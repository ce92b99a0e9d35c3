"""What `pretrain.py --list-tasks` says, and what it leads to: recipes that load and a row of the README."""

from pathlib import Path

import pytest

from configs.load import load
from nets.tasks import pretext_tasks
from tests.helpers.runs import ROOT
from trainers.commands import pretrain

README = (ROOT / "README.md").read_text()


def recipes(task: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs" / task).glob("*.yaml"))


def test_every_task_is_listed_with_what_it_predicts_and_its_recipes(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    pretrain.main(["--list-tasks"])
    output = capsys.readouterr().out
    assert "\nvcop: VCOP: in which order three clips of the video were shuffled\n    configs/vcop/demo.yaml\n" in output
    lines = output.splitlines()
    listed = [line.strip() for line in lines if line.startswith(" ")]
    assert listed == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("configs/*/*.yaml") if pretrains(path))
    abouts = [line.split(": ", 1) for line in lines if not line.startswith(" ")]
    assert [task for task, _ in abouts] == sorted({Path(recipe).parts[1] for recipe in listed})
    assert all(about and "specs/" not in about for _, about in abouts)


def pretrains(recipe: Path) -> bool:
    return recipe.parent.name != "recognition"


@pytest.mark.parametrize("task", pretext_tasks())
def test_every_task_has_a_demo_and_recipes_that_load(task):
    configs = {recipe: load(ROOT / recipe) for recipe in recipes(task)}
    assert configs[f"configs/{task}/demo.yaml"].data.root == "demo/data"
    assert any("ucf101" in recipe for recipe in configs)
    assert {config.task for config in configs.values()} == {task}
    assert len({config.work_dir for config in configs.values()}) == len(configs)  # none overwrites another's run


@pytest.mark.parametrize("task", pretext_tasks())
def test_the_readme_has_a_row_for_every_task_with_a_recipe_that_is_there(task):
    (row,) = [line for line in README.splitlines() if line.startswith(f"| [`{task}`](docs/tasks/{task}.md) |")]
    assert f"configs/{row.split('|')[-2].strip(' `')}.yaml" in recipes(task)
