"""Copy a recipe, to change it: `clipfeed recipe ctp/r3d18_ucf101` writes ctp_r3d18_ucf101.yaml here."""

import argparse
from contextlib import suppress
from pathlib import Path

from configs.errors import UserError
from configs.recipes import find_ours


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed recipe", description="Copy a recipe to this folder, to change it.")
    parser.add_argument("name", metavar="NAME", help="one that `clipfeed recipes` lists, such as ctp/r3d18_ucf101")
    parser.add_argument("--out", type=Path, metavar="FILE", help="another name, or another folder")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    source = find_ours(args.name)
    out = args.out or Path()
    if out.is_dir():
        out /= f"{source.parent.name}_{source.name}"
    try:
        with out.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        raise UserError(f"{out} already exists and is left as it is: choose another name with --out") from None
    except OSError as error:
        with suppress(OSError):
            out.unlink()  # it was not there before
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    command = "finetune" if source.parent.name == "recognition" else "pretrain"
    print(f"{out} written; to train with it: clipfeed {command} --config {out}")
