"""Complete commands, options and recipes in a shell: `clipfeed completion bash`.

The script contains the names of commands and options, and asks `clipfeed recipes --names` for recipes: no torch there.

    bash    clipfeed completion bash > ~/.local/share/bash-completion/completions/clipfeed
    zsh     clipfeed completion zsh > DIR/_clipfeed, where DIR is one of $fpath
    fish    clipfeed completion fish > ~/.config/fish/completions/clipfeed.fish
"""

import argparse
import importlib
from pathlib import Path

import shtab

from configs.command import COMMANDS

NAMES = "clipfeed recipes --names"
RECIPES = shtab.cmd(NAMES)
RECIPES_AND_FILES = {
    "bash": "_clipfeed_config",
    "zsh": "_clipfeed_config",
    "fish": f"({NAMES}; __fish_complete_path (commandline -ct))",
    "preamble": {
        "bash": f'_clipfeed_config() {{\n  compgen -W "$({NAMES})" -- "$1"\n  _shtab_compgen_files "$1"\n}}',
        "zsh": f"_clipfeed_config() {{\n  compadd -- $({NAMES})\n  _files\n}}",
    },
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clipfeed completion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def main(argv: list[str]) -> None:
    print(shtab.complete(whole(), make_parser().parse_args(argv).shell))


def whole() -> argparse.ArgumentParser:
    """Build one parser of all commands, with completers of their arguments."""
    root = argparse.ArgumentParser("clipfeed")
    root.add_argument("--version", action="store_true", help="print the version")
    commands = root.add_subparsers()
    for name, (module, what) in COMMANDS.items():
        parser: argparse.ArgumentParser = importlib.import_module(module).make_parser()
        for action in parser._actions:
            if completer := _completer(name, action):
                action.complete = completer  # type: ignore[attr-defined]
        commands.add_parser(name, help=what, parents=[parser], add_help=False)
    return root


def _completer(command: str, action: argparse.Action) -> object:
    """Return the completer of an argument: recipes, or shtab's for files and folders."""
    if "--config" in action.option_strings:
        return RECIPES_AND_FILES
    if (command, action.dest) == ("recipe", "name"):
        return RECIPES
    if action.metavar == "DIR":
        return shtab.DIRECTORY
    names_file = isinstance(action.metavar, str) and action.metavar.partition(".")[0] in FILES
    return shtab.FILE if action.type is Path or names_file else None


FILES = ("CKPT", "CKPT|none", "FILE", "LISTS", "RUN", "SRC", "folders|none|LIST")
"""Metavars that stand for a file or a folder."""
