"""A backbone for other programs: `python -m trainers.export CKPT --out NAME.safetensors`.

Writes its tensors, and beside them NAME.json with what they belong to. Plain PyTorch takes them back:

    net = nets.backbones.create("r3d18")  # "architecture" in NAME.json
    net.load_state_dict(safetensors.torch.load_file("NAME.safetensors"))

Heavy imports stand inside functions, as in pretrain.py.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError

if TYPE_CHECKING:
    from trainers.weights import Weights


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trainers.export", description="A backbone for other programs.")
    parser.add_argument("checkpoint", metavar="CKPT", help="a run (its newest checkpoint), or a checkpoint's .pt file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="NAME.safetensors", help="the tensors; NAME.json comes beside them"
    )
    args = parser.parse_args(argv)
    if args.out.suffix != ".safetensors":
        parser.error(f"--out {args.out}: its name must end in .safetensors")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from trainers.weights import read

    facts = export(read(args.checkpoint), args.out)
    print(f"{args.out}: {facts['architecture']}, {args.out.stat().st_size / 1e6:.1f} MB, step {facts['step']}")
    print(f"{args.out.with_suffix('.json')}: what it was trained on")


def export(weights: "Weights", out: Path) -> dict[str, object]:
    """Writes the tensors of a backbone and the facts beside them, which are returned.

    Two files cannot be renamed in one step. The tensors go first, and the facts hold their sum: a crash in between
    leaves tensors with the facts of an earlier export, or with none, and `trainers.weights.read` refuses both.

    UserError for an export, for weights that do not fit their architecture, and for a full disk.
    """
    import torch
    from safetensors.torch import save

    from dali_pipelines.graph.color import NORMALIZATIONS
    from dali_pipelines.store.files import replacing
    from nets.backbones import create
    from trainers.weights import sha256_of

    if weights.config is None:
        raise UserError(f"{weights.path} is an export already: copy it together with its .json")
    net = create(weights.backbone)
    weights.load_backbone(net, weights.backbone)
    # 3-D kernels may be in channels-last order, which the format does not have.
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in net.state_dict().items()}
    mean, std = NORMALIZATIONS[weights.clip["normalization"]]
    facts: dict[str, object] = {
        "architecture": weights.backbone,
        "out_channels": net.out_channels,
        **weights.clip,
        "mean": mean,
        "std": std,
        "task": weights.config.task,
        "step": weights.step,
        "sha256": weights.sha256,
        "clipfeed": version("clipfeed"),
    }
    with replacing(out.with_suffix(".json")) as facts_part, replacing(out) as part:
        try:
            part.write_bytes(save(tensors, metadata={"format": "pt"}))  # save_file's is readable for its owner alone
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}; make room, or choose another --out") from error
        facts["tensors_sha256"] = sha256_of(part)
        facts_part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts
