"""Export a backbone: `clipfeed export CKPT --out NAME.safetensors`, .pt2, .onnx or a folder for Hugging Face's hub."""

import argparse
from pathlib import Path

from trainers.weights import read
from trainers.weights.export import export, files_of


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed export", description="Write a backbone for other programs.")
    parser.add_argument("checkpoint", metavar="CKPT", help="a run (its newest checkpoint), or a checkpoint's .pt file")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER|NAME.safetensors|NAME.pt2|NAME.onnx",
        help="a folder for Hugging Face's hub, the tensors alone, a program of torch.export, or one of ONNX; a single "
        "file has its facts (.json) and model card (.md) beside it",
    )
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    files = files_of(args.out)  # checks the name before anything is read
    facts = export(read(args.checkpoint), args.out)
    print(f"{files.model}: {facts['architecture']}, {files.model.stat().st_size / 1e6:.1f} MB, step {facts['step']}")
    print(f"{files.facts}: what it was trained on")
    print(f"{files.card}: the model card; fill in what it does not know")
