"""Static and Dynamic Concepts: contrast of clips with stills and motion, by way of a bank of shared concepts.

Qian et al., "Static and Dynamic Concepts for Self-supervised Video Representation Learning", ECCV 2022,
arXiv 2207.12795; numbers are those of its code (specs/concepts.md 3, 4).

A sample has six views: two clips (rgb), a still of each repeated in time (static), and the frame differences of each
clip (difference). Each kind has a bank of 2K concepts, of which the first K are static and the others dynamic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError, require
from nets import backbones
from nets.concept_attention import ConceptAttention
from nets.concept_losses import (
    ACTIVE,
    alignment,
    instance_contrast,
    local_contrast,
    negative_entropy,
    reconstruction,
)
from nets.distributed import gather
from nets.mlp import mlp
from nets.tasks import Pretext, Schema

METRIC = "instance_top1"
KINDS = ("rgb", "static", "difference")
INSTANCE_HEADS = {
    "rgb": "rgb",
    "rgb_static": "rgb",
    "rgb_difference": "rgb",
    "static": "static",
    "difference": "difference",
}
"""Head -> the kind of views that it embeds. Clips have one for each kind that they are compared with."""
INSTANCE_DIM = 128
ENTROPY_WEIGHT = 0.1


@dataclass(frozen=True)
class Reference:
    """What the original does and this does not, unless asked for."""

    wrapped_difference: bool = False
    """Begin a clip's differences with its first minus its last frame: a jump that no video has. Otherwise the first
    difference stands twice; zero would be a frame unlike all others."""


@dataclass(frozen=True)
class Config:
    """Options of the network side; the defaults are the original's for Kinetics."""

    concepts: int = 100
    """Static concepts, and as many dynamic ones, K. The original has 50 for UCF101."""
    queue_size: int = 1024
    """Samples of earlier steps that are balanced over the concepts along with the batch, from the second epoch on.
    At most those of an epoch: until it is full, its other places hold noise."""
    local_from: int = 10
    """Epoch, counted from 0, from which on the local terms count."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off unless named."""

    def __post_init__(self) -> None:
        require(self.concepts >= ACTIVE, "concepts", self.concepts, f"at least {ACTIVE}, for that many to be active")
        require(self.queue_size >= 1, "queue_size", self.queue_size, "at least 1")
        require(self.local_from >= 0, "local_from", self.local_from, "0 or more")


def build(backbone: str, schema: Schema, cfg: Config) -> "Concepts":
    """Makes the network. Raises UserError for an unknown backbone."""
    return Concepts(backbones.create(backbone), cfg)


