"""`pretrain.py --list-tasks`, and what it lists: recipes that load, with a README row for each task."""

import pytest

from configs import recipes as configs_recipes
from configs.load import load
from nets.tasks import pretext_tasks
from tests.helpers.runs import ROOT
from trainers.commands import pretrain

README = (ROOT / "README.md").read_text()


def recipes(task: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs" / task).glob("*.yaml"))


def test_list_tasks_prints_the_same_as_clipfeed_recipes(capsys):
    pretrain.main(["--list-tasks"])
    listed = capsys.readouterr().out
    configs_recipes.main([])
    assert capsys.readouterr().out == listed
    tasks = [line for line in listed.splitlines() if not line.startswith(" ")]
    assert tasks == sorted([*pretext_tasks(), "recognition"])


@pytest.mark.parametrize("task", pretext_tasks())
def test_every_task_has_a_demo_and_recipes_that_load(task):
    configs = {recipe: load(ROOT / recipe) for recipe in recipes(task)}
    assert configs[f"configs/{task}/demo.yaml"].data.root == "demo/data"
    assert any("ucf101" in recipe for recipe in configs)
    assert {config.task for config in configs.values()} == {task}
    assert len({config.work_dir for config in configs.values()}) == len(configs)  # no run overwrites another


@pytest.mark.parametrize("task", pretext_tasks())
def test_the_readme_has_a_row_with_an_existing_recipe_per_task(task):
    (row,) = [line for line in README.splitlines() if line.startswith(f"| [`{task}`](docs/tasks/{task}.md) |")]
    assert f"configs/{row.split('|')[-2].strip(' `')}.yaml" in recipes(task)
