"""Write a backbone for other programs: its tensors, and a JSON of what they belong to."""

import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save

from configs.errors import UserError
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.store.files import replacing
from nets.backbones import create
from trainers.weights import Weights, sha256_of


def export(weights: Weights, out: Path) -> dict[str, object]:
    """Write the tensors of a backbone and its facts, which are returned.

    Two files cannot be renamed in one step. The tensors go first, and the facts hold their sum: a crash in between
    leaves tensors with the facts of an earlier export, or with none, and `trainers.weights.read` refuses both.

    UserError for an export, for weights that do not fit their architecture, and for a full disk.
    """

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