class Concepts(Pretext):
    """Backbone, heads, concept banks and losses."""

    queue: Tensor

    def __init__(self, backbone: backbones.Backbone, cfg: Config) -> None:
        super().__init__()
        dim, count = backbone.out_channels, cfg.concepts
        self.cfg = cfg
        self.register_buffer("queue", torch.randn(cfg.queue_size, 2 * len(KINDS), 2 * count))
        self.backbone = backbone
        self.instance = nn.ModuleDict({head: instance_head(dim) for head in INSTANCE_HEADS})
        self.to_concepts = nn.ModuleDict({kind: mlp(dim, dim, dim) for kind in KINDS})
        widths = {"rgb": 2 * count, "static": count, "difference": count}
        self.rebuild = nn.ModuleDict({kind: mlp(width, dim, dim) for kind, width in widths.items()})
        self.banks = nn.ParameterDict({kind: torch.empty(2 * count, dim).uniform_(-1, 1) for kind in KINDS})
        self.attention = ConceptAttention(dim)
        self.before_step(0)

    def check_batch(self, per_rank: int, ranks: int) -> None:
        if per_rank < 2:
            raise UserError(
                f"concepts contrasts the samples of a rank with each other and has {per_rank} a micro-step: "
                "raise train.global_batch, lower train.accumulate or start fewer ranks"
            )
        if per_rank * ranks > self.cfg.queue_size:
            raise UserError(
                f"net.queue_size = {self.cfg.queue_size} does not hold the {per_rank * ranks} samples of a batch "
                "of all ranks: raise it or lower train.global_batch"
            )

    @torch.no_grad()
    def before_step(self, epoch: int) -> None:
        """Concepts are unit vectors: an optimizer step leaves them longer or shorter."""
        self.use_queue, self.local_weight = epoch >= 1, float(epoch >= self.cfg.local_from)
        for bank in self.banks.values():
            bank.copy_(F.normalize(bank, dim=1))

    def after_backward(self, epoch: int) -> None:
        """The banks keep still in epoch 0, the attention until its terms count.

        None, not zero: Adam makes steps of the full rate out of the weight decay that a zero gradient leaves.
        """
        waiting = [self.banks] * (epoch < 1) + [self.attention] * (epoch < self.cfg.local_from)
        for parameter in (p for module in waiting for p in module.parameters()):
            parameter.grad = None

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`clips` (B, 2, 3, T, H, W) and `stills` (B, 2, 3, 1 or T, H, W) -> scalars; only `loss` has a gradient.

        Beside `loss` its 13 terms, unweighted. `instance_top1` is how often a clip finds the other clip of its video
        among those of all N videos of the batch, over all ranks; `chance` is 1/N.
        """
        views = six_views(batch["clips"], batch["stills"], wrapped=self.cfg.reference.wrapped_difference)
        maps_6BCTHW = self.backbone(views).unflatten(0, (6, -1))
        with torch.autocast(views.device.type, enabled=False):  # small temperatures need float32, and heads are cheap
            terms, metrics = self.terms(maps_6BCTHW.float())
        weights = {"entropy": ENTROPY_WEIGHT, "local": self.local_weight}
        loss = torch.stack([weights.get(name.split("_")[0], 1.0) * term for name, term in terms.items()]).sum()
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()} | metrics

    def terms(self, maps_6BCTHW: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss terms by name, with gradients, and the metrics, of two feature maps float32 for each of KINDS."""
        maps = dict(zip(KINDS, maps_6BCTHW.split(2), strict=True))
        pooled = {kind: maps_2BCTHW.mean((-3, -2, -1)) for kind, maps_2BCTHW in maps.items()}
        instance, metrics = self.instance_terms(pooled)
        return instance | self.concept_terms(maps, pooled), metrics

    def instance_terms(self, pooled: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The contrasts of clips with each other, with stills and with differences, and the metrics of the first."""
        vectors = {
            head: F.normalize(self.instance[head](pooled[kind]), dim=-1) for head, kind in INSTANCE_HEADS.items()
        }
        keys_N52D = gather(torch.stack(list(vectors.values())).movedim(2, 0))
        keys = dict(zip(INSTANCE_HEADS, keys_N52D.unbind(1), strict=True))
        loss, top1 = instance_contrast(vectors["rgb"], keys["rgb"])
        terms = {"instance_rgb": loss}
        for kind in KINDS[1:]:
            there, _ = instance_contrast(vectors[f"rgb_{kind}"], keys[kind])
            back, _ = instance_contrast(vectors[kind], keys[f"rgb_{kind}"])
            terms[f"instance_{kind}"] = there + back
        return terms, {METRIC: top1, "chance": top1.new_tensor(1 / len(keys_N52D))}

    def concept_terms(self, maps: Mapping[str, Tensor], pooled: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Alignment, entropy, reconstruction and local contrast of the concepts. The scores enter the queue.

        The local terms are there in every epoch, for their parameters to have the gradients that DDP waits for.
        """
        concepts = {kind: F.normalize(apart(self.to_concepts[kind], pooled[kind]), dim=-1) for kind in KINDS}
        scores = {kind: concepts[kind] @ self.banks[kind].T for kind in KINDS}
        rgb, still, moving = scores.values()
        everyones_6MS = self.exchange(torch.cat([rgb, still, moving]))
        static, dynamic = slice(0, self.cfg.concepts), slice(self.cfg.concepts, None)

        def aligned(views: list[int], ours: Tensor, half: slice) -> Tensor:
            return alignment(torch.cat([rgb, ours])[..., half], everyones_6MS[views][..., half])

        terms = {
            "align_static": aligned([0, 1, 2, 3], still, static),
            "align_dynamic": aligned([0, 1, 4, 5], moving, dynamic),
            "entropy_static": negative_entropy(moving[..., static]),
            "entropy_dynamic": negative_entropy(still[..., dynamic]),
        }
        for kind, part in {"rgb": slice(None), "static": static, "difference": dynamic}.items():
            own_2BN = scores[kind][..., part]
            terms[f"rebuild_{kind}"] = reconstruction(apart(self.rebuild[kind], own_2BN), pooled[kind])
            gathered = self.attention(maps[kind].flatten(0, 1), self.banks[kind][part])
            terms[f"local_{kind}"] = local_contrast(gathered.unflatten(0, (2, -1)), own_2BN)
        return terms

    @torch.no_grad()
    def exchange(self, scores_6BS: Tensor) -> Tensor:
        """Scores of all ranks, in rank order, then those of the queue once it is used: (6, M, S). Fills the queue."""
        news_N6S = gather(scores_6BS.movedim(1, 0))
        everyones_M6S = torch.cat([news_N6S, self.queue]) if self.use_queue else news_N6S
        self.queue.copy_(torch.cat([self.queue[len(news_N6S) :], news_N6S]))
        return everyones_M6S.movedim(1, 0)


def instance_head(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, INSTANCE_DIM))


def apart(module: nn.Module, views_VBC: Tensor) -> Tensor:
    """Applies a module to one view after the other: its batch norm sees one at a time."""
    return torch.stack([module(view_BC) for view_BC in views_VBC])


def six_views(clips: Tensor, stills: Tensor, *, wrapped: bool) -> Tensor:
    """Clips, stills repeated in time, differences of the clips' frames, two of each: (6*B, 3, T, H, W).

    Channels are last in memory, as in what the loader gives.
    """
    clips_MTHWC, stills_MTHWC = (views.transpose(0, 1).movedim(2, -1).flatten(0, 1) for views in (clips, stills))
    difference_MTHWC = clips_MTHWC - clips_MTHWC.roll(1, dims=1)
    if not wrapped:
        difference_MTHWC[:, 0] = difference_MTHWC[:, 1]
    views_MTHWC = torch.cat([clips_MTHWC, stills_MTHWC.expand_as(clips_MTHWC), difference_MTHWC])
    return views_MTHWC.movedim(-1, 1)
