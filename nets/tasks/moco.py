"""MoCo: find the other view of the same video among the keys of many others.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020, arXiv 1911.05722, with the
projection head of its second version; numbers are those of CtP's code for clips (specs/ctp.md 1.3).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from configs.errors import UserError, require
from nets import backbones
from nets.distributed import gather, rank, world_size
from nets.losses import top1
from nets.momentum import follow, follower
from nets.tasks import Pretext, Schema

METRIC = "accuracy"
CHANNELS = 128


@dataclass(frozen=True)
class Reference:
    """What the original does and this does not, unless asked for."""

    default_init: bool = False
    """Start the backbone's convolutions as PyTorch does: the original forgets to call its own initialization."""


@dataclass(frozen=True)
class Config:
    """Options of the network side; the defaults are the original's."""

    queue: int = 65536
    """Keys of earlier steps that a query is held against. A multiple of the videos of a forward pass on all ranks."""
    momentum: float = 0.999
    """Share of its own weights that the key encoder keeps at every step. A short run needs less."""
    temperature: float = 0.2
    """What similarities are divided by."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off unless named."""

    def __post_init__(self) -> None:
        require(self.queue >= 1, "queue", self.queue, "at least 1")
        require(0 <= self.momentum <= 1, "momentum", self.momentum, "from 0 to 1")
        require(self.temperature > 0, "temperature", self.temperature, "greater than 0")


def build(backbone: str, schema: Schema, cfg: Config) -> "MoCo":
    """Makes the network. Raises UserError for an unknown backbone."""
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
        self.key_backbone, self.key_head = follower(self.backbone), follower(self.head)
        self.register_buffer("queue", F.normalize(torch.randn(cfg.queue, CHANNELS), dim=1))
        self.register_buffer("oldest", torch.tensor(0))

    def check_batch(self, per_rank: int, ranks: int) -> None:
        """UserError unless the queue holds whole batches."""
        if self.cfg.queue % (per_rank * ranks):
            nearest = max(1, round(self.cfg.queue / (per_rank * ranks))) * per_rank * ranks
            raise UserError(
                f"net.queue = {self.cfg.queue} is not a multiple of the {per_rank * ranks} videos of a forward pass "
                f"({per_rank} on each of {ranks} ranks); the nearest that is: {nearest}"
            )

    def before_step(self, epoch: int) -> None:
        """Moves the key encoder towards the query encoder."""
        follow(self.key_backbone, self.backbone, self.cfg.momentum)
        follow(self.key_head, self.head, self.cfg.momentum)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`clips` (B, 2, 3, T, H, W), query and key -> scalars; only `loss` carries a gradient.

        `accuracy` is the share of queries whose own key is nearer than all of the queue, `chance` that of a guess.
        The keys of all ranks enter the queue in place of its oldest.
        """
        queries_BCTHW, keys_BCTHW = batch["clips"].unbind(1)
        query_BC = self.head(self.backbone(queries_BCTHW))
        keys_NC = encode_shuffled(lambda clips: self.key_head(self.key_backbone(clips)), keys_BCTHW)
        own_B1 = (query_BC * keys_NC.chunk(world_size())[rank()]).sum(1, keepdim=True)
        others_BK = query_BC @ self.queue.clone().T  # cloned: the queue changes before the backward pass
        logits_BK = torch.cat([own_B1, others_BK], dim=1) / self.cfg.temperature
        labels_B = torch.zeros(len(logits_BK), dtype=torch.long, device=logits_BK.device)
        self.enqueue(keys_NC)
        return {
            "loss": F.cross_entropy(logits_BK, labels_B),
            "accuracy": top1(logits_BK, labels_B),
            "chance": logits_BK.new_tensor(1 / logits_BK.shape[1]),
        }

    @torch.no_grad()
    def enqueue(self, keys_NC: Tensor) -> None:
        """Puts keys in the place of the oldest ones."""
        rows_N = self.oldest + torch.arange(len(keys_NC), device=keys_NC.device)
        self.queue[rows_N] = keys_NC
        self.oldest.add_(len(keys_NC)).remainder_(len(self.queue))


class Head(nn.Module):
    """Global average, two linear layers, unit length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, CHANNELS))

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        """Features of the clips -> float32 (B, 128)."""
        return F.normalize(self.layers(features_BCTHW.mean((2, 3, 4))).float(), dim=1)


@torch.no_grad()
def encode_shuffled(encode: Callable[[Tensor], Tensor], clips_B: Tensor) -> Tensor:
    """The codes of all ranks' clips, (ranks * B, ...) in rank order, each made on a random rank.

    A key then has other company in its batch norm than its query, which else tells them apart (section 3.3 of the
    paper). Alone, a rank keeps its clips: their order changes nothing.
    """
    if world_size() == 1:
        return encode(clips_B)
    clips_N = gather(clips_B)
    order_N = torch.randperm(len(clips_N), device=clips_N.device)
    distributed.broadcast(order_N, src=0)
    share_B = order_N.chunk(world_size())[rank()]
    return gather(encode(clips_N[share_B]))[order_N.argsort()]
