"""Static and Dynamic Concepts: contrast clips with stills and motion, through a bank of shared concepts.

Qian et al., "Static and Dynamic Concepts for Self-supervised Video Representation Learning", ECCV 2022,
arXiv 2207.12795; numbers are those of its code (specs/concepts.md 3, 4).

A sample has six views: two clips (rgb), a still of each repeated in time (static), and the frame differences of each
clip (difference). Each kind has a bank of 2K concepts, of which the first K are static and the others dynamic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError, require
from nets import backbones, concept_parts
from nets.distributed import all_gather, rank
from nets.mlp import mlp
from nets.tasks import Pretext, Schema

METRIC = "instance_top1"
KINDS = ("rgb", "static", "difference")
INSTANCE_HEADS = {head: head.partition("_")[0] for head in ("rgb", "rgb_static", "rgb_difference", *KINDS[1:])}
"""Head -> the kind of views that it embeds; clips have one head per kind they are contrasted with."""
INSTANCE_DIM = 128
ENTROPY_WEIGHT = 0.1


@dataclass(frozen=True)
class Reference:
    """Bugs of the original that can be switched on to reproduce it."""

    wrapped_difference: bool = False
    """Frame 0 of the differences is the first minus the last frame. Otherwise it repeats the first difference."""


@dataclass(frozen=True)
class Config:
    """Options of the network; the defaults are the original's for Kinetics."""

    concepts: int = 100
    """K, the number of static concepts and of dynamic ones. The original has 50 for UCF101."""
    queue_size: int = 1024
    """Samples of earlier steps that Sinkhorn balances along with the batch, from epoch 1 on. At most the samples of an
    epoch: entries not filled by then are noise."""
    local_from: int = 10
    """First epoch, counted from 0, in which the local terms count."""
    sinkhorn: Literal["global", "rank"] = "global"
    """Samples over which Sinkhorn balances the concepts: those of all ranks or, as in the original, each rank's own."""
    negatives: Literal["rank", "global"] = "rank"
    """Samples that the local terms contrast with: those of the rank, as in the original, or of all ranks."""
    reference: Reference = field(default_factory=Reference)
    """Bugs of the original, all off by default."""

    def __post_init__(self) -> None:
        least = concept_parts.ACTIVE
        require(self.concepts >= least, "concepts", self.concepts, f"at least {least}, for that many to be active")
        require(self.queue_size >= 1, "queue_size", self.queue_size, "at least 1")
        require(self.local_from >= 0, "local_from", self.local_from, "0 or more")


