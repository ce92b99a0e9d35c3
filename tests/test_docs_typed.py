"""Whatever README and docs tell users to type exists: commands, options, recipes, keys, formats, files."""

import importlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs import recipes
from configs.command import COMMANDS
from configs.load import dump, load
from nets.tasks import pretext_tasks
from tests.helpers.runs import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = {"trainers/pretrain.py": "pretrain", "trainers/finetune.py": "finetune", "trainers/test.py": "test"}
FOLDERS = "|".join(sorted(path.name for path in (ROOT / "configs").iterdir() if path.is_dir() and path.name[0] != "_"))
SECTIONS = "data|plan|net|optim|schedule|train|validation"
TYPED = re.compile(
    r"(?:(?<!from )clipfeed (?:" + "|".join(COMMANDS) + r") |python -m (?:dali_pipelines|trainers)\.\w+ |"
    r"(?:torchrun [^`\n]*|python )trainers/(?:pretrain|finetune|test)\.py )[^`\n]*"
)


def text(page: Path) -> str:
    return page.read_text().replace("\\\n", " ")


def ours(page: Path) -> str:
    """Return a page without the columns with another system's commands."""
    if page.parent.name != "coming_from":
        return text(page)
    return "\n".join(line.split(" | ", 1)[-1] if line.startswith("| ") else line for line in text(page).splitlines())


def our_columns(page: Path) -> str:
    """Return only the columns with our commands."""
    return "\n".join(line.split(" | ", 1)[1] for line in text(page).splitlines() if line.startswith("| "))


def split_command(command: str) -> list[str]:
    """Split a command as the shell does, without comments and surrounding text."""
    typed = re.split(r"\s+#|  \(|\.\.\.| \(of|\)| > |;", command)[0]
    return shlex.split(typed.rstrip("'") if typed.count("'") % 2 else typed)


def commands() -> list[tuple[str, str]]:
    return [(str(page.relative_to(ROOT)), found) for page in PAGES for found in TYPED.findall(ours(page))]


def module_and_arguments(command: str) -> tuple[str, list[str]]:
    """Return the module and the arguments of a command line."""
    typed = split_command(command)
    if typed[0] == "clipfeed":
        return COMMANDS[typed[1]][0], typed[2:]
    if "-m" in typed and typed[0] == "python":
        name = typed[2].replace("trainers.", "trainers.commands.")
        return name, typed[3:]
    place = next(place for place, word in enumerate(typed) if word in SCRIPTS)
    return COMMANDS[SCRIPTS[typed[place]]][0], typed[place + 1 :]


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_parse(page, command):
    module, arguments = module_and_arguments(command)
    options = importlib.import_module(module).make_parser().parse_args(arguments)
    recipe = getattr(options, "config", None)
    assert recipe or getattr(options, "protocol", "video") == "video"  # a pretrained network names no videos to test on
    if recipe and not recipe.isupper() and not recipe.endswith("/config.yaml"):  # that of a run
        load(recipe, getattr(options, "set", []))


def test_commands_are_found_on_the_pages():
    assert len(commands()) > 90
    assert {"README.md", "docs/index.md", "docs/datasets.md", "docs/coming_from/ctp.md"} <= {
        page for page, _ in commands()
    }


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "bench/README.md"], ids=lambda page: page.name
)
def test_every_benchmark_named_exists_with_its_options(page):
    for script, module, words in re.findall(
        r"(?:(?<!tests/)(bench/[a-z_/]+\.py)|python -m (bench[a-z_.]*))([^`|\n]*)", text(page)
    ):
        path = ROOT / (script or module.replace(".", "/"))
        source = (path if script else path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        source += (ROOT / "bench/options.py").read_text()
        assert {option for option in re.findall(r"--[a-z-]+", words) if f'"{option}"' not in source} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_recipe_named_exists(page):
    named = set(re.findall(rf"(?<![\w/])(?:configs/)?(?:{FOLDERS})/[a-z0-9_]+(?![\w/])(?!\.(?:py|md|png))", ours(page)))
    named -= {name for name in named if (ROOT / "docs" / name).exists()}
    assert {name.removeprefix("configs/") for name in named} <= {*recipes.names()}


@cache
def known_keys() -> set[str]:
    """Return the dotted names of all keys of all recipes."""
    all_options: set[str] = set()
    for recipe in (ROOT / "configs").glob("*/*.yaml"):
        all_options |= set(flat(yaml.safe_load(dump(load(recipe)))))
    return all_options


def flat(tree: dict[str, Any], before: str = "") -> list[str]:
    """Return the dotted names of all sections and leaves."""
    names = [before + name for name in tree]
    for name, value in tree.items():
        names += flat(value, f"{before}{name}.") if isinstance(value, dict) else []
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_key_named_exists(page):
    keys = set(re.findall(rf"(?:`|--set )((?:{SECTIONS})\.(?!py|txt|csv|jsonl)[a-z_.0-9]+)", ours(page)))
    keys = {key for key in keys if not (ROOT / key).exists()}
    assert {key.rstrip(".") for key in keys} - known_keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_torchrun_commands_name_a_rendezvous(page):
    """Otherwise torchrun takes port 29500, which another run may use."""
    for command in re.findall(r"torchrun [^`\n]*--nproc[^`\n]*", text(page)):
        assert "--standalone" in command or "--rdzv-endpoint" in command


def test_every_option_of_coming_from_exists():
    all_options = {"--nnodes", "--standalone", "--peers", "--nproc_per_node"}  # options of torchrun and of the bench
    for module, _ in COMMANDS.values():
        all_options |= set(importlib.import_module(module).make_parser()._option_string_actions)
    for page in (ROOT / "docs" / "coming_from").glob("*.md"):
        named = set(re.findall(r"(?<=`)--[a-z_-]+", our_columns(page)))
        assert named <= all_options, page


REPOSITORY = re.compile(r"`((?:bench|dali_pipelines|nets|tests|trainers)/[\w/.]+)`")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "bench" / "README.md"], ids=str)
def test_every_file_named_exists(page):
    assert [path for path in REPOSITORY.findall(ours(page)) if not (ROOT / path).exists()] == []


def test_the_front_page_states_the_number_of_tasks():
    word = re.findall(r"(\w+) pretext tasks", text(ROOT / "docs" / "index.md"))[0]
    assert word.lower() == ["nine", "ten", "eleven", "twelve", "thirteen"][len(pretext_tasks()) - 9]
