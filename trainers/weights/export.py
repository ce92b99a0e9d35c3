"""Write a backbone for other programs, with its facts and a model card."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save

from configs.errors import UserError
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.store.files import replacing
from nets.backbones import Backbone
from trainers.engine.work_dir import CHECKPOINTS
from trainers.weights import TENSORS, Weights, facts_path, sha256_of
from trainers.weights.card import card
from trainers.weights.programs import FORMATS, program

LOAD = {
    ".safetensors": """
from clipfeed import create_backbone, load_weights
weights = load_weights("{where}")
backbone = create_backbone(weights.backbone); weights.load_backbone(backbone, weights.backbone)
""",
    ".pt2": """
import torch
backbone = torch.export.load("{where}").module()
features = backbone(torch.zeros(1, 3, {num_frames}, {size}, {size}))
""",
    ".onnx": """
import numpy, onnxruntime
backbone = onnxruntime.InferenceSession("{where}")
(features,) = backbone.run(None, {{"clips": numpy.zeros((1, 3, {num_frames}, {size}, {size}), "float32")}})
""",
}
"""Suffix of a format -> Python that loads it."""


@dataclass(frozen=True)
class Files:
    """The files of an export."""

    model: Path
    facts: Path
    card: Path
    preprocessor: Path | None
    """How Hugging Face's image processors crop and normalize; only in a folder."""


def files_of(out: Path) -> Files:
    """Return the files of an export: a model with its facts next to it, or a folder for Hugging Face."""
    if out.suffix in LOAD and not out.is_dir():
        return Files(out, facts_path(out), out.with_suffix(".md"), None)
    if out.suffix and not out.is_dir():
        raise UserError(f"--out {out}: give a name that ends in {', '.join(LOAD)}, or a folder's, without a suffix")
    return Files(out / TENSORS, facts_path(out / TENSORS), out / "README.md", out / "preprocessor_config.json")


def export(weights: Weights, out: Path) -> dict[str, object]:
    """Write a backbone, its facts and its model card; return the facts.

    Files cannot be renamed together. The model goes first, and the facts hold its checksum. A crash in between leaves
    a model without facts, or with those of an earlier export; `trainers.weights.read` rejects both.

    UserError if the weights are an export, have no batch norm statistics, or do not fit their architecture; if the
    format cannot express the network; if a card exists, which may have been edited; and if the disk is full.
    """
    if weights.config is None:
        raise UserError(f"{weights.path} is an export already: copy it together with its .json")
    net = weights.frozen_backbone()
    files = files_of(out)
    if (out / CHECKPOINTS).is_dir():
        raise UserError(f"--out {out} is the work dir of a run: choose a folder of its own")
    if files.card.exists():
        raise UserError(f"{files.card} exists and may have been edited: move it away, or choose another --out")
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
    load = LOAD[files.model.suffix].strip().format(where=out.name, **facts)
    with ExitStack() as stack:  # files are renamed in reverse order
        card_part, facts_part = (stack.enter_context(replacing(path)) for path in (files.card, files.facts))
        if files.preprocessor:
            _write(stack.enter_context(replacing(files.preprocessor)), _preprocessor(weights, mean, std))
        part = stack.enter_context(replacing(files.model))
        try:
            part.write_bytes(_content(net, weights, files.model.suffix))
        except OSError as error:
            why = error.strerror
            raise UserError(f"cannot write {files.model}: {why}; make room, or choose another --out") from error
        facts["tensors_sha256"] = sha256_of(part)
        _write(facts_part, facts)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        text = card(weights, facts, load, parameters=parameters)
        card_part.write_bytes(text.encode(errors="backslashreplace"))  # a hub refuses names that are not UTF-8
    return facts


def _content(net: Backbone, weights: Weights, suffix: str) -> bytes:
    if suffix in FORMATS:
        size = weights.clip["size"]
        clip = torch.randn(3, weights.clip["num_frames"], size, size, generator=torch.Generator().manual_seed(0))
        return program(net, weights.backbone, clip, suffix)
    # 3-D kernels may be in channels-last order, which safetensors cannot express.
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in net.state_dict().items()}
    return save(tensors, metadata={"format": "pt"})  # save_file's is readable by its owner alone


def _preprocessor(weights: Weights, mean: Sequence[float], std: Sequence[float]) -> dict[str, object]:
    """Return how to prepare frames, as options of Hugging Face's VideoMAEImageProcessor."""
    views = weights.views()
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": views.test.short_side},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": views.size, "width": views.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
        "num_frames": views.num_frames,
        "stride": views.stride,
    }


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
