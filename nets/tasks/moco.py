"""MoCo: contrast the other clip of the same video with a queue of clips of other videos.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020, arXiv 1911.05722, with the
MLP head of MoCo v2; numbers are those of CtP's code (specs/ctp.md 1.3).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from configs.errors import UserError, require
from configs.words import counted
from nets import backbones
from nets.distributed import all_gather, rank, world_size
from nets.ema import ema_copy, ema_update
from nets.losses import top1
from nets.tasks import Pretext, Schema

METRIC = "accuracy"
CHANNELS = 128


@dataclass(frozen=True)
class Reference:
    """Bugs of the original that can be switched on to reproduce it."""

    default_init: bool = False
    """Keep PyTorch's default initialization of the backbone: the original forgets to call its own."""


@dataclass(frozen=True)
class Config:
    """Options of the network; the defaults are the original's."""

    queue: int = 65536
    """Keys in the queue; a multiple of the videos per forward pass over all ranks."""
    momentum: float = 0.999
    """EMA coefficient of the key encoder. Short runs need a smaller one."""
    temperature: float = 0.2
    """Divisor of the similarities."""
    reference: Reference = field(default_factory=Reference)
    """Bugs of the original, all off by default."""

    def __post_init__(self) -> None:
        require(self.queue >= 1, "queue", self.queue, "at least 1")
        require(0 <= self.momentum <= 1, "momentum", self.momentum, "from 0 to 1")
        require(self.temperature > 0, "temperature", self.temperature, "greater than 0")


def build(backbone: str, schema: Schema, cfg: Config) -> "MoCo":
    """Build the network; UserError for an unknown backbone."""
    return MoCo(backbones.create(backbone), cfg)


class MoCo(Pretext):
    """Query encoder, key encoder, queue and loss."""

    queue: Tensor
    oldest: Tensor

    def __init__(self, backbone: backbones.Backbone, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone
        if cfg.reference.default_init:
            for module in backbone.modules():
                if isinstance(module, nn.Conv3d):
                    module.reset_parameters()
        self.head = Head(backbone.out_channels)
        self.key_backbone, self.key_head = ema_copy(self.backbone), ema_copy(self.head)
        self.register_buffer("queue", F.normalize(torch.randn(cfg.queue, CHANNELS), dim=1))
        self.register_buffer("oldest", torch.tensor(0))

    def check_batch(self, per_rank: int, ranks: int) -> None:
        """Raise UserError unless the queue size is a multiple of the batch."""
        if self.cfg.queue % (per_rank * ranks):
            nearest = max(1, round(self.cfg.queue / (per_rank * ranks))) * per_rank * ranks
            raise UserError(
                f"net.queue = {self.cfg.queue} is not a multiple of the {per_rank * ranks} videos of a forward pass "
                f"({per_rank} on each of {counted(ranks, 'rank')}); the nearest multiple is {nearest}"
            )

    def before_step(self, epoch: int) -> None:
        """Update the key encoder by EMA of the query encoder."""
        ema_update(self.key_backbone, self.backbone, self.cfg.momentum)
        ema_update(self.key_head, self.head, self.cfg.momentum)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, 2, 3, T, H, W), query and key, to scalars, and enqueue the keys of all ranks.

        `accuracy` is the share of queries that are closer to their key than to any in the queue, `chance` that of
        guessing.
        """
        queries_BCTHW, keys_BCTHW = batch["clips"].unbind(1)
        queries_BC: Tensor = self.head(self.backbone(queries_BCTHW))
        keys_NC = shuffle_bn(lambda clips: self.key_head(self.key_backbone(clips)), keys_BCTHW)
        positives_B1 = (queries_BC * keys_NC.chunk(world_size())[rank()]).sum(1, keepdim=True)
        negatives_BK = queries_BC @ self.queue.clone().T  # cloned: the queue changes before the backward pass
        logits_BK = torch.cat([positives_B1, negatives_BK], dim=1) / self.cfg.temperature
        labels_B = torch.zeros(len(logits_BK), dtype=torch.long, device=logits_BK.device)
        self.enqueue(keys_NC)
        return {
            "loss": F.cross_entropy(logits_BK, labels_B),
            "accuracy": top1(logits_BK, labels_B),
            "chance": logits_BK.new_full((), 1 / logits_BK.shape[1]),
        }

    @torch.no_grad()
    def enqueue(self, keys_NC: Tensor) -> None:
        """Replace the oldest keys of the queue."""
        rows_N = self.oldest + torch.arange(len(keys_NC), device=keys_NC.device)
        self.queue[rows_N] = keys_NC
        self.oldest.add_(len(keys_NC)).remainder_(len(self.queue))


class Head(nn.Module):
    """Global average pooling, a two-layer MLP, scaling to unit length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, CHANNELS))

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        """Map features (B, C, T, H, W) to embeddings, float32 (B, 128)."""
        return F.normalize(self.layers(features_BCTHW.mean((2, 3, 4))).float(), dim=1)


@torch.no_grad()
def shuffle_bn(encode: Callable[[Tensor], Tensor], clips_B: Tensor) -> Tensor:
    """Encode the clips of all ranks, each on a random rank: (ranks * B, ...) in rank order.

    This is the paper's shuffling BN (section 3.3): the batch statistics of a key and its query come from different
    samples, and cannot give the answer away. With one rank there is nothing to shuffle.
    """
    if world_size() == 1:
        return encode(clips_B)
    clips_N = all_gather(clips_B)
    order_N = torch.randperm(len(clips_N), device=clips_N.device)
    distributed.broadcast(order_N, src=0)
    share_B = order_N.chunk(world_size())[rank()]
    return all_gather(encode(clips_N[share_B]))[order_N.argsort()]
