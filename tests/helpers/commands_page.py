"""Print docs/commands.md from the parsers: `python -m tests.helpers.commands_page > docs/commands.md`."""

import argparse
import importlib

from configs.command import COMMANDS

HEAD = """\
# Commands

All commands are `clipfeed NAME`, from any folder; `python -m clipfeed NAME` is the same. `--config` takes a recipe of
`clipfeed recipes`, such as `ctp/r3d18_ucf101`, or a file of yours. A file of yours comes first.

Several GPUs, each command that trains or tests:

```
torchrun --standalone --nproc_per_node=8 -m clipfeed pretrain --config ctp/r3d18_ucf101
```

In a checkout of the repository, `torchrun trainers/pretrain.py`, `trainers/finetune.py` and `trainers/test.py` are the
same commands.

Exit status: 0 for success; 1 if `doctor` finds a problem; 2 for wrong input, which one line explains (`--debug` shows
the traceback); 3 if `prepare` or `features` could not use some videos; 75 if a training step hangs; 130 after Ctrl-C,
and 128 plus the number of any other signal that stopped a run; 141 if the program that reads the output ends early, as
`head` does.

To complete commands, options and recipes with the tab key, write one of these files once, and again after an update:

```
clipfeed completion bash > ~/.local/share/bash-completion/completions/clipfeed
clipfeed completion fish > ~/.config/fish/completions/clipfeed.fish
clipfeed completion zsh > DIR/_clipfeed      # DIR is a folder of $fpath
```
"""


def page() -> str:
    """Return the page: the head, then a section for each command with all its arguments."""
    sections = []
    for name, (module, what) in COMMANDS.items():
        parser: argparse.ArgumentParser = importlib.import_module(module).make_parser()
        rows = [f"| {_name(action)} | {_help(action)} |" for action in parser._actions if action.dest != "help"]
        table = ["| argument | |", "|---|---|", *rows] if rows else []
        sections.append("\n".join([f"## clipfeed {name}", "", f"{what[0].upper()}{what[1:]}.", "", *table]))
    return "\n".join([HEAD, "\n\n".join(sections)]).rstrip() + "\n"


def _name(action: argparse.Action) -> str:
    """Return an argument as users type it: "`--out FILE`", "`SRC ...`"; in bold if required."""
    metavar = action.metavar or ("\\|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    value = "" if action.nargs == 0 else str(metavar).replace("|", "\\|").replace("\\\\", "\\")
    many = " ..." if action.nargs in ("*", "+") else ""
    typed = f"`{' '.join([*action.option_strings[-1:], value]).strip()}{many}`"
    return f"**{typed}**" if action.required and action.nargs != "*" else typed


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%").replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
