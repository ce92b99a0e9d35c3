"""Export a backbone: `python -m trainers.export CKPT --out NAME.safetensors`.

Writes its tensors, and NAME.json with what they belong to. Plain PyTorch takes them back:

    net = nets.backbones.create("r3d18")  # "architecture" in NAME.json
    net.load_state_dict(safetensors.torch.load_file("NAME.safetensors"))
"""

import argparse
from pathlib import Path

from trainers.weights import read
from trainers.weights.export import export


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed export", description="A backbone for other programs.")
    parser.add_argument("checkpoint", metavar="CKPT", help="a run (its newest checkpoint), or a checkpoint's .pt file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="NAME.safetensors", help="the tensors; NAME.json comes beside them"
    )
    return parser


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.out.suffix != ".safetensors":
        parser.error(f"--out {args.out}: its name must end in .safetensors")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    facts = export(read(args.checkpoint), args.out)
    print(f"{args.out}: {facts['architecture']}, {args.out.stat().st_size / 1e6:.1f} MB, step {facts['step']}")
    print(f"{args.out.with_suffix('.json')}: what it was trained on")
