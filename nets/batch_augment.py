"""Augmentation of a batch on the device: RandAugment, random erasing, then mixup or CutMix.

All random numbers come from torch's global generator, so a resumed run draws the same ones.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.tv_tensors import Video

from configs.errors import UserError

if TYPE_CHECKING:  # it imports this module
    from nets.classifier import Config

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of R, G and B in 0..1, with which clips are normalized."""

GRAY = 128.0
"""What RandAugment fills in, as timm's does."""


class RandAug(nn.Module):
    """Apply operations drawn by torchvision's RandAugment to each clip, the same for all its frames.

    Differs from timm's rand-m9-n2-mstd0.5-inc1 and the like, which MAE and VideoMAE use: identity is one of the
    operations, while timm skips each with probability 0.5; Invert and SolarizeAdd are missing; the magnitude is
    constant, while timm draws it around a mean; it ranges from 0 to 30, timm's from 0 to 10; Posterize keeps 4 bits or
    more; rotations and shears are bilinear, not bicubic. It also sees the crop, while VideoMAE augments before
    cropping.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, ops: int, magnitude: int, normalization: Normalization | None) -> None:
        super().__init__()
        self.known = normalization is not None
        mean, std = normalization or ((0.0,) * 3, (1.0,) * 3)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1, 1), persistent=False)
        self.draw = v2.RandAugment(ops, magnitude, interpolation=InterpolationMode.BILINEAR, fill=GRAY)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the changed clips. The operations run on uint8, as before normalization."""
        if not self.known:
            raise UserError("net.rand_augment is for clipfeed finetune; a pretext task has its own augmentation")
        pixels_BCTHW = ((clips_BCTHW * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)
        changed = [self.draw(Video(clip.movedim(1, 0))).as_subclass(Tensor).movedim(0, 1) for clip in pixels_BCTHW]
        return (torch.stack(changed).float() / 255 - self.mean) / self.std


class Erase(nn.Module):
    """Put noise into a box of some clips, the same box in all frames (random erasing, arXiv 1708.04896).

    Each pixel of each frame is drawn from a normal distribution, as in MAE's and VideoMAE's finetuning.
    """

    def __init__(self, prob: float) -> None:
        super().__init__()
        self.erase = v2.RandomErasing(
            prob,
            scale=(0.02, 1 / 3),
            ratio=(0.3, 1 / 0.3),
            value="random",  # type: ignore[arg-type]  # documented, but not in its annotation
        )

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        # As images of C * T channels: torchvision would draw one noise for all frames of a video.
        return torch.stack([self.erase(clip.flatten(0, 1)).view_as(clip) for clip in clips_BCTHW])


class Mix(nn.Module):
    """Blend each clip with the previous one or paste a box of it, with labels to match (mixup and CutMix).

    If both are on, each batch gets either with probability 0.5. The share that a clip keeps is drawn from Beta(alpha,
    alpha) once per batch.
    """

    def __init__(self, *, mixup: float, cutmix: float, classes: int) -> None:
        super().__init__()
        kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        self.mix = v2.RandomChoice([kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds if alpha])

    def forward(self, clips_BCTHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clips and their class shares, (B, classes)."""
        clips, shares_BN = self.mix(Video(clips_BCTHW), labels_B)
        return clips.as_subclass(Tensor), shares_BN


class BatchAugment(nn.Module):
    """Augment a batch in training with the parts that `cfg` asks for. It has no state."""

    def __init__(self, cfg: "Config", *, classes: int, normalization: Normalization | None) -> None:
        """Build the parts; `normalization` is that of the clips."""
        super().__init__()
        rand_aug = [RandAug(*cfg.rand_augment, normalization)] if cfg.rand_augment else []
        self.each = nn.Sequential(*rand_aug, *([Erase(cfg.erase_prob)] if cfg.erase_prob else []))
        mixes = cfg.mixup or cfg.cutmix
        self.mix = Mix(mixup=cfg.mixup, cutmix=cfg.cutmix, classes=classes) if mixes else None

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # draws on the host, anew for each clip
    @torch.no_grad()
    def forward(self, clips_BCTHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the clips, and their class shares (B, classes) if they are mixed."""
        with torch.autocast(clips_BCTHW.device.type, enabled=False):  # bfloat16 misplaces pixels by half of one
            clips_BCTHW = self.each(clips_BCTHW)
            return self.mix(clips_BCTHW, labels_B) if self.mix else (clips_BCTHW, None)
