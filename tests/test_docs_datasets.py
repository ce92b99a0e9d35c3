"""docs/datasets.md names recipes, keys, formats and options that there are."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from configs.load import dump, load
from dali_pipelines.datasets.formats import format_names
from dali_pipelines.lists import _parse as parse_lists
from dali_pipelines.prepare import _parse as parse_prepare
from trainers.commands import finetune, pretrain, test

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "datasets.md").read_text().replace("\\\n", " ")
COMMANDS = [
    command.split("  #")[0].split(" (of")[0]
    for command in re.findall(r"(?:python -m dali_pipelines|(?:torchrun [^`\n]*|python )trainers/)[^`\n]+", TEXT)
]


def test_every_recipe_that_is_named_is_there():
    named = set(re.findall(r"configs/\w+/\w+\.yaml", TEXT))
    assert len(named) > 30
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_key_that_is_named_is_one_of_a_recipe():
    keys = set(re.findall(r"(?:`|--set )((?:data|plan|net|optim|schedule|train|validation)\.(?!py)[a-z_.0-9]+)", TEXT))
    assert len(keys) > 25
    known: set[str] = set()
    for recipe in re.findall(r"configs/\w+/\w+\.yaml", TEXT):
        known |= flat(yaml.safe_load(dump(load(str(ROOT / recipe), []))))
    assert keys <= known


def flat(tree: dict[str, object], before: str = "") -> set[str]:
    """The dotted names of all leaves."""
    found: set[str] = set()
    for name, value in tree.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) and value else {before + name}
    return found


@pytest.mark.parametrize("command", [command for command in COMMANDS if "dali_pipelines.p" in command])
def test_every_command_of_prepare_is_one_that_it_takes(command):
    parse_prepare(shlex.split(command)[3:])


@pytest.mark.parametrize("command", [command for command in COMMANDS if "dali_pipelines.lists " in command])
def test_every_command_of_lists_is_one_that_it_takes(command):
    args = parse_lists(shlex.split(command)[3:])
    assert args.format in ("auto", *format_names())


@pytest.mark.parametrize("command", [command for command in COMMANDS if "trainers/" in command])
def test_every_command_of_the_trainers_has_options_that_they_take(command):
    words = shlex.split(command)
    script = next(place for place, word in enumerate(words) if word.startswith("trainers/"))
    module = {"pretrain.py": pretrain, "finetune.py": finetune, "test.py": test}[words[script].split("/")[1]]
    arguments = words[script + 1 :]
    if module is not test and "--config" not in arguments:
        arguments += ["--config", "RECIPE"]
    module.parse_args(arguments)