def build(backbone: str, schema: Schema, cfg: Config) -> "Concepts":
    """Build the network; UserError for an unknown backbone."""
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
        self.instance = nn.ModuleDict()
        for head in INSTANCE_HEADS:
            self.instance[head] = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, INSTANCE_DIM))
        self.to_concepts = nn.ModuleDict({kind: mlp(dim, dim, dim) for kind in KINDS})
        widths = {"rgb": 2 * count, "static": count, "difference": count}
        self.rebuild = nn.ModuleDict({kind: mlp(width, dim, dim) for kind, width in widths.items()})
        self.banks = nn.ParameterDict({kind: torch.empty(2 * count, dim).uniform_(-1, 1) for kind in KINDS})
        self.attention = concept_parts.ConceptAttention(dim)
        self.before_step(0)

    def check_batch(self, per_rank: int, ranks: int) -> None:
        if per_rank < 2 and (ranks < 2 or self.cfg.negatives == "rank"):
            raise UserError(
                f"concepts contrasts the samples of a rank with each other, but a micro-step has {per_rank}: "
                "raise train.global_batch, lower train.accumulate or start fewer ranks"
            )
        if per_rank * ranks > self.cfg.queue_size:
            raise UserError(
                f"net.queue_size = {self.cfg.queue_size} does not hold the {per_rank * ranks} samples of a batch "
                "of all ranks: raise it or lower train.global_batch"
            )

    @torch.no_grad()
    def before_step(self, epoch: int) -> None:
        """Scale the concepts back to unit length, and set which terms count in this epoch."""
        self.use_queue, self.local_weight = epoch >= 1, float(epoch >= self.cfg.local_from)
        for bank in self.banks.values():
            bank.copy_(F.normalize(bank, dim=1))

    def after_backward(self, epoch: int) -> None:
        """Freeze the banks in epoch 0, and the attention until its terms count.

        The gradient is None, not 0: with a zero gradient, Adam turns the weight decay into full-size steps.
        """
        frozen = [self.banks] * (epoch < 1) + [self.attention] * (epoch < self.cfg.local_from)
        for parameter in (p for module in frozen for p in module.parameters()):
            parameter.grad = None

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, 2, 3, T, H, W) and `stills` (B, 2, 3, 1 or T, H, W) to `loss` and its 13 terms.

        The terms are unweighted. `instance_top1` is the accuracy of retrieving the other clip of a video among the N
        videos of the batch on all ranks; `chance` is 1/N.
        """
        views = concept_parts.six_views(batch["clips"], batch["stills"], wrapped=self.cfg.reference.wrapped_difference)
        maps_6BCTHW = self.backbone(views).unflatten(0, (6, -1))
        with torch.autocast(views.device.type, enabled=False):  # low temperatures need float32; heads are cheap
            terms, metrics = self.terms(maps_6BCTHW.float())
        weights = {"entropy": ENTROPY_WEIGHT, "local": self.local_weight}
        loss = torch.stack([weights.get(name.split("_")[0], 1.0) * term for name, term in terms.items()]).sum()
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()} | metrics

    def terms(self, maps_6BCTHW: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the loss terms, with gradients, and the metrics, from float32 maps, two per kind in KINDS."""
        maps = dict(zip(KINDS, maps_6BCTHW.chunk(len(KINDS)), strict=True))
        pooled = {kind: maps_2BCTHW.mean((-3, -2, -1)) for kind, maps_2BCTHW in maps.items()}
        instance, metrics = self.instance_terms(pooled)
        return instance | self.concept_terms(maps, pooled), metrics

    def instance_terms(self, pooled: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Contrast clips with each other, with stills and with differences; metrics are those of the first."""
        vectors = {
            head: F.normalize(self.instance[head](pooled[kind]), dim=-1) for head, kind in INSTANCE_HEADS.items()
        }
        keys_N52D = all_gather(torch.stack(list(vectors.values())).movedim(2, 0))
        keys = dict(zip(INSTANCE_HEADS, keys_N52D.unbind(1), strict=True))
        loss, top1 = concept_parts.instance_contrast(vectors["rgb"], keys["rgb"])
        terms = {"instance_rgb": loss}
        for kind in KINDS[1:]:
            forth, _ = concept_parts.instance_contrast(vectors[f"rgb_{kind}"], keys[kind])
            back, _ = concept_parts.instance_contrast(vectors[kind], keys[f"rgb_{kind}"])
            terms[f"instance_{kind}"] = forth + back
        return terms, {METRIC: top1, "chance": top1.new_full((), 1 / len(keys_N52D))}

    def concept_terms(self, maps: Mapping[str, Tensor], pooled: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute alignment, entropy, reconstruction and local contrast, and enqueue the scores.

        The local terms are computed in every epoch, since DDP waits for the gradients of their parameters.
        """
        scores = {}
        for kind, to_concepts in self.to_concepts.items():
            concepts_2BC = torch.stack([to_concepts(view_BC) for view_BC in pooled[kind]])  # a batch norm for each view
            scores[kind] = F.normalize(concepts_2BC, dim=-1) @ self.banks[kind].T
        rgb, still, difference = scores.values()
        balanced = dict(zip(KINDS, self.to_balance(torch.cat([rgb, still, difference])).chunk(len(KINDS)), strict=True))
        static, dynamic = slice(0, self.cfg.concepts), slice(self.cfg.concepts, None)

        def aligned(kind: str, half: slice) -> Tensor:
            scores_4BS, balanced_4MS = (torch.cat([views["rgb"], views[kind]]) for views in (scores, balanced))
            return concept_parts.alignment(scores_4BS[..., half], balanced_4MS[..., half])

        terms = {
            "align_static": aligned("static", static),
            "align_dynamic": aligned("difference", dynamic),
            "entropy_static": concept_parts.negative_entropy(difference[..., static]),
            "entropy_dynamic": concept_parts.negative_entropy(still[..., dynamic]),
        }
        for kind, subset in {"rgb": slice(None), "static": static, "difference": dynamic}.items():
            scores_2BN = scores[kind][..., subset]
            rebuilt_MC = self.rebuild[kind](scores_2BN.flatten(0, 1))  # both views in one batch norm
            terms[f"rebuild_{kind}"] = concept_parts.reconstruction(rebuilt_MC.unflatten(0, (2, -1)), pooled[kind])
            attended = self.attention(maps[kind].flatten(0, 1), self.banks[kind][subset]).unflatten(0, (2, -1))
            terms[f"local_{kind}"] = concept_parts.local_contrast(attended, scores_2BN, self.cfg.negatives)
        return terms

    @torch.no_grad()
    def to_balance(self, scores_6BS: Tensor) -> Tensor:
        """Return what Sinkhorn balances, (6, M, S), and update the queue.

        This rank's scores come first, then those of the other ranks unless `sinkhorn` is rank, then the queue's once it
        is in use.
        """
        own_B6S = scores_6BS.detach().movedim(1, 0)
        new_N6S = all_gather(own_B6S)
        balanced = [own_B6S if self.cfg.sinkhorn == "rank" else new_N6S.roll(-rank() * len(own_B6S), 0)]
        balanced += [self.queue] * self.use_queue
        balanced_6MS = torch.cat(balanced).movedim(1, 0)
        self.queue.copy_(torch.cat([self.queue[len(new_N6S) :], new_N6S]))
        return balanced_6MS
