"""The command `clipfeed`: all commands under one name, from any folder. `python -m clipfeed` is the same."""

import sys
from importlib.metadata import version

from configs.errors import UserError, run_cli, run_command
from configs.nearest import nearest

COMMANDS = {
    "prepare": ("dali_pipelines.prepare", "turn videos into a dataset"),
    "lists": ("dali_pipelines.lists", "adopt the lists and classes of a dataset's makers"),
    "inspect": ("dali_pipelines.inspect", "show what a dataset holds, and what its clips cost each task"),
    "doctor": ("trainers.commands.doctor", "check this machine, a recipe and its dataset"),
    "recipes": ("configs.recipes", "list the recipes"),
    "recipe": ("configs.copy_recipe", "copy a recipe, to change it"),
    "preview": ("dali_pipelines.preview", "show what the network sees"),
    "pretrain": ("trainers.commands.pretrain", "train on a pretext task"),
    "finetune": ("trainers.commands.finetune", "train a classifier"),
    "test": ("trainers.commands.test", "test a network, by one of several protocols"),
    "features": ("trainers.commands.extract_features", "write the features of videos"),
    "import": ("trainers.commands.import_checkpoint", "convert the weights of other programs"),
    "export": ("trainers.commands.export", "write a backbone for other programs"),
    "completion": ("configs.completion", "print tab completion for bash, zsh or fish"),
}
"""The module of each command, and what it does. Modules have `main(argv)` and `make_parser()`."""


def usage() -> str:
    """Return what `clipfeed --help` prints."""
    width = max(map(len, COMMANDS))
    lines = (f"  {name:<{width}} {what}" for name, (_, what) in COMMANDS.items())
    return "\n".join(["usage: clipfeed COMMAND ..., or clipfeed --version", "", *lines, "", "clipfeed COMMAND --help"])


def main() -> None:
    """Run the command that the first argument names, with the others; exit with its status."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        run_cli(answer)
    sys.argv = [f"clipfeed {name}", *rest]
    run_command(COMMANDS[name][0])


def answer(argv: list[str]) -> None:
    """Print the usage or the version. UserError for another argument, with the command that was meant."""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"clipfeed {version('clipfeed')}")
    else:
        raise UserError(f"no command {name!r}{nearest(name, [*COMMANDS])}; `clipfeed --help` lists them")
